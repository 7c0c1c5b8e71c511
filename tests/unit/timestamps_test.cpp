#include "store/pg/timestamps.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "store/pg/session.hpp"

namespace homeostat {
namespace {

using namespace std::chrono;

TEST(Timestamps, AreReadAsPostgresWritesThem) {
    const WallTime t = sys_days(2026y / November / 21) + 3h + 4min + 5s;
    EXPECT_EQ(parse_timestamp("2026-11-21 03:04:05+00"), t);
    EXPECT_EQ(parse_timestamp("2026-11-21T03:04:05Z"), t);
    EXPECT_EQ(parse_timestamp("2026-11-21 04:04:05.123456+01"), t + 123456us);
    EXPECT_EQ(parse_timestamp("2026-11-21 03:04:05.5+00"), t + 500ms);
    EXPECT_EQ(parse_timestamp("2026-11-20 21:34:05-05:30"), t);
    EXPECT_EQ(parse_timestamp("2026-11-21 08:49:05+05:45"), t);
}

TEST(Timestamps, WhatIsNoTimeIsRefused) {
    for (const char* text : {"", "yesterday", "2026-", "2026-11-21 aa:bb:cc", "infinity", "-infinity"}) {
        EXPECT_THROW(parse_timestamp(text), StoreFailure) << text;
    }
}

RC_GTEST_PROP(Timestamps, ThereAndBackIsTheSame, ()) {
    const auto micros = *rc::gen::inRange<std::int64_t>(-2'000'000'000'000'000, 8'000'000'000'000'000);
    const WallTime t = time_point_cast<WallTime::duration>(sys_time<microseconds>(microseconds(micros)));
    RC_ASSERT(parse_timestamp(format_timestamp(t)) == t);
}

}  // namespace
}  // namespace homeostat
