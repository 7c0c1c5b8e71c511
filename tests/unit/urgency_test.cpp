// Which pipeline the fleet shows first, and why.
#include "controller/cli/api/urgency.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "controller/cli/api/call.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;

PipelineLine line(const std::string& name, const std::string& ready, const std::string& reason, const std::string& kstatus) {
    PipelineLine l;
    l.name = name;
    l.ready = ready;
    l.reason = reason;
    l.kstatus = kstatus;
    return l;
}

TEST(Urgency, WhatNeedsAPersonStandsInFront) {
    PipelineLine paused = line("f-paused", "True", "Converged", "Current");
    paused.suspended = true;
    PipelineLine refusing = line("c-refusing", "True", "CompleteEnough", "Current");
    refusing.dead_letters = 1;
    PipelineLine adrift = line("d-adrift", "True", "Converged", "InProgress");
    adrift.drift = 3;
    PipelineLine late = line("b-late", "False", "Behind", "InProgress");
    late.lag = Millis(9'000);
    std::vector<PipelineLine> lines{line("g-well", "True", "Converged", "Current"),
                                    paused,
                                    adrift,
                                    refusing,
                                    late,
                                    line("e-healing", "False", "Healing", "InProgress"),
                                    line("b-unseen", "Unknown", "NotObserved", "Unknown"),
                                    line("a-stalled", "False", "RightMissing", "Failed")};
    std::ranges::sort(lines, more_urgent);
    std::vector<std::string> names;
    for (const PipelineLine& l : lines) names.push_back(l.name);
    EXPECT_EQ(names, (std::vector<std::string>{"a-stalled", "b-late", "b-unseen", "c-refusing", "d-adrift", "e-healing",
                                               "f-paused", "g-well"}));
    EXPECT_EQ(cause_of(refusing), "1 document was refused and set aside");
    EXPECT_THAT(cause_of(paused), HasSubstr("suspended"));
    EXPECT_THAT(cause_of(line("x", "Unknown", "NotObserved", "Unknown")), HasSubstr("no controller has looked"));
}

TEST(Urgency, WhatIsIncompleteForGoodIsNoWork) {
    PipelineLine l = line("x", "False", "Incomplete", "InProgress");
    EXPECT_EQ(urgency_of(l), Urgency::not_ready);
    l.dead_letters = 4;
    EXPECT_EQ(urgency_of(l), Urgency::losing);
    l.phase = "healing";
    EXPECT_EQ(urgency_of(l), Urgency::working);
}

TEST(Cursor, IsGivenBackAsItWasMade) {
    const ListingPlace place{1'767'225'600'000'000, 42, "a.b \"c\"", "pipeline one"};
    const auto back = place_of(cursor_of(place));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->moment, place.moment);
    EXPECT_EQ(back->number, place.number);
    EXPECT_EQ(back->name, place.name);
    EXPECT_EQ(back->about, place.about);
    for (const char* wrong : {"", "1", "1.2", "1.2.3", "1.2.zz.", "1.2.00.", "x.2..", "1.2.61.61.61", "1..61.61"})
        EXPECT_FALSE(place_of(wrong)) << wrong;
}

}  // namespace
}  // namespace homeostat
