// How long a slice of a sweep waits for the one before it, and how large it may be.
#include "reconcilers/pipeline/sweep_budget.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

TEST(SweepBudget, OnlyWhatNobodyWaitsForTakesItsTime) {
    for (const char* trigger : {"interval", "feed", "refresh"}) EXPECT_TRUE(nobody_waits(trigger)) << trigger;
    for (const char* trigger : {"spec", "requested", "once", "approved", "provider", "retry"})
        EXPECT_FALSE(nobody_waits(trigger)) << trigger;
}

TEST(SweepBudget, AShareOfTheTimeIsForOthers) {
    EXPECT_EQ(pause_after(200ms, 20'000, {0, 1.0}), 0ms);
    EXPECT_EQ(pause_after(200ms, 20'000, {0, 0.5}), 200ms);
    EXPECT_EQ(pause_after(200ms, 20'000, {0, 0.25}), 600ms);
    EXPECT_EQ(pause_after(1s, 20'000, {0, 0.01}), 99s);
}

TEST(SweepBudget, RowsASecondCountTheTimeThatTheSliceTook) {
    EXPECT_EQ(pause_after(300ms, 1'000, {1'000, 1.0}), 700ms);
    EXPECT_EQ(pause_after(2s, 1'000, {1'000, 1.0}), 0ms) << "slower than it may be already";
    EXPECT_EQ(pause_after(10ms, 0, {1'000, 1.0}), 0ms);
}

TEST(SweepBudget, TheStricterLimitHolds) {
    EXPECT_EQ(pause_after(100ms, 1'000, {1'000, 0.5}), 900ms);
    EXPECT_EQ(pause_after(800ms, 1'000, {1'000, 0.5}), 800ms);
}

TEST(SweepBudget, ASliceIsASecondsWorthButNotTooSmall) {
    EXPECT_EQ(slice_within(20'000, {0, 0.5}), 20'000);
    EXPECT_EQ(slice_within(20'000, {1'000, 0.5}), 1'000);
    EXPECT_EQ(slice_within(20'000, {1, 0.5}), 100);
    EXPECT_EQ(slice_within(500, {1'000, 0.5}), 500);
}

// Whatever a slice took, both limits hold over it and the pause after it.
RC_GTEST_PROP(SweepBudget, NoLimitIsEverPassed, ()) {
    const std::chrono::milliseconds took(*rc::gen::inRange(0, 60'000));
    const std::int64_t rows = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    const SweepBudget budget{*rc::gen::inRange<std::int64_t>(0, 1'000'000), *rc::gen::inRange(1, 101) / 100.0};
    // To the millisecond.
    const double whole = std::chrono::duration<double>(took + pause_after(took, rows, budget) + 501us).count();
    RC_ASSERT(std::chrono::duration<double>(took).count() <= whole * budget.share);
    if (budget.rows_per_second > 0) RC_ASSERT(static_cast<double>(rows) <= whole * static_cast<double>(budget.rows_per_second));
}

}  // namespace
}  // namespace homeostat
