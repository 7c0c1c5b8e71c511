#include "reconcilers/target_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const WallTime kNow = WallTime(std::chrono::seconds(1'800'000'000));

TargetViewSpec view() {
    TargetViewSpec v;
    v.uid = 1;
    v.name = "tenants";
    v.relation = "public.tenants";
    v.generation = 2;
    return v;
}

// A hundred pipelines of which these rows are gone; a look before saw the same.
TargetViewSight sight(std::vector<std::string> vanished) {
    TargetViewSight s;
    s.declared = 100;
    s.rows = 100 - static_cast<std::int64_t>(vanished.size());
    s.plan = vanished.empty() ? "" : "plan" + std::to_string(vanished.size());
    s.vanished = std::move(vanished);
    return s;
}

TargetViewStatus before() {
    TargetViewStatus s;
    s.rows = 100;
    s.counted_rows = 100;
    s.pipelines = 100;
    return s;
}

std::vector<std::string> names(int n) {
    std::vector<std::string> out;
    for (int i = 0; i < n; ++i) out.push_back("t" + std::to_string(i));
    return out;
}

const Condition& condition(const std::vector<Condition>& all, std::string_view type) {
    return *std::find_if(all.begin(), all.end(), [&](const Condition& c) { return c.type == type; });
}

TEST(TargetViewPlan, WhatTwoLooksMissGoes) {
    const TargetViewSight s = sight(names(3));
    const TargetViewPlan first = plan_target_view(view(), before(), s, "", kNow);
    EXPECT_TRUE(first.unconfirmed);
    EXPECT_THAT(first.retire, IsEmpty());
    EXPECT_EQ(first.status.counted_rows, 100) << "what it is compared with stays until a second look agrees";
    EXPECT_TRUE(plan_target_view(view(), before(), s, "another set", kNow).unconfirmed);
    const TargetViewPlan second = plan_target_view(view(), before(), s, s.plan, kNow);
    EXPECT_THAT(second.retire, ElementsAre("t0", "t1", "t2"));
    EXPECT_EQ(second.status.pipelines, 97);
    EXPECT_EQ(second.status.counted_rows, 97);
    EXPECT_EQ(second.status.removed_in_window, 3);
    EXPECT_EQ(second.status.removal_window_start, kNow);
}

TEST(TargetViewPlan, TheShareIsOfAnHourNotOfALook) {
    TargetViewStatus status = before();
    status.removed_in_window = 8;
    status.removal_window_start = kNow - std::chrono::minutes(59);
    const TargetViewSight s = sight(names(3));
    const TargetViewPlan held = plan_target_view(view(), status, s, s.plan, kNow);
    EXPECT_EQ(held.removal.reason, "RemovalLimit");
    EXPECT_THAT(held.retire, IsEmpty());
    status.removal_window_start = kNow - std::chrono::minutes(61);
    const TargetViewPlan later = plan_target_view(view(), status, s, s.plan, kNow);
    EXPECT_EQ(later.retire.size(), 3U);
    EXPECT_EQ(later.status.removed_in_window, 3) << "a new hour";
}

TEST(TargetViewPlan, WhatIsHeldNamesItsPlanAndHowToLetItGo) {
    const TargetViewSight s = sight(names(40));
    TargetViewSpec v = view();
    const TargetViewPlan held = plan_target_view(v, before(), s, s.plan, kNow);
    ASSERT_TRUE(held.removal.blocked);
    EXPECT_EQ(held.status.plan, "plan40");
    EXPECT_EQ(held.status.held, 40);
    EXPECT_EQ(held.status.counted_rows, 100) << "or the brake would let go at the next look";
    const auto conditions = target_view_conditions(v, s, held);
    EXPECT_THAT(condition(conditions, "RemovalBlocked").message,
                AllOf(HasSubstr("40 of 100 pipelines would go"), HasSubstr("homeostat approve targetview/tenants plan40"),
                      HasSubstr("and 30 more")));
    EXPECT_EQ(condition(conditions, "Ready").status, "False");
    v.approval = "plan39";
    const TargetViewPlan other = plan_target_view(v, before(), s, s.plan, kNow);
    EXPECT_TRUE(other.removal.blocked);
    EXPECT_TRUE(other.clear_approval) << "an approval is for what waits now, not for what may come";
    v.approval = "plan40";
    const TargetViewPlan approved = plan_target_view(v, before(), s, s.plan, kNow);
    EXPECT_EQ(approved.retire.size(), 40U);
    EXPECT_TRUE(approved.clear_approval) << "once";
    EXPECT_EQ(approved.status.removed_in_window, 0) << "does not count against what may go without";
    EXPECT_EQ(approved.status.plan, "");
}

TEST(TargetViewPlan, NothingMissingIsNothingHeld) {
    TargetViewStatus status = before();
    status.held = 7;
    status.plan = "old";
    const TargetViewPlan plan = plan_target_view(view(), status, sight({}), "old", kNow);
    EXPECT_FALSE(plan.removal.blocked);
    EXPECT_EQ(plan.status.held, 0);
    EXPECT_EQ(plan.status.plan, "");
    const auto conditions = target_view_conditions(view(), sight({}), plan);
    EXPECT_EQ(condition(conditions, "Ready").status, "True");
    EXPECT_EQ(condition(conditions, "RemovalBlocked").status, "False");
}

TEST(TargetViewPlan, RefusedAndTakenRowsAreSaid) {
    TargetViewSight s = sight({});
    s.refused = {{"a", "pipeline \"a\": no such thing"}};
    s.taken = {"b"};
    s.ignored = {"colour"};
    const TargetViewPlan plan = plan_target_view(view(), before(), s, "", kNow);
    const auto conditions = target_view_conditions(view(), s, plan);
    EXPECT_EQ(condition(conditions, "Ready").reason, "RowsRefused");
    EXPECT_THAT(condition(conditions, "RowsRefused").message, HasSubstr("no such thing"));
    EXPECT_THAT(condition(conditions, "NamesTaken").message, HasSubstr("\"b\""));
    EXPECT_THAT(condition(conditions, "ColumnsIgnored").message, HasSubstr("\"colour\""));
}

TEST(TargetViewRemoval, EmptyAndShrunkRelationsAreHeldWhateverTheShare) {
    RemovalInput in{.vanished = 1, .declared = 10, .rows = 0, .counted_rows = 10, .max_ratio = 1};
    EXPECT_EQ(decide_removal(in).reason, "RelationEmpty");
    in = {.vanished = 6, .declared = 10, .rows = 4, .counted_rows = 10, .max_ratio = 1};
    EXPECT_EQ(decide_removal(in).reason, "RelationShrank");
    in = {.vanished = 5, .declared = 10, .rows = 5, .counted_rows = 10, .max_ratio = 1};
    EXPECT_FALSE(decide_removal(in).blocked) << "exactly half is not more than half";
    in = {.vanished = 1, .declared = 3, .rows = 2, .counted_rows = 3};
    EXPECT_FALSE(decide_removal(in).blocked) << "one may always go";
    in.vanished = 2;
    EXPECT_TRUE(decide_removal(in).blocked);
}

RemovalInput any_removal() {
    RemovalInput in;
    in.declared = *rc::gen::inRange<std::int64_t>(0, 2'000);
    in.vanished = *rc::gen::inRange<std::int64_t>(0, in.declared + 1);
    in.rows = *rc::gen::inRange<std::int64_t>(0, 2'000);
    if (*rc::gen::arbitrary<bool>()) in.counted_rows = *rc::gen::inRange<std::int64_t>(0, 2'000);
    in.removed_in_window = *rc::gen::inRange<std::int64_t>(0, 500);
    in.max_ratio = *rc::gen::inRange(0, 101) / 100.0;
    in.approved = *rc::gen::arbitrary<bool>();
    return in;
}

RC_GTEST_PROP(TargetViewRemoval, NothingGoesPastABrakeWithoutApproval, ()) {
    const RemovalInput in = any_removal();
    const RemovalDecision d = decide_removal(in);
    RC_ASSERT(d.blocked == (!d.message.empty()));
    RC_ASSERT(!d.blocked || (in.vanished > 0 && !in.approved && !d.reason.empty()));
    if (d.blocked || in.vanished == 0 || in.approved) return;
    RC_ASSERT(in.rows > 0);
    if (in.counted_rows) RC_ASSERT(in.rows * 2 >= *in.counted_rows);
    const auto share = static_cast<std::int64_t>(static_cast<double>(in.declared + in.removed_in_window) * in.max_ratio);
    RC_ASSERT(in.vanished + in.removed_in_window <= std::max<std::int64_t>(1, share));
}

RC_GTEST_PROP(TargetViewRemoval, NeitherMoreGoneNorFewerRowsOpenABrake, ()) {
    RemovalInput in = any_removal();
    RC_PRE(decide_removal(in).blocked);
    in.vanished += *rc::gen::inRange<std::int64_t>(0, 100);
    in.rows = *rc::gen::inRange<std::int64_t>(0, in.rows + 1);
    RC_ASSERT(decide_removal(in).blocked);
}

// However a relation loses its rows, in whatever steps, no more than the hour's share goes within the hour.
RC_GTEST_PROP(TargetViewPlan, RowByRowNoMoreThanTheShareOfAnHourGoes, ()) {
    TargetViewStatus status = before();
    std::int64_t left = 100;
    std::int64_t gone = 0;
    for (int look = 0; look < 50 && left > 0; ++look) {
        TargetViewSight s;
        const auto more = *rc::gen::inRange<std::int64_t>(0, 8);
        s.declared = left;
        s.vanished.resize(static_cast<std::size_t>(std::min(more, left)), "x");
        s.rows = left - static_cast<std::int64_t>(s.vanished.size());
        s.plan = s.vanished.empty() ? "" : "p";
        const TargetViewPlan plan = plan_target_view(view(), status, s, s.plan, kNow + std::chrono::seconds(look));
        gone += static_cast<std::int64_t>(plan.retire.size());
        left -= static_cast<std::int64_t>(plan.retire.size());
        status = plan.status;
    }
    RC_ASSERT(gone <= 10);
}

}  // namespace
}  // namespace homeostat
