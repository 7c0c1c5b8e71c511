#include "controller/reporter.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

TEST(Reporter, PausesForAShareOfItsLooksAndNeverForLong) {
    EXPECT_EQ(pause_after_look(1s, 2ms), 1s) << "no more often than that";
    EXPECT_EQ(pause_after_look(100ms, 50ms), 1s) << "a twentieth of the time";
    // A look that waited for a silent connection is no dear look: 4.6 s of it once meant a minute and a half of old conditions.
    EXPECT_EQ(pause_after_look(1s, 4'600ms), 3s);
    EXPECT_EQ(pause_after_look(5s, 4'600ms), 5s);
}

}  // namespace
}  // namespace homeostat
