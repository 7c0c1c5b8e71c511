#include "reconcilers/factory/prune.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace homeostat {
namespace {

// A table of 1,000 documents of which a few are gone: nothing stands in the way.
PruneInput quiet() {
    PruneInput in;
    in.confirmed = 5;
    in.documents = 1'000;
    in.source_rows = 995;
    in.previous_source_rows = 1'000;
    return in;
}

PruneInput any_input() {
    PruneInput in;
    in.policy = *rc::gen::element<std::string>("Auto", "Confirm", "Never");
    in.documents = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    in.confirmed = *rc::gen::inRange<std::int64_t>(0, in.documents + 1);
    in.source_rows = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    if (*rc::gen::arbitrary<bool>()) in.previous_source_rows = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    in.pruned_in_window = *rc::gen::inRange<std::int64_t>(0, 200'000);
    in.max_ratio = *rc::gen::inRange(0, 101) / 100.0;
    in.max_rows = *rc::gen::inRange<std::int64_t>(0, 100'000);
    in.floor = *rc::gen::inRange<std::int64_t>(0, 100);
    in.approved = *rc::gen::arbitrary<bool>();
    return in;
}

TEST(Prune, AFewAreLetGo) {
    const PruneDecision d = decide_prune(quiet());
    EXPECT_EQ(d.allowed, 5);
    EXPECT_FALSE(d.blocked);
}

TEST(Prune, NothingConfirmedIsNothingHeld) {
    PruneInput in = quiet();
    in.confirmed = 0;
    in.source_rows = 0;
    EXPECT_FALSE(decide_prune(in).blocked);
}

TEST(Prune, AnEmptySourceAndOneThatShrankByMoreThanHalfAreHeld) {
    PruneInput in = quiet();
    in.confirmed = 1;
    in.source_rows = 0;
    EXPECT_EQ(decide_prune(in).reason, "SourceEmpty");
    in.source_rows = 499;
    EXPECT_EQ(decide_prune(in).reason, "SourceShrank");
    in.source_rows = 500;  // exactly half is not more than half
    EXPECT_FALSE(decide_prune(in).blocked);
    in.source_rows = 1;
    in.previous_source_rows.reset();  // never seen before: nothing to compare with
    EXPECT_FALSE(decide_prune(in).blocked);
}

TEST(Prune, TheShareOfAnHourAndTheRowsOfAnHourBothBind) {
    PruneInput in = quiet();
    in.confirmed = 150;
    PruneDecision d = decide_prune(in);
    EXPECT_EQ(d.allowed, 100);
    EXPECT_TRUE(d.blocked);
    EXPECT_EQ(d.reason, "PruneLimit");
    in.max_rows = 30;
    EXPECT_EQ(decide_prune(in).allowed, 30);
    in.pruned_in_window = 25;
    EXPECT_EQ(decide_prune(in).allowed, 5);
    in.pruned_in_window = 40;
    EXPECT_EQ(decide_prune(in).allowed, 0);
}

TEST(Prune, SmallTablesAreNotStuck) {
    PruneInput in = quiet();
    in.documents = 12;
    in.source_rows = 10;
    in.previous_source_rows = 12;
    in.confirmed = 2;
    EXPECT_EQ(decide_prune(in).allowed, 2);
}

TEST(Prune, ApprovalOvercomesEveryBrakeButNever) {
    PruneInput in = quiet();
    in.confirmed = 900;
    in.source_rows = 0;
    in.approved = true;
    EXPECT_EQ(decide_prune(in).allowed, 900);
    in.policy = "Confirm";
    EXPECT_EQ(decide_prune(in).allowed, 900);
    in.policy = "Never";
    EXPECT_EQ(decide_prune(in).allowed, 0);
    EXPECT_TRUE(decide_prune(in).blocked);
}

RC_GTEST_PROP(Prune, NeverLetsGoMoreThanIsConfirmedOrAllowed, ()) {
    const PruneInput in = any_input();
    const PruneDecision d = decide_prune(in);
    RC_ASSERT(d.allowed >= 0);
    RC_ASSERT(d.allowed <= in.confirmed);
    // What is not let go is held, and held is said with a reason: nothing is silently forgotten.
    RC_ASSERT(d.blocked == (d.allowed < in.confirmed));
    RC_ASSERT(!d.blocked || (!d.reason.empty() && !d.message.empty()));
    if (in.approved || d.allowed == 0) return;
    RC_ASSERT(in.policy == "Auto");
    RC_ASSERT(in.source_rows > 0);
    const auto share = static_cast<std::int64_t>(static_cast<double>(in.documents) * in.max_ratio);
    RC_ASSERT(d.allowed + in.pruned_in_window <= std::max(in.floor, std::min(share, in.max_rows)));
}

RC_GTEST_PROP(Prune, MorePrunedBeforeNeverLetsMoreGo, ()) {
    PruneInput in = any_input();
    const std::int64_t before = decide_prune(in).allowed;
    in.pruned_in_window += *rc::gen::inRange<std::int64_t>(0, 1'000);
    RC_ASSERT(decide_prune(in).allowed <= before);
}

}  // namespace
}  // namespace homeostat
