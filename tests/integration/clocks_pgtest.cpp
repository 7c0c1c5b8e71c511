// A process whose clock is wrong: what it leaves behind is by the database's clock, and what a wrong clock left is due.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "controller/controller.hpp"
#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class ClockAhead final : public Clock {
public:
    explicit ClockAhead(std::chrono::hours by) : by_(by) {}
    WallTime now() const override { return system_.now() + by_; }
    SteadyTime steady_now() const override { return system_.steady_now(); }
    bool wait_until(SteadyTime deadline, std::stop_token stop) override { return system_.wait_until(deadline, std::move(stop)); }

private:
    std::chrono::hours by_;
    SystemClock system_;
};

class ClocksCase : public ::testing::Test {
protected:
    ClocksCase() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 50) i;"
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, max_prune_ratio)"
            " VALUES ('docs', 'docs', 'body', 'hashing', 16, 'docs_embeddings', 1)");
    }
    void run_with_clock(std::chrono::hours ahead) {
        ConfigSources sources;
        sources.environment = {{"HOMEOSTAT_DATABASE_URL", db.url()},
                               {"HOMEOSTAT_LOOP_POLL", "50ms"},
                               {"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", "true"}};
        const Result<Config> config = load_config(sources);
        ASSERT_TRUE(config) << config.error().message;
        const ClockAhead clock(ahead);
        Registry metrics;
        Controller controller(config->settings, {.once = true}, clock, metrics, nullptr);
        ASSERT_TRUE(controller.start());
        ASSERT_TRUE(controller.wait({}));
        controller.stop();
    }

    kit::Database db;
};

class Clocks : public ClocksCase, public ::testing::WithParamInterface<int> {};

TEST_P(Clocks, OfAReplicaLeaveNoWrongTimes) {
    run_with_clock(std::chrono::hours(GetParam()));
    db.exec("DELETE FROM docs WHERE id > 45");
    run_with_clock(std::chrono::hours(GetParam()));
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "45");
    const std::string about = "BETWEEN clock_timestamp() - interval '5 minutes' AND clock_timestamp()";
    for (const char* column : {"last_sweep_at", "last_deep_sweep_at", "last_converged_at", "prune_window_start", "updated_at"}) {
        EXPECT_EQ(db.value(std::string("SELECT ") + column + " " + about + " FROM homeostat.pipeline_status"), "t") << column;
    }
    EXPECT_EQ(db.value("SELECT next_attempt_at - last_sweep_at = drift_interval FROM homeostat.pipeline_status"
                       " JOIN homeostat.pipeline USING (uid)"),
              "t");
}

INSTANTIATE_TEST_SUITE_P(AheadAndBehind, Clocks, ::testing::Values(1, -1, 24 * 400));

TEST_F(ClocksCase, ThatRanAheadDoNotKeepOthersFromSweeping) {
    run_with_clock(0h);
    const kit::Program program(db.url());
    for (const char* wrong : {"last_sweep_at = clock_timestamp() + interval '1 hour', next_attempt_at = clock_timestamp() + "
                              "interval '65 minutes', last_deep_sweep_at = clock_timestamp() + interval '1 hour'",
                              "next_attempt_at = clock_timestamp() + interval '2 hours', failures = 1, last_error = 'x'"}) {
        const std::string runs = db.value("SELECT count(*) FROM homeostat.run_history");
        db.exec(std::string("UPDATE homeostat.pipeline_status SET ") + wrong);
        kit::Process run = program.start({"run"});
        EXPECT_TRUE(kit::eventually([&] { return db.value("SELECT count(*) FROM homeostat.run_history") != runs; }))
            << run.output();
        EXPECT_TRUE(kit::eventually([&] {
            return db.value(
                       "SELECT last_sweep_at <= clock_timestamp() AND next_attempt_at <= clock_timestamp() + interval '6 minutes'"
                       " FROM homeostat.pipeline_status") == "t";
        }));
        run.signal(SIGTERM);
        EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
    }
}

}  // namespace
}  // namespace homeostat
