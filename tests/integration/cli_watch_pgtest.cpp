// `watch`: its arithmetic by example, and its lines on a real database.
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/progress.hpp"
#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr SteadyTime at(int second) { return SteadyTime(seconds(second)); }

Look sweeping(std::int64_t seen, std::int64_t planned, std::int64_t written) {
    Look l;
    l.estimated_rows = 1'000;
    l.run = Run{.id = 1, .phase = RunPhase::sweeping, .seen = seen, .planned = planned};
    l.progress.written = written;
    return l;
}

TEST(ProgressMeter, ABackfillGrowsFromNothingToAll) {
    ProgressMeter meter;
    const Progress first = meter.update(sweeping(0, 0, 0), at(0));
    EXPECT_DOUBLE_EQ(first.share, 0);
    EXPECT_EQ(first.total, 1'000);
    EXPECT_TRUE(first.total_is_estimate);
    EXPECT_FALSE(first.seconds_left);
    const Progress half = meter.update(sweeping(600, 600, 500), at(5));
    EXPECT_DOUBLE_EQ(half.share, 0.5);
    EXPECT_DOUBLE_EQ(half.rate, 100);
    EXPECT_DOUBLE_EQ(*half.seconds_left, 5) << "100 planned and open, 400 not looked at yet";
    Look healing = sweeping(1'100, 1'100, 1'000);
    healing.run->phase = RunPhase::healing;
    const Progress late = meter.update(healing, at(10));
    EXPECT_EQ(late.total, 1'100) << "counted, not estimated any more";
    EXPECT_FALSE(late.total_is_estimate);
    EXPECT_NEAR(late.share, 1'000.0 / 1'100, 1e-9);
}

TEST(ProgressMeter, WhatIsSoundCountsAsDone) {
    ProgressMeter meter;
    const Progress p = meter.update(sweeping(1'000, 10, 0), at(0));
    EXPECT_DOUBLE_EQ(p.share, 0.99);
}

TEST(ProgressMeter, TheRateFollowsTheLastSecondsAndANewRunBeginsAnew) {
    ProgressMeter meter;
    meter.update(sweeping(0, 0, 0), at(0));
    for (int s = 1; s <= 20; ++s) meter.update(sweeping(1'000, 1'000, s * 10), at(s));
    EXPECT_DOUBLE_EQ(meter.update(sweeping(1'000, 1'000, 200), at(40)).rate, 0) << "it stands still";
    Look other = sweeping(10, 10, 5);
    other.run->id = 2;
    EXPECT_DOUBLE_EQ(meter.update(other, at(41)).rate, 0);
}

TEST(ProgressMeter, LaterSweepsOnlyVerify) {
    ProgressMeter meter;
    Look l = sweeping(0, 1'000, 1'000);
    l.run->sweeps = 2;
    EXPECT_DOUBLE_EQ(meter.update(l, at(0)).share, 1);
}

TEST(ProgressMeter, ADeclaredCountBoundsTheTotal) {
    ProgressMeter meter;
    Look l = sweeping(0, 0, 0);
    l.declared = 100;
    EXPECT_EQ(meter.update(l, at(0)).total, 100);
    l.estimated_rows = 0;
    EXPECT_EQ(meter.update(l, at(1)).total, 100);
}

TEST(Figures, AreReadable) {
    EXPECT_EQ(count_text(0), "0");
    EXPECT_EQ(count_text(999), "999");
    EXPECT_EQ(count_text(1'000), "1,000");
    EXPECT_EQ(count_text(-1'234'567), "-1,234,567");
    EXPECT_EQ(count_text(-123), "-123");
    EXPECT_EQ(counted(1, "row"), "1 row");
    EXPECT_EQ(duration_text(0.2), "1 s");
    EXPECT_EQ(duration_text(91), "2 min");
    EXPECT_EQ(duration_text(7'200), "2.0 h");
    EXPECT_EQ(bar_text(0, 4), "[----]");
    EXPECT_EQ(bar_text(0.5, 4), "[##--]");
    EXPECT_EQ(bar_text(1, 4), "[####]");
    EXPECT_EQ(drift_text({.missing = 1'200, .excess = 3}), "missing 1,200, excess 3");
}

class CliWatch : public CliCase {};

TEST_F(CliWatch, EndsWhenConverged) {
    declare_articles(20);
    const Answer waiting = run({"watch", "--until-converged", "--interval", "20ms", "--timeout", "100ms"});
    EXPECT_EQ(waiting.code, 1);
    EXPECT_THAT(waiting.err, HasSubstr("not converged after 100ms"));
    EXPECT_THAT(waiting.out, HasSubstr("articles:   0 %  NotObserved\n")) << "said once, however often it was looked";
    EXPECT_EQ(std::count(waiting.out.begin(), waiting.out.end(), '\n'), 1);
    heal();
    EXPECT_THAT(ends(0, {"watch", "articles", "--until-converged"}),
                AllOf(HasSubstr("articles: 100 %"), HasSubstr("20 documents"), Not(HasSubstr("\x1b"))));
}

TEST_F(CliWatch, ARunUnderWayIsShownWithItsFigures) {
    declare_articles(200);
    db.exec(
        "INSERT INTO homeostat.run (uid, revision, generation, reconcile_id, trigger, deep, phase, seen, missing, planned)"
        " SELECT uid, 1, 1, 'r', 'spec', false, 'healing', 200, 200, 200 FROM homeostat.pipeline;"
        "INSERT INTO homeostat.batch_history (id, uid, run_id, kind, class, outcome, claim_token, claimed_by, documents, written,"
        " dropped, chunks, embedded, tokens) SELECT 1, uid, id, 'heal', 'missing', 'done', 1, 'x', 50, 50, 0, 50, 50, 1 FROM "
        "homeostat.run");
    EXPECT_THAT(ends(0, {"watch", "--timeout", "10ms", "--interval", "10ms"}),
                HasSubstr("articles:  25 %  healing 200 documents, 50 done, 1 token; found missing 200"));
    for (const auto& [stored, phase] :
         {std::pair{"phase = 'sweeping'", "observing"}, std::pair{"phase = 'sweeping', sweeps = 2", "verifying"},
          std::pair{"phase = 'indexing'", "indexing"}}) {
        db.exec(std::string("UPDATE homeostat.run SET ") + stored);
        EXPECT_THAT(ends(0, {"watch", "--timeout", "10ms", "--interval", "10ms"}), HasSubstr(std::string("  ") + phase + " "));
        EXPECT_THAT(ends(0, {"get"}), HasSubstr(std::string(" ") + phase + " "));
    }
}

// No controller runs that could tell.
TEST_F(CliWatch, NothingIsConvergedThatWaits) {
    declare_articles(20);
    heal();
    EXPECT_EQ(run({"watch", "--until-converged"}).code, 0);
    db.exec(
        "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, kind, class, priority, keys, documents)"
        " SELECT uid, 1, generation, 1, 0, 'heal', 'stale', 0, '{{1,2,3}}', 3 FROM homeostat.pipeline");
    const Answer waiting = run({"watch", "--until-converged", "--interval", "20ms", "--timeout", "50ms"});
    EXPECT_EQ(waiting.code, 1);
    EXPECT_THAT(waiting.out, HasSubstr("; waiting 3"));
    EXPECT_EQ(db.value("SELECT ready || ' ' || drift FROM homeostat.pipelines"), "True 3") << "for a moment it may";
    db.exec("UPDATE homeostat.batch SET created_at = clock_timestamp() - interval '3 seconds', last_error = 'it answers 503'");
    EXPECT_EQ(db.value("SELECT ready || ' ' || reason || ' ' || kstatus FROM homeostat.pipelines"), "False Behind InProgress");
    EXPECT_THAT(db.value("SELECT message FROM homeostat.pipelines"),
                AllOf(HasSubstr("3 documents wait, the oldest for "), HasSubstr(" s: it answers 503")));
    EXPECT_THAT(ends(0, {"get"}), HasSubstr("Behind"));
    const std::string told = ends(0, {"describe", "pipeline", "articles"});
    EXPECT_THAT(told, AllOf(HasSubstr("Waiting: 3 documents wait"), Not(HasSubstr("True    Converged"))));
    EXPECT_THAT(ends(0, {"get", "pipelines", "articles", "-o", "json"}), HasSubstr("\"waitingDocuments\": 3"));
    db.exec("UPDATE homeostat.batch SET kind = 'stray'");
    EXPECT_EQ(db.value("SELECT ready || ' ' || drift FROM homeostat.pipelines"), "True 0") << "what nobody sees waits for nobody";
}

TEST_F(CliWatch, RefusesWhatItCannotWatch) {
    declare_articles(1);
    EXPECT_THAT(refused({"watch", "article"}), HasSubstr("did you mean \"articles\"?"));
    EXPECT_THAT(refused({"watch", "--interval", "soon"}), HasSubstr("--interval soon is not a duration"));
    EXPECT_THAT(refused({"watch", "--timeout", "later"}), HasSubstr("--timeout later is not a duration"));
}

}  // namespace
}  // namespace homeostat
