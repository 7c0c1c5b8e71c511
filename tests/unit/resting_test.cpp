#include "controller/resting.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using Uids = std::vector<std::int64_t>;

class RestingTest : public ::testing::Test {
protected:
    SteadyTime at(Duration later) const { return begin + later; }
    // A look at everything that is due; those that need a pass.
    Uids look(Duration later, const std::string& mark) {
        const Uids due = resting.due(at(later));
        return resting.settle(due, std::vector<std::string>(due.size(), mark), at(later));
    }
    // Its second pass was told what the mark was before.
    void know(const std::string& mark) {
        resting.put(20, begin, 10s, 1h);
        EXPECT_EQ(look(10s, mark), Uids{20});
        resting.put(20, at(10s), 10s, 1h);
    }

    const SteadyTime begin{1h};
    Resting resting;
};

TEST_F(RestingTest, AnUnknownMarkIsReasonForAPassAndTheSameMarkIsNone) {
    know("a");
    EXPECT_EQ(look(20s, "a"), Uids{});
    EXPECT_EQ(look(30s, "a"), Uids{});
    EXPECT_EQ(look(40s, "b"), Uids{20});
}

TEST_F(RestingTest, AllAreLookedAtOnceMoreWhereSomethingMayConcernThem) {
    know("a");
    resting.look_again(at(11s));
    EXPECT_EQ(look(11s, "a"), Uids{});
    EXPECT_EQ(look(12s, "b"), Uids{});
    resting.look_again(at(12s));
    EXPECT_EQ(look(12s, "b"), Uids{20});
    // Its pass may have looked before that.
    resting.put(20, at(13s), 10s, 1h);
    EXPECT_EQ(look(13s, "b"), Uids{});
    EXPECT_EQ(look(14s, "c"), Uids{});
    EXPECT_EQ(look(23s, "c"), Uids{20});
}

TEST_F(RestingTest, WhatIsNotToldIsNeverTheSame) {
    know("");
    EXPECT_EQ(look(20s, ""), Uids{20});
}

TEST_F(RestingTest, WhoeverWaitsForItsPassIsNotDueAgain) {
    resting.put(20, begin, 10s, 1h);
    EXPECT_EQ(look(10s, "a"), Uids{20});
    EXPECT_EQ(look(10min, "a"), Uids{});
}

TEST_F(RestingTest, APassThatCameInBetweenMakesTheMarkUnknown) {
    know("a");
    resting.put(20, at(12s), 10s, 1h);
    EXPECT_EQ(look(22s, "a"), Uids{20});
}

TEST_F(RestingTest, NoMarkStandsBeyondTheTimeThatAPassNamed) {
    resting.put(20, begin, 10s, 15s);
    EXPECT_EQ(look(10s, "a"), Uids{20});
    resting.put(20, at(10s), 10s, 15s);
    EXPECT_EQ(look(20s, "a"), Uids{});
    EXPECT_EQ(resting.due(at(24s)), Uids{});
    EXPECT_EQ(look(25s, "a"), Uids{20}) << "its sweep is due, whatever the mark says";
}

TEST_F(RestingTest, TheyAreLookedAtWithinTheirIntervalAndNotAllAtOnce) {
    for (std::int64_t uid = 1; uid <= 100; ++uid) resting.put(uid, begin, 100s, 1h);
    EXPECT_EQ(resting.due(at(79s)).size(), 0U);
    EXPECT_EQ(resting.due(at(89s)).size(), 50U);
    EXPECT_EQ(resting.due(at(100s)).size(), 100U);
}

TEST_F(RestingTest, WhatWasRemovedIsForgotten) {
    know("a");
    resting.remove(20);
    EXPECT_EQ(look(1h, "a"), Uids{});
}

}  // namespace
}  // namespace homeostat
