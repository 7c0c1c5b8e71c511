// Budgets and approvals: what is paid is counted at the endpoint itself.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Budgets : public World {
protected:
    // `n` documents of about fifty tokens each.
    void make(int n, const std::string& columns, const std::string& values) {
        db.exec(fmt::format(
            "CREATE TABLE docs (id bigint PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, 'Document ' || i || repeat(' of some length', 13) FROM generate_series(1, {}) i",
            n));
        declare_endpoint(endpoint);
        db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 100, currency = 'EUR' WHERE name = 'fake'");
        declare("docs", "docs", "content, chunker, index_method" + columns, "'body', 'whole', 'none'" + values);
    }
    std::int64_t paid() {
        std::uint64_t tokens = 0;
        for (const kit::FakeRequest& r : endpoint.requests()) {
            for (const std::string& text : r.texts) tokens += kit::FakeEndpoint::tokens_of(text);
        }
        return static_cast<std::int64_t>(tokens);
    }
    std::string refused(const std::string& sql) {
        try {
            db.exec(sql);
        } catch (const std::exception& e) {
            return e.what();
        }
        return "";
    }
    std::string waiting_plan() { return db.value("SELECT coalesce(min(plan), '') FROM homeostat.budget WHERE spent"); }
    std::int64_t reserved() {
        return number("SELECT coalesce(sum(reserved), 0)::bigint FROM homeostat.budget WHERE unit = 'tokens'");
    }
    void begin_the_next_day() { db.exec("UPDATE homeostat.budget_use SET day = day - 1"); }
    bool nothing_is_claimed() { return number("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL") == 0; }

    kit::FakeEndpoint endpoint{{.dimensions = 16, .delay = std::chrono::milliseconds(5)}};
    const kit::Environment small{{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}};
    static constexpr std::int64_t kBatch = 16 * 60;  // tokens of a batch, and some
    const std::string wanted = "SELECT id::text, body FROM docs";
};

TEST_F(Budgets, ThreeReplicasPayNoMoreThanOneBatchAboveTheBudgetOfADayAndGoOnTheNextDay) {
    constexpr std::int64_t kBudget = 4'000;
    make(300, ", max_tokens_per_day", fmt::format(", {}", kBudget));
    kit::Process a = homeostat.start({"run"}, small);
    kit::Process b = homeostat.start({"run"}, small);
    kit::Process c = homeostat.start({"run"}, small);
    const auto waits = [&] { return condition("docs", "BudgetSpent") == "True" && nothing_is_claimed() && reserved() == 0; };
    ASSERT_TRUE(kit::eventually(waits)) << a.output();
    EXPECT_GE(paid(), kBudget);
    EXPECT_LE(paid(), kBudget + kBatch);
    EXPECT_EQ(number("SELECT tokens FROM homeostat.budget_use WHERE scope = 'pipeline'"), paid());
    EXPECT_THAT(condition("docs", "BudgetSpent", "message"),
                AllOf(HasSubstr("pipeline \"docs\" has spent"), HasSubstr("of its 4000 tokens a day"),
                      HasSubstr("tomorrow (UTC)"), HasSubstr("homeostat approve docs " + waiting_plan())));
    EXPECT_NE(condition("docs", "Ready"), "True");
    EXPECT_NE(condition("docs", "Synced"), "True");
    // An edit counts too, and waits like all else.
    db.exec("UPDATE docs SET body = body || ' edited' WHERE id = 1");
    for (int day = 2; day <= 3; ++day) {
        const std::int64_t before = paid();
        begin_the_next_day();
        ASSERT_TRUE(kit::eventually([&] { return paid() >= before + kBudget; })) << day;
        ASSERT_TRUE(kit::eventually(waits)) << day;
        EXPECT_LE(paid(), before + kBudget + kBatch) << day;
    }
    db.exec("UPDATE homeostat.pipeline SET max_tokens_per_day = NULL");
    end_converged(a, "docs", wanted);
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "BudgetSpent") != "True"; }));
    end(b);
    end(c);
}

TEST_F(Budgets, ARunThatSomebodyWaitsForSaysWhatIsSpentAndGoesOnOnceThatPlanIsApproved) {
    make(100, ", max_cost_per_run, currency", ", 0.1, 'EUR'");  // 1,000 tokens of 5,200
    for (int run = 1; run <= 3; ++run) {
        const std::int64_t before = paid();
        EXPECT_THAT(run_once(kFailed, small).output, HasSubstr("of its 0.1 EUR a run")) << run;
        EXPECT_GE(paid(), before + 1'000) << run;
        EXPECT_LE(paid(), before + 1'000 + kBatch) << run;
    }
    EXPECT_EQ(condition("docs", "Ready", "reason"), "BudgetSpent");
    EXPECT_NE(condition("docs", "ProviderHealthy"), "False") << "it has done nothing wrong";
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.batch WHERE reserved_under = claim_token"), 0);
    // Each run has a budget of its own, and what is embedded is not paid for again.
    run_once(kConverged, small);
    EXPECT_LE(paid(), 5'300);
    expect_converged("docs", wanted);
}

TEST_F(Budgets, TheBudgetOfAProviderHoldsAllWhoUseItAndIsApprovedByItsOwnName) {
    make(40, "", "");
    db.exec("UPDATE homeostat.provider SET max_tokens_per_day = 1000 WHERE name = 'fake'");
    db.exec("CREATE TABLE notes (id bigint PRIMARY KEY, body text); INSERT INTO notes SELECT id, body || ' noted' FROM docs");
    declare("notes", "notes", "content, chunker, index_method", "'body', 'whole', 'none'");
    kit::Process run = homeostat.start({"run"}, small);
    const auto both = [&] { return condition("docs", "BudgetSpent") == "True" && condition("notes", "BudgetSpent") == "True"; };
    ASSERT_TRUE(kit::eventually([&] { return both() && nothing_is_claimed(); })) << run.output();
    EXPECT_LE(paid(), 1'000 + kBatch);
    EXPECT_EQ(condition("notes", "BudgetSpent", "reason"), "ProviderBudget");
    const std::string plan = waiting_plan();
    EXPECT_THAT(condition("docs", "BudgetSpent", "message"), HasSubstr("homeostat approve provider/fake " + plan));
    EXPECT_NE(homeostat.run({"approve", "docs", plan}).exit.code, 0) << "what the provider may cost is not the pipeline's to say";
    EXPECT_EQ(homeostat.run({"approve", "provider/fake", plan}).exit.code, 0);
    EXPECT_TRUE(kit::eventually([&] { return paid() >= 2'000; }));
    db.exec("UPDATE homeostat.provider SET max_tokens_per_day = NULL WHERE name = 'fake'");
    kit::eventually([&] { return kit::broken_invariants(db, "notes", "SELECT id::text, body FROM notes").empty(); });
    end_converged(run, "docs", wanted);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.budget_use"), 0) << "nothing is counted where nothing is declared";
}

TEST_F(Budgets, OnlyThePlanThatWaitsIsApprovedAndOnlyOnce) {
    make(100, ", max_tokens_per_day", ", 1000");
    run_once(kFailed, small);
    const std::string plan = waiting_plan();
    ASSERT_NE(plan, "");
    EXPECT_THAT(homeostat.run({"approve", "docs", "budget-0"}).output,
                HasSubstr("budget-0 is not the plan that waits for approval; that is " + plan));
    EXPECT_EQ(homeostat.run({"approve", "docs", plan}).exit.code, 0);
    EXPECT_NE(homeostat.run({"approve", "docs", plan}).exit.code, 0) << "a plan is approved once";
    for (int grants = 1; grants <= 3; ++grants) {
        run_once(kFailed, small);
        EXPECT_GE(paid(), 1'000 * (grants + 1));
        EXPECT_LE(paid(), 1'000 * (grants + 1) + kBatch) << "an approval allows as much again, and no more";
        EXPECT_NE(waiting_plan(), plan);
        EXPECT_EQ(homeostat.run({"approve", "docs", waiting_plan()}).exit.code, 0);
    }
    run_once(kConverged, small);
    EXPECT_EQ(db.value("SELECT grants FROM homeostat.budget_use WHERE scope = 'pipeline'"), "4");
    EXPECT_NE(db.value("SELECT coalesce(granted_by, '') FROM homeostat.budget_use WHERE scope = 'pipeline'"), "");
    EXPECT_EQ(condition("docs", "Ready"), "True");
    EXPECT_EQ(condition("docs", "Synced"), "True") << "though the budget is spent again";
}

TEST_F(Budgets, AProcessThatIsKilledBetweenReserveAndSettleKeepsNothingReserved) {
    make(60, ", max_tokens_per_day", ", 100000");
    for (const char* point : {"embed.before:2", "embed.after:2", "write.before_commit:2", "write.after_commit:1"}) {
        kit::Environment doomed = small;
        doomed["HOMEOSTAT_FAULT_POINT"] = point;
        EXPECT_TRUE(homeostat.run_once(doomed).exit.killed()) << point;
    }
    run_once(kConverged, small);
    EXPECT_EQ(reserved(), 0);
    // What was paid and not written, at most a batch a death, is the only thing that is not counted.
    const std::int64_t counted = number("SELECT tokens FROM homeostat.budget_use WHERE scope = 'pipeline'");
    EXPECT_LE(counted, paid());
    EXPECT_GE(counted + 4 * kBatch * 2, paid());
    expect_converged("docs", wanted);
}

TEST_F(Budgets, WhatCostsMoreThanDeclaredWaitsForApprovalBeforeAnythingIsPaid) {
    make(60, ", approve_above", ", 0.2");  // 2,000 tokens
    EXPECT_THAT(run_once(kFailed, small).output,
                AllOf(HasSubstr("to embed 60 documents"), HasSubstr("homeostat approve docs cost-")));
    EXPECT_EQ(endpoint.calls(), 0);
    EXPECT_EQ(condition("docs", "PlanHeld"), "True");
    const std::string plan = db.value("SELECT plan FROM homeostat.held_plan");
    EXPECT_THAT(homeostat.run({"approve", "docs", "cost-0"}).output, HasSubstr("that is " + plan));
    EXPECT_EQ(homeostat.run({"approve", "docs", plan}).exit.code, 0);
    EXPECT_NE(homeostat.run({"approve", "docs", plan}).exit.code, 0);
    db.exec("INSERT INTO docs SELECT 1000 + i, 'One more ' || i FROM generate_series(1, 2) i");  // within a tenth
    run_once(kConverged, small);
    EXPECT_EQ(condition("docs", "PlanHeld"), "False");
    // What costs little needs nobody, and what was approved is over.
    db.exec("UPDATE docs SET body = body || '!' WHERE id <= 5");
    run_once(kConverged, small);
    db.exec("UPDATE docs SET body = body || '?'");
    run_once(kFailed, small);
    EXPECT_NE(db.value("SELECT plan FROM homeostat.held_plan"), plan);
    EXPECT_EQ(condition("docs", "Synced"), "False");
}

// What the feed had planned under the declaration before is no plan: it is healed in what is served as soon as a budget allows
// it.
TEST_F(Budgets, EditsThatWaitedForABudgetDoNotWaitForAPlan) {
    make(60, "", "");
    kit::Process run = homeostat.start({"run"}, small);
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "Ready") == "True"; })) << run.output();
    db.exec("UPDATE homeostat.pipeline SET max_tokens_per_day = 1");
    db.exec("UPDATE docs SET body = 'Spends it' WHERE id = 1");
    ASSERT_TRUE(kit::eventually([&] { return number("SELECT count(*) FROM homeostat.budget_use WHERE tokens > 0") > 0; }));
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id BETWEEN 2 AND 20");
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "BudgetSpent") == "True"; })) << run.output();
    db.exec("UPDATE homeostat.pipeline SET max_tokens_per_day = 100000, chunk_size = 77, approve_above = 0.00001");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE 'Edited %'", "19")) << run.output();
    EXPECT_EQ(condition("docs", "PlanHeld"), "True");
    run.signal(SIGTERM);
    EXPECT_TRUE(run.wait(std::chrono::seconds(30)));
}

// Nothing of it is healed by anybody until somebody comes.
TEST_F(Budgets, ARunThatIsToEndDoesNotWaitForWhatAnotherReplicaHolds) {
    make(60, ", approve_above", ", 0.2");
    kit::Process run = homeostat.start({"run"}, small);
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'PlanHeld' AND status = 'True'", "1"))
        << run.output();
    EXPECT_EQ(homeostat.run_once(small).exit.code, kFailed);
    ASSERT_EQ(homeostat.run({"suspend", "docs"}).exit.code, 0);
    EXPECT_EQ(homeostat.run_once(small).exit.code, kDriftLeft);
    run.signal(SIGTERM);
    EXPECT_TRUE(run.wait(std::chrono::seconds(30)));
}

// A number of one's own would be an approval that nobody gave, and overflowed what all claims look at.
TEST_F(Budgets, AnApprovalIsOneBudgetMore) {
    make(60, ", max_tokens_per_day", ", 100");
    run_once(kFailed, small);
    for (const char* grants : {"2147483647", "-1", "grants + 2"}) {
        EXPECT_THROW(db.exec(fmt::format("UPDATE homeostat.own_budget_use SET grants = {}", grants)), std::exception) << grants;
    }
    EXPECT_NO_THROW(db.exec("UPDATE homeostat.own_budget_use SET grants = grants + 1"));
}

TEST_F(Budgets, AmountsThatMeanNothingAreRefusedWithASentence) {
    make(1, "", "");
    const auto set = [&](const std::string& what) { return refused("UPDATE homeostat.pipeline SET " + what); };
    EXPECT_THAT(set("max_tokens_per_day = 0"), HasSubstr("max_tokens_per_day is 0; a budget is more than 0"));
    EXPECT_THAT(set("max_tokens_per_run = -5"), HasSubstr("max_tokens_per_run is -5"));
    EXPECT_THAT(set("max_cost_per_run = 0"), HasSubstr("max_cost_per_run is 0"));
    EXPECT_THAT(set("max_cost_per_day = 'NaN'"), HasSubstr("max_cost_per_day is NaN"));
    EXPECT_THAT(set("approve_above = -1"), HasSubstr("approve_above is -1"));
    EXPECT_THAT(set("currency = 'USD', approve_above = 5"),
                HasSubstr("its amounts are in USD and the price of provider \"fake\" is in EUR; declare them in EUR"));
    EXPECT_THAT(set("currency = 'euro'"), HasSubstr("currency \"euro\" is none"));
    EXPECT_THAT(set("provider = 'hashing', model = 'hashing', approve_above = 1"), HasSubstr("has no price"));
    EXPECT_EQ(set("currency = 'EUR', approve_above = 5, max_cost_per_day = 2.5"), "");
    EXPECT_THAT(refused("UPDATE homeostat.provider SET currency = 'USD' WHERE name = 'fake'"),
                HasSubstr("the amounts of pipeline \"docs\" are in EUR"));
    EXPECT_THAT(refused("UPDATE homeostat.provider SET price_per_million_tokens = 0 WHERE name = 'fake'"),
                HasSubstr("without a price"));
    EXPECT_THAT(refused("UPDATE homeostat.provider SET max_tokens_per_day = 0 WHERE name = 'fake'"),
                HasSubstr("provider \"fake\": max_tokens_per_day is 0"));
    EXPECT_THAT(refused("UPDATE homeostat.provider SET max_cost_per_day = 3 WHERE name = 'hashing'"),
                HasSubstr("it has no price"));
    for (const char* price : {"NaN", "Infinity"}) {
        EXPECT_THAT(
            refused(fmt::format("UPDATE homeostat.provider SET price_per_million_tokens = '{}' WHERE name = 'fake'", price)),
            HasSubstr(fmt::format("provider \"fake\": price_per_million_tokens is {}; a price is an amount", price)));
    }
    EXPECT_THAT(homeostat.run({"approve", "docs", "x"}).output, HasSubstr("nothing of it waits for approval"));
    EXPECT_THAT(homeostat.run({"approve", "provider/fake", "x"}).output, HasSubstr("no budget of it is spent"));
    EXPECT_THAT(homeostat.run({"approve", "provider/fak", "x"}).output, HasSubstr("does not exist (did you mean \"fake\"?)"));
}

}  // namespace
}  // namespace homeostat
