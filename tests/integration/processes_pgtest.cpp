// The program as a process among others: how it starts, what it says, how it is told something, and what it leaves when it ends.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "controller/pool_gauges.hpp"
#include "store/pg/pool.hpp"
#include "tests/integration/world.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using kit::FakeEndpoint;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";
constexpr const char* kClaims = "SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL";
constexpr const char* kReplicas = "SELECT count(*) FROM homeostat.replica";

class Processes : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i",
                        documents));
    }
    void declare_docs() { declare("docs", "docs", "content", "'body'"); }
    bool converged() {
        return eventually_is("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines", "Current0", 60s);
    }
    static std::vector<std::string> lines_with(const std::string& output, const std::string& part) {
        std::vector<std::string> found;
        std::istringstream in(output);
        for (std::string line; std::getline(in, line);) {
            if (line.find(part) != std::string::npos) found.push_back(line);
        }
        return found;
    }
    // But those of the machine, which were looked at when it started.
    static std::size_t warnings(const std::string& output) {
        const std::vector<std::string> all = lines_with(output, "warning");
        return static_cast<std::size_t>(std::count_if(
            all.begin(), all.end(), [](const std::string& line) { return line.find("at the start: ") == std::string::npos; }));
    }
    // A fault is told when it begins and once a minute: how many lines that may be at most, since `start`.
    static std::size_t bearable(std::chrono::steady_clock::time_point start) {
        return 1 + static_cast<std::size_t>(
                       std::chrono::duration_cast<std::chrono::minutes>(std::chrono::steady_clock::now() - start).count());
    }
    static bool says(kit::Process& run, const std::string& part) {
        return kit::eventually([&] { return run.output().find(part) != std::string::npos; });
    }
};

TEST_F(Processes, ACleanStopTakesItsRowAndNothingOfOthers) {
    make(50);
    declare_docs();
    kit::Process stays = homeostat.start({"run"}, {{"HOMEOSTAT_REPLICA_NAME", "stays"}});
    kit::Process goes = homeostat.start({"run"}, {{"HOMEOSTAT_REPLICA_NAME", "goes"}});
    ASSERT_TRUE(converged()) << stays.output();
    ASSERT_TRUE(eventually_is(kReplicas, "2"));
    end(goes);
    EXPECT_EQ(db.value("SELECT string_agg(id, ',') FROM homeostat.replica"), "stays");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.lease WHERE holder = 'goes' AND expires_at > clock_timestamp()"), "0");
    db.exec("UPDATE docs SET body = body || ' and more'");
    end_converged(stays, "docs", kWanted);
    EXPECT_EQ(db.value(kReplicas), "0");
}

TEST_F(Processes, AStopInTheMidstLeavesItsBatchesToOthersAtOnce) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(200);
    declare_endpoint(endpoint);
    declare_docs();
    endpoint.withhold();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_DRAIN_BUDGET", "0"}, {"HOMEOSTAT_CLAIM_TTL", "1h"}});
    ASSERT_TRUE(endpoint.wait_for_requests(1)) << run.output();
    ASSERT_NE(db.value(kClaims), "0");
    end(run);
    EXPECT_EQ(db.value(kReplicas), "0");
    EXPECT_EQ(db.value(kClaims), "0");
    EXPECT_EQ(db.value("SELECT coalesce(sum(deaths + marks), 0) FROM homeostat.batch"), "0");
    endpoint.release();
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(Processes, ARunThatWasKilledLeavesARowThatTellsOfIt) {
    make(5);
    declare_docs();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    run.signal(SIGKILL);
    ASSERT_TRUE(run.wait(30s));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica WHERE ended_at IS NULL"), "1");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica WHERE ended_at IS NULL"), "0");
}

// A cron job beside a controller: what that one heals is done when that one has nothing to heal.
TEST_F(Processes, ARunOnceBesideAControllerEnds) {
    make(30);
    declare_docs();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 10");
    const kit::Program::Outcome once = homeostat.run_once();
    EXPECT_EQ(once.exit.code, kConverged) << once.output;
    expect_converged("docs", kWanted);
    EXPECT_THAT(once.output, HasSubstr("another replica"));
    end(run);
}

TEST_F(Processes, HangupEndsItCleanly) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(200);
    declare_endpoint(endpoint);
    declare_docs();
    endpoint.withhold();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_CLAIM_TTL", "1h"}});
    ASSERT_TRUE(endpoint.wait_for_requests(1)) << run.output();
    run.signal(SIGHUP);
    ASSERT_TRUE(says(run, "stopping: ")) << run.output();
    run.signal(SIGHUP);
    endpoint.release();
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
    EXPECT_EQ(db.value(kClaims), "0");
    EXPECT_EQ(db.value(kReplicas), "0");
    kit::Process again = homeostat.start({"run"});
    end_converged(again, "docs", kWanted);
    EXPECT_EQ(endpoint.texts(), 200U);
}

TEST_F(Processes, WhatCannotBeTracedIsWarnedOfOnce) {
    make(5);
    declare_docs();
    const auto outcome = run_once(
        kConverged, {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"}, {"OTEL_EXPORTER_OTLP_PROTOCOL", "carrier pigeon"}});
    EXPECT_THAT(lines_with(outcome.output, "carrier pigeon"), SizeIs(1));
    EXPECT_THAT(outcome.output, HasSubstr("no traces are exported"));
    // In a build without OTLP this is as much as it takes.
    run_once(kConverged, {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"}, {"OTEL_EXPORTER_OTLP_TIMEOUT", "soon"}});
}

TEST_F(Processes, JsonLinesCarryWhatTheyAreAboutAndNoPassword) {
    make(20);
    declare_docs();
    const std::string url = db.url() + "&password=swordfish";
    const auto outcome = kit::Program(url, {{"HOMEOSTAT_LOG_FORMAT", "json"}}).run({"run", "--once", "--profile", "staging"});
    ASSERT_EQ(outcome.exit.code, kConverged) << outcome.output;
    EXPECT_THAT(outcome.output, Not(HasSubstr("swordfish")));
    std::vector<nlohmann::json> said;
    std::istringstream in(outcome.output);
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("{")) said.push_back(nlohmann::json::parse(line));
    }
    ASSERT_THAT(said, Not(IsEmpty())) << outcome.output;
    const nlohmann::json& first = said.front();
    EXPECT_EQ(first.value("database", ""), db.name()) << first;
    EXPECT_EQ(first.value("profile", ""), "staging") << first;
    for (const char* field : {"version", "host", "port", "replica"}) EXPECT_NE(first.value(field, ""), "") << field;
    const auto ended = std::find_if(said.begin(), said.end(), [](const nlohmann::json& line) {
        return line.value("message", "").find("Converged") != std::string::npos;
    });
    ASSERT_NE(ended, said.end()) << outcome.output;
    EXPECT_EQ(ended->value("pipeline", ""), "docs");
    EXPECT_EQ(ended->value("provider", ""), "hashing");
    EXPECT_EQ(ended->value("reconcile", "").size(), 16U);
}

TEST_F(Processes, AProviderThatIsDownForManyPipelinesIsOneFault) {
    constexpr int kMany = 40;
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always({.status = 500});
    declare_endpoint(endpoint);
    for (int i = 1; i <= kMany; ++i) {
        db.exec(
            fmt::format("CREATE TABLE d{0} (id int PRIMARY KEY, body text); INSERT INTO d{0} VALUES (1, 'Body'), (2, 'Two');"
                        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
                        " VALUES ('p{0}', 'd{0}', 'body', 'fake', 16, 'v{0}')",
                        i));
    }
    const auto start = std::chrono::steady_clock::now();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_RETRY_BASE", "10ms"},
                                                 {"HOMEOSTAT_RETRY_CAP", "1s"},
                                                 {"HOMEOSTAT_LOOP_BACKOFF_BASE", "100ms"},
                                                 {"HOMEOSTAT_LOOP_BACKOFF_CAP", "1s"},
                                                 {"HOMEOSTAT_BATCH_MAX_ATTEMPTS", "2"}});
    ASSERT_TRUE(endpoint.wait_for_requests(5)) << run.output();
    // Each of them has met it, some again and again.
    ASSERT_TRUE(kit::eventually(
        [&] {
            return number("SELECT count(*) FROM homeostat.condition WHERE type = 'ProviderHealthy' AND status = 'False'") ==
                   kMany;
        },
        60s))
        << run.output();
    EXPECT_LE(warnings(run.output()), bearable(start)) << run.output();
    endpoint.forget_script();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE (type, reason) = ('Ready', 'Converged')",
                              std::to_string(kMany), 120s))
        << run.output();
    EXPECT_TRUE(says(run, "over: ")) << run.output();
    end(run);
    EXPECT_LE(warnings(run.output()), bearable(start)) << run.output();
    EXPECT_LE(lines_with(run.output(), "over: ").size(), bearable(start)) << run.output();
}

struct Answer {
    const char* name;
    kit::FakeAnswer answer;
};
class Faults : public Processes, public ::testing::WithParamInterface<Answer> {};

TEST_P(Faults, OfAProviderAreALineHoweverManyBatchesMeetThem) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always(GetParam().answer);
    make(600);
    declare_endpoint(endpoint);
    declare_docs();
    const auto start = std::chrono::steady_clock::now();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"},
                                                 {"HOMEOSTAT_RETRY_BASE", "10ms"},
                                                 {"HOMEOSTAT_RETRY_CAP", "1s"},
                                                 {"HOMEOSTAT_LOOP_BACKOFF_BASE", "50ms"},
                                                 {"HOMEOSTAT_LOOP_BACKOFF_CAP", "1s"}});
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "ProviderHealthy") == "False"; }, 60s)) << run.output();
    endpoint.forget_script();
    db.exec("UPDATE homeostat.provider SET timeout = '11 seconds'");  // declared anew: tried at once
    ASSERT_TRUE(converged()) << run.output();
    end(run);
    EXPECT_LE(warnings(run.output()), bearable(start)) << run.output();
    EXPECT_THAT(run.output(), HasSubstr("over: "));
    expect_converged("docs", kWanted);
}

INSTANTIATE_TEST_SUITE_P(All, Faults,
                         ::testing::Values(Answer{"Fails", {.status = 500}}, Answer{"Refuses", {.status = 401}},
                                           Answer{"TalksGarbage", {.flaw = kit::Flaw::garbage}},
                                           Answer{"HangsUp", {.flaw = kit::Flaw::drop_before}}),
                         [](const auto& i) { return std::string(i.param.name); });

TEST_F(Processes, DocumentsThatAreRefusedAreNotALineEach) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.when_text("poison", {.status = 400});
    make(400);
    db.exec("UPDATE docs SET body = 'poison ' || id WHERE id % 20 = 0");
    declare_endpoint(endpoint);
    declare_docs();
    const auto start = std::chrono::steady_clock::now();
    const auto outcome = run_once(kDriftLeft, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "20");
    EXPECT_LE(warnings(outcome.output), bearable(start)) << outcome.output;
}

TEST_F(Processes, ADatabaseThatIsAwayIsOneFault) {
    make(50);
    declare_docs();
    kit::TcpGate gate(db.cluster().folder() + "/.s.PGSQL.5432");
    const std::string url = fmt::format("postgresql://postgres@127.0.0.1:{}/{}", gate.port(), db.name());
    const auto start = std::chrono::steady_clock::now();
    kit::Process run = kit::Program(url).start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    gate.refuse();
    gate.cut();
    ASSERT_TRUE(kit::eventually([&] { return warnings(run.output()) > 0; })) << run.output();
    const std::uint64_t before = gate.connections();
    EXPECT_TRUE(kit::eventually([&] { return gate.connections() > before + 40; }, 60s)) << run.output();
    db.exec("UPDATE docs SET body = body || ' and more'");
    gate.pass();
    end_converged(run, "docs", kWanted);
    EXPECT_LE(warnings(run.output()), bearable(start)) << run.output();
    EXPECT_LE(lines_with(run.output(), "over: ").size(), bearable(start)) << run.output();
}

TEST_F(Processes, PoolsAreWatchedAndTold) {
    Registry metrics;
    ConnectOptions options;
    options.url = db.url();
    options.application_name = "watched";
    Pool pool(options, 2);
    {
        const auto one = pool.acquire(Context{});
        const auto two = pool.acquire(Context{});
        ASSERT_TRUE(one && two);
        EXPECT_EQ(pool.figures().in_use, 2U);
    }
    EXPECT_EQ(pool.figures().idle, 2U);
    db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'watched'");
    EXPECT_TRUE(kit::eventually([&] {
        pool.tend();
        return pool.figures().broken == 2;
    }));
    EXPECT_EQ(pool.figures().idle, 0U);
    publish_pool(metrics, "read", pool.figures());
    EXPECT_EQ(metrics.gauge("homeostat_database_connections_broken", "", {{"pool", "read"}}).value(), 2);
    make(5);
    declare_docs();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(snapshot->'pools'->0->>'size'), '') FROM homeostat.replica", "3"))
        << run.output();
    EXPECT_THAT(homeostat.run({"doctor"}).output,
                AllOf(HasSubstr("pools of "), HasSubstr("write: "), HasSubstr("broken so far")));
    EXPECT_EQ(homeostat.run({"factory", "sync"}).exit.code, 0) << homeostat.run({"factory", "sync"}).output;
    end(run);
}

TEST_F(Processes, WhatDoctorWouldSayIsSaidOnceAtTheStart) {
    make(5);
    provider = "local";
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, target) VALUES ('docs', 'docs', 'body', 'local', 'v')");
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_EMBED_MODEL_DIR", "/nowhere"}});
    ASSERT_TRUE(says(run, "at the start: model: ")) << run.output();
    end(run);
    EXPECT_THAT(lines_with(run.output(), "at the start: model: "), SizeIs(1)) << run.output();
}

TEST_F(Processes, SeveralThatMayMigrateDoSoTogether) {
    make(5);
    const std::string newest = db.value("SELECT max(number) FROM homeostat.migration");
    ASSERT_EQ(homeostat.run({"migrate", "down", "--to", "0", "--yes"}).exit.code, 0);
    const auto refused = homeostat.run({"run", "--once"});
    EXPECT_EQ(refused.exit.code, kFailed);
    EXPECT_THAT(refused.output, HasSubstr("run `homeostat migrate up`"));
    kit::Process one = homeostat.start({"run", "--migrate"});
    kit::Process two = homeostat.start({"run", "--migrate"});
    kit::Process three = homeostat.start({"run", "--once", "--migrate"});
    EXPECT_EQ(three.wait(60s).value_or(kit::Exit{}).code, 0) << three.output();
    EXPECT_TRUE(says(one, "serving") && says(two, "serving"));
    EXPECT_EQ(db.value("SELECT max(number) FROM homeostat.migration"), newest);
    declare_docs();
    EXPECT_TRUE(converged()) << one.output() << two.output();
    end(one);
    end(two);
}

TEST_F(Processes, WhoMayNotMigrateSaysWhatToRun) {
    ASSERT_EQ(homeostat.run({"migrate", "down", "--to", "0", "--yes"}).exit.code, 0);
    const std::string role = "r_" + db.name();
    db.exec("CREATE ROLE " + role + " LOGIN");
    const auto refused = kit::Program(db.url(role)).run({"run", "--once", "--migrate"});
    EXPECT_EQ(refused.exit.code, kFailed);
    EXPECT_THAT(refused.output, AllOf(HasSubstr("run `homeostat migrate up`"), HasSubstr("as the owner of the database")));
    db.exec("DROP ROLE " + role);
}

// The server tells such a session nothing of itself, not even when it began.
TEST_F(Processes, ActsAsTheRoleThatItsUrlNames) {
    ASSERT_EQ(homeostat.run({"migrate", "roles"}).exit.code, 0);
    make(20);
    declare_docs();
    const std::string login = "deploy_" + db.name();
    db.exec("CREATE ROLE " + login +
            " LOGIN NOINHERIT IN ROLE homeostat_controller; GRANT SELECT, TRIGGER ON docs TO homeostat_controller;"
            " GRANT USAGE, CREATE ON SCHEMA public TO homeostat_controller");
    const kit::Program deployed(db.url(login) + "&options=-c%20role%3Dhomeostat_controller");
    kit::Process run = deployed.start({"run"});
    EXPECT_TRUE(converged()) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica WHERE backend_pid IS NOT NULL"), "1");
    db.exec("UPDATE docs SET body = body || ' and more'");
    end_converged(run, "docs", kWanted);
    db.exec("DROP OWNED BY " + login + "; DROP ROLE " + login);
}

}  // namespace
}  // namespace homeostat
