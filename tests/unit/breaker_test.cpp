// The breaker, under events in simulated time: what opens it, what closes it, and what can never happen.
#include "reconcilers/gateway/breaker.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr double kEven = 0.5;  // no spread

class BreakerTest : public ::testing::Test {
protected:
    void record(CallResult result, int times = 1) {
        for (int i = 0; i < times; ++i) {
            breaker.record(result, breaker.ticket(now), now, kEven);
            now += 10ms;
        }
    }
    void open() {
        record(CallResult::failure, 5);
        ASSERT_EQ(breaker.state(now), BreakerState::open);
    }

    Breaker breaker;
    SteadyTime now{1h};
};

TEST_F(BreakerTest, OpensAfterFiveFailuresInARow) {
    record(CallResult::success, 100);
    record(CallResult::failure, 4);
    EXPECT_EQ(breaker.state(now), BreakerState::closed);
    record(CallResult::failure);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
    EXPECT_EQ(breaker.allowed(now), 0);
}

TEST_F(BreakerTest, OpensAtHalfOfTheWindowButNotBelowTheMinimum) {
    for (int i = 0; i < 4; ++i) {
        record(CallResult::failure);
        record(CallResult::success);
    }
    EXPECT_EQ(breaker.state(now), BreakerState::closed) << "eight calls are too few to judge";
    record(CallResult::failure);
    record(CallResult::success);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
}

TEST_F(BreakerTest, ForgetsWhatIsOlderThanTheWindow) {
    for (int i = 0; i < 4; ++i) {
        record(CallResult::failure);
        record(CallResult::success);
    }
    now += 31s;
    record(CallResult::failure);
    record(CallResult::success, 9);
    EXPECT_EQ(breaker.state(now), BreakerState::closed);
}

TEST_F(BreakerTest, OpensWhenNearlyAllAreSlow) {
    record(CallResult::success, 2);
    record(CallResult::slow, 8);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
}

TEST_F(BreakerTest, OpensAtOnceAndLongWhereItIsRefused) {
    record(CallResult::refused);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
    EXPECT_EQ(breaker.state(now + 29min), BreakerState::open);
    EXPECT_EQ(breaker.state(now + 31min), BreakerState::half_open);
}

TEST_F(BreakerTest, ProbesWithOneThenThreeAndCloses) {
    open();
    now += 5s;
    EXPECT_EQ(breaker.state(now), BreakerState::half_open);
    EXPECT_EQ(breaker.allowed(now), 1);
    record(CallResult::success);
    EXPECT_EQ(breaker.allowed(now), 3);
    record(CallResult::success, 2);
    EXPECT_EQ(breaker.state(now), BreakerState::half_open);
    record(CallResult::success);
    EXPECT_EQ(breaker.state(now), BreakerState::closed);
}

TEST_F(BreakerTest, ARestartIsMetEverySecondAndThenTheOpenTimeDoublesUpToTheCap) {
    open();
    for (const auto expected : {1s, 1s, 1s, 1s, 1s, 1s, 1s, 2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s, 300s, 300s}) {
        now = breaker.retry_at();
        record(CallResult::failure);
        now -= 10ms;
        EXPECT_EQ(breaker.retry_at() - now, expected);
    }
}

TEST_F(BreakerTest, AQuietMinuteBeginsWithShortPausesAgain) {
    open();
    now = breaker.retry_at();
    record(CallResult::success, 4);
    ASSERT_EQ(breaker.state(now), BreakerState::closed);
    now += 61s;
    record(CallResult::success);
    record(CallResult::failure, 5);
    EXPECT_LE(breaker.retry_at() - now, 1s);
}

TEST_F(BreakerTest, LateResultsOfAnEarlierStayChangeNothing) {
    const std::uint64_t old = breaker.ticket(now);
    open();
    now = breaker.retry_at();
    breaker.ticket(now);
    breaker.record(CallResult::failure, old, now, kEven);
    EXPECT_EQ(breaker.state(now), BreakerState::half_open);
    breaker.record(CallResult::success, old, now, kEven);
    EXPECT_EQ(breaker.allowed(now), 1);
}

TEST_F(BreakerTest, APersonMayProbeAtOnce) {
    record(CallResult::refused);
    breaker.allow_probe(now);
    EXPECT_EQ(breaker.allowed(now), 1);
}

TEST_F(BreakerTest, WhatAnotherReplicaFoundOutHoldsHereToo) {
    breaker.restore(3, now + 20s);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
    EXPECT_EQ(breaker.opened(), 3);
    breaker.restore(1, now + 5s);
    EXPECT_EQ(breaker.retry_at(), now + 20s) << "an open time is never shortened";
}

TEST_F(BreakerTest, WhatATextMayHaveProvokedOpensItOnlyWhereAGoodTextFailsToo) {
    record(CallResult::suspect, 5);
    EXPECT_EQ(breaker.state(now), BreakerState::closed);
    EXPECT_TRUE(breaker.doubted());
    EXPECT_EQ(breaker.allowed(now), 0) << "nothing but the good text goes";
    breaker.prove(CallResult::success, now, kEven);
    EXPECT_GT(breaker.allowed(now), 100);
    record(CallResult::suspect, 4);
    EXPECT_FALSE(breaker.doubted()) << "what was cleared is not counted again";
    record(CallResult::suspect);
    breaker.prove(CallResult::failure, now, kEven);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
    EXPECT_EQ(breaker.retry_at() - now, 1s);
}

TEST_F(BreakerTest, AProbeThatATextMayHaveSpoiltIsDecidedByTheGoodText) {
    open();
    now = breaker.retry_at();
    record(CallResult::suspect);
    EXPECT_EQ(breaker.state(now), BreakerState::half_open);
    ASSERT_TRUE(breaker.doubted());
    breaker.prove(CallResult::success, now, kEven);
    EXPECT_EQ(breaker.allowed(now), 3) << "it counts as the probe";
    record(CallResult::suspect);
    breaker.prove(CallResult::failure, now, kEven);
    EXPECT_EQ(breaker.state(now), BreakerState::open);
}

TEST_F(BreakerTest, AProofThatCameToNothingIsAskedForAgainAtTheNextFailure) {
    record(CallResult::suspect, 5);
    breaker.undecided();
    EXPECT_GT(breaker.allowed(now), 100);
    record(CallResult::suspect);
    EXPECT_TRUE(breaker.doubted());
}

TEST_F(BreakerTest, ARefusalOfTheGoodTextForItsCredentialIsLeftAloneForLong) {
    breaker.doubt();
    breaker.prove(CallResult::refused, now, kEven);
    EXPECT_EQ(breaker.state(now + 29min), BreakerState::open);
}

// Whatever happens: an open breaker lets nothing through before its time, no open time is longer than the longest, and a provider
// that answers is used again after its probes.
RC_GTEST_PROP(BreakerProperty, NeverStuckNeverLoose, ()) {
    Breaker breaker;
    SteadyTime now{1h};
    const auto events =
        *rc::gen::container<std::vector<std::pair<int, int>>>(rc::gen::pair(rc::gen::inRange(0, 4), rc::gen::inRange(0, 20'000)));
    for (const auto& [kind, wait] : events) {
        now += std::chrono::milliseconds(wait);
        if (breaker.allowed(now) == 0) {
            RC_ASSERT(now < breaker.retry_at());
            RC_ASSERT(breaker.retry_at() - now <= 37min);
            continue;
        }
        breaker.record(static_cast<CallResult>(kind), breaker.ticket(now), now, *rc::gen::element(0.0, 0.25, 0.5, 0.99));
    }
    if (breaker.state(now) == BreakerState::open) now = breaker.retry_at();
    for (int i = 0; i < 5 && breaker.state(now) != BreakerState::closed; ++i) {
        RC_ASSERT(breaker.allowed(now) > 0);
        breaker.record(CallResult::success, breaker.ticket(now), now, kEven);
    }
    RC_ASSERT(breaker.state(now) == BreakerState::closed);
}

}  // namespace
}  // namespace homeostat
