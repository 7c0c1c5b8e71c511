#include "reconcilers/factory/trial_turns.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using Step = TrialTurns::Step;

class Turns : public ::testing::Test {
protected:
    SteadyTime now{1h};
    TrialTurns turns;
};

TEST_F(Turns, NothingElseIsClaimedFromTheirBeginning) {
    EXPECT_FALSE(turns.exclusive());
    EXPECT_TRUE(turns.look_due(now));
    EXPECT_FALSE(turns.look_due(now + 900ms));
    turns.begin(now);
    EXPECT_TRUE(turns.exclusive());
    EXPECT_EQ(turns.next(now, false), Step::wait);
    EXPECT_EQ(turns.next(now, true), Step::take);
    turns.taken(now, true);
    EXPECT_EQ(turns.next(now, true), Step::wait) << "one at a time";
}

TEST_F(Turns, TheOthersHaveAsMuchTimeAsATurnTook) {
    turns.begin(now);
    ASSERT_EQ(turns.next(now, true), Step::take);
    turns.taken(now, true);
    now += 3s;
    turns.idle();
    EXPECT_EQ(turns.next(now, true), Step::over);
    EXPECT_FALSE(turns.exclusive());
    EXPECT_FALSE(turns.look_due(now + 2900ms));
    EXPECT_TRUE(turns.look_due(now + 3s));
}

TEST_F(Turns, ShortSuspectsFollowEachOther) {
    turns.begin(now);
    for (int i = 0; i < 5; ++i) {
        ASSERT_EQ(turns.next(now, true), Step::take);
        turns.taken(now, true);
        now += 100ms;
        turns.idle();
    }
    ASSERT_EQ(turns.next(now, true), Step::take);
    turns.taken(now, false);
    EXPECT_FALSE(turns.exclusive());
}

TEST_F(Turns, WhereNobodyElseWantsTheTimeTheNextComesAtOnce) {
    turns.begin(now);
    turns.next(now, true);
    turns.taken(now, true);
    now += 5s;
    turns.idle();
    ASSERT_EQ(turns.next(now, true), Step::over);
    turns.unclaimed(now);
    EXPECT_TRUE(turns.look_due(now));
}

TEST_F(Turns, WhatIsInFlightIsNotWaitedForForEver) {
    turns.begin(now);
    EXPECT_EQ(turns.next(now + 9s, false), Step::wait);
    EXPECT_EQ(turns.next(now + 10s, false), Step::over);
    EXPECT_FALSE(turns.exclusive());
    EXPECT_FALSE(turns.look_due(now + 19s));
    now += 20s;
    EXPECT_TRUE(turns.look_due(now));
    turns.begin(now);
    EXPECT_EQ(turns.next(now + 19s, false), Step::wait) << "longer each time";
}

}  // namespace
}  // namespace homeostat
