// The factory as a whole, by the real program: providers that fail, limits nobody declared, pools, memory, and the verbs that
// look.
#include <sys/types.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class FactoryWhole : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of <' || i || '>' FROM generate_series(1, {}) i",
                        documents));
    }
    void provide(const FakeEndpoint& endpoint, const std::string& name, const std::string& columns = "labels",
                 const std::string& values = "'{}'") {
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, timeout, {}) VALUES ('{}', '{}', 'm',"
                        " 16, '1 second', {})",
                        columns, name, endpoint.url(), values));
        provider = name;
    }
    nlohmann::json ask(const kit::Arguments& arguments, int code = 0) {
        const auto outcome = homeostat.run(arguments);
        EXPECT_EQ(outcome.exit.code, code) << outcome.output;
        return nlohmann::json::parse(outcome.output, nullptr, false);
    }
    static std::int64_t peak_kib(int pid) {
        std::ifstream in(fmt::format("/proc/{}/status", pid));
        for (std::string line; std::getline(in, line);) {
            if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6));
        }
        return 0;
    }
};

TEST_F(FactoryWhole, OnePoisonousDocumentOfTenThousandIsSingledOutAndExplained) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.when_text("<4711>", {.status = 400, .body = R"({"error":{"message":"this text is not allowed"}})"});
    make(10'000);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    run_once(kDriftLeft);
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 9'999);
    const auto least = static_cast<double>(number("SELECT count(*) FROM homeostat.batch_history WHERE embedded > 0"));
    EXPECT_LE(static_cast<double>(endpoint.calls()), least + 2 * std::log2(100));
    const auto explained = homeostat.run({"explain", "docs", "4711"});
    EXPECT_EQ(explained.exit.code, 1);
    EXPECT_THAT(explained.output, HasSubstr("this text is not allowed"));
    db.exec("UPDATE docs SET body = 'Harmless' WHERE id = 4711");
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(FactoryWhole, BatchesOfASmallRunGoOneAfterTheOther) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(64);
    declare_endpoint(endpoint);
    db.exec(
        "CREATE TABLE at_once (n int);"
        "CREATE FUNCTION count_claimed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.at_once SELECT count(*)"
        " FROM homeostat.batch WHERE claim_token IS NOT NULL; RETURN NULL; END $$;"
        "CREATE TRIGGER count_claimed AFTER INSERT OR UPDATE ON homeostat.batch EXECUTE FUNCTION count_claimed()");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged, {{"HOMEOSTAT_BATCH_PARALLEL_FROM", "65"}});
    expect_converged("docs", kWanted);
    EXPECT_EQ(number("SELECT max(n) FROM at_once"), 1);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.batch_history WHERE embedded > 0"), 4);
    db.exec("UPDATE docs SET body = body || ' edited'");
    run_once(kConverged, {{"HOMEOSTAT_BATCH_PARALLEL_FROM", "64"}});
    EXPECT_GT(number("SELECT max(n) FROM at_once"), 1);
}

TEST_F(FactoryWhole, ThrottlingCostsNoDocumentAnAttempt) {
    FakeEndpoint endpoint({.dimensions = 16});
    for (int i = 0; i < 3; ++i) {
        endpoint.next({}, 19);
        endpoint.next({.status = 429, .headers = {{"Retry-After", "1"}}});
    }
    make(6'000);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    expect_converged("docs", kWanted);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history WHERE outcome <> 'done'"), "0");
    EXPECT_EQ(endpoint.texts(), 6'000U + 8U) << "and a few to see whether the model is the same";
}

TEST_F(FactoryWhole, FaultsOfEveryKindInOneOfTwentyRequestsConvergeAtLittleCost) {
    FakeEndpoint endpoint({.dimensions = 16});
    const std::vector<FakeAnswer> faults{{.status = 429, .headers = {{"Retry-After", "1"}}},
                                         {.status = 500},
                                         {.delay = 3s},
                                         {.flaw = Flaw::truncated},
                                         {.flaw = Flaw::short_vector},
                                         {.flaw = Flaw::reordered},
                                         {.flaw = Flaw::nan_vector},
                                         {.flaw = Flaw::html},
                                         {.flaw = Flaw::drop_after}};
    for (const FakeAnswer& fault : faults) {
        endpoint.next({}, 19);
        endpoint.next(fault);
    }
    make(20'000);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    expect_converged("docs", kWanted);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    const auto least = static_cast<double>(number("SELECT count(*) FROM homeostat.batch_history WHERE embedded > 0"));
    EXPECT_LE(static_cast<double>(endpoint.requests().size()), 1.25 * least);
}

TEST_F(FactoryWhole, ALimitNobodyDeclaredIsKeptForTheNextStart) {
    FakeEndpoint endpoint({.dimensions = 16, .max_texts = 32, .says_limits = false});
    make(2'000);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    const std::uint64_t refused =
        endpoint.requests().size() - static_cast<std::uint64_t>(std::ranges::count_if(
                                         endpoint.requests(), [](const auto& r) { return r.texts.size() <= 32; }));
    EXPECT_LE(refused, 3U);
    EXPECT_LE(number("SELECT max_texts FROM homeostat.provider_status"), 32);
    db.exec("INSERT INTO docs SELECT i, 'More ' || i FROM generate_series(5001, 5400) i");
    const std::size_t before = endpoint.requests().size();
    run_once(kConverged);
    const auto requests = endpoint.requests();
    for (std::size_t i = before; i < requests.size(); ++i) EXPECT_LE(requests[i].texts.size(), 32U) << "it was forgotten";
    expect_converged("docs", kWanted);
}

TEST_F(FactoryWhole, ADeadProviderIsReplacedByAnotherOfItsPool) {
    FakeEndpoint well({.dimensions = 16});
    FakeEndpoint dead({.dimensions = 16});
    dead.always({.status = 503});
    make(1'000);
    provide(well, "spare", "pool, rank", "'p', 2");
    provide(dead, "first", "pool, rank", "'p', 1");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    // All is embedded, and that the declared provider is down is told all the same.
    EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted),
                ::testing::AnyOf(::testing::IsEmpty(), ::testing::ElementsAre(::testing::HasSubstr("ProviderHealthy, False"))));
    EXPECT_EQ(well.texts(), 1'001U) << "the documents and the canary";
    EXPECT_EQ(dead.texts(), 0U);
    EXPECT_EQ(db.value("SELECT provider FROM homeostat.canary"), "spare");
}

TEST_F(FactoryWhole, ALyingProviderOfThePoolIsNeverMixedIn) {
    FakeEndpoint honest({.dimensions = 16});
    FakeEndpoint liar({.dimensions = 16, .salt = "another model "});
    make(500);
    provide(honest, "honest", "pool, rank", "'p', 1");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    provide(liar, "liar", "pool, rank", "'p', 0");
    db.exec("UPDATE docs SET body = body || ' edited'");
    run_once(kConverged);
    expect_converged("docs", kWanted);
    EXPECT_EQ(liar.texts(), 1U) << "only the canary";
    EXPECT_THAT(db.value("SELECT message FROM homeostat.provider_status WHERE NOT healthy"), HasSubstr("canary"));
}

TEST_F(FactoryWhole, AProviderThatComesBackIsWaitedForByARunThatSomebodyWaitsFor) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always({.status = 503});
    make(2'000);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    kit::Process run = homeostat.start({"run", "--once"});
    // Two probes have failed by then.
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.provider_status WHERE opened >= 2", "1")) << run.output();
    endpoint.forget_script();
    const auto exit = run.wait(60s);
    ASSERT_TRUE(exit.has_value()) << run.output();
    EXPECT_EQ(exit->code, kConverged) << run.output();
    expect_converged("docs", kWanted);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

TEST_F(FactoryWhole, AProviderThatIsInQuarantineEndsARunThatSomebodyWaitsFor) {
    make(500);
    db.exec(
        "INSERT INTO homeostat.provider (name, kind, command, model, dimensions, timeout)"
        " VALUES ('mine', 'exec', '{/bin/false}', 'm', 16, '5 seconds')");
    provider = "mine";
    declare("docs", "docs", "content", "'body'");
    run_once(kFailed,
             {{"HOMEOSTAT_EXEC_ALLOW", "/bin/false"}});  // which is ended after two minutes, sooner than the quarantine is
    EXPECT_THAT(condition("docs", "Ready", "message"), HasSubstr("quarantined for 5 min"));
    const std::string described = homeostat.run({"describe", "provider", "mine"}).output;
    EXPECT_THAT(described, HasSubstr("Quarantined: for another 5 min: "));
    EXPECT_THAT(described, HasSubstr("ended with code 1"));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

TEST_F(FactoryWhole, DocumentsOfAMegabyteStayWithinTheMemory) {
    FakeEndpoint endpoint({.dimensions = 16, .keep_requests = 0});
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT d, (SELECT string_agg(md5(d::text || i), ' ') FROM generate_series(1, 32000) i)"
        " FROM generate_series(1, 60) d");
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_MEMORY_BUDGET", "96MiB"}, {"HOMEOSTAT_CACHE_BYTES", "4MiB"}});
    std::int64_t peak = 0;
    EXPECT_TRUE(kit::eventually(
        [&] {
            peak = std::max(peak, peak_kib(run.pid()));
            return db.value("SELECT coalesce(max(kstatus), '') FROM homeostat.pipelines") == "Current";
        },
        120s))
        << run.output();
    EXPECT_LT(peak, 256 << 10) << "KiB";
    EXPECT_GT(peak, 0);
    std::printf("peak %lld MiB\n", static_cast<long long>(peak >> 10));
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
    expect_converged("docs", kWanted);
    // What does not fit into a batch is cut into batches that do; it is not looked at again and again.
    EXPECT_LE(number("SELECT sum(documents) FROM homeostat.batch_history"), 2 * 60);
}

TEST_F(FactoryWhole, ASourceThatIsAlteredUnderWayStopsNothing) {
    FakeEndpoint endpoint({.dimensions = 16, .delay = 20ms});
    make(800);
    db.exec("ALTER TABLE docs ADD COLUMN tag text DEFAULT 'x'");
    provide(endpoint, "fake", "max_batch, max_in_flight", "16, 2");
    declare("docs", "docs", "content, metadata", "'body', 'tag'");
    kit::Process run = homeostat.start({"run", "--once"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_TRUE(endpoint.wait_for_requests(20)) << run.output();
    db.exec("ALTER TABLE docs ALTER COLUMN id TYPE bigint, ADD COLUMN more int, ALTER COLUMN tag TYPE varchar(10)");
    const auto exit = run.wait(60s);
    ASSERT_TRUE(exit.has_value()) << run.output();
    EXPECT_LT(exit->code, kFailed) << run.output();
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(FactoryWhole, TheVerbsTellWhatReplicasAreAndDo) {
    FakeEndpoint endpoint({.dimensions = 16, .max_texts = 10});
    make(300);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    EXPECT_EQ(ask({"factory", "sync", "-o", "json"}, 1)[0]["found"], "none is running");
    const auto plan = ask({"factory", "plan", "docs", "--deadline", "1ms", "-o", "json"}, 1);
    EXPECT_EQ(plan[0]["documents"], 300);
    EXPECT_THAT(plan[0]["warnings"].dump(), HasSubstr("deadline"));
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(kstatus), '') FROM homeostat.pipelines", "Current")) << run.output();
    ASSERT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.replica WHERE snapshot->'providers'->0->>'provider' = 'fake'", "1"));
    const auto capabilities = ask({"factory", "capabilities", "-o", "json"});
    EXPECT_EQ(capabilities[0]["providers"][0]["maxTexts"], 10);
    EXPECT_EQ(capabilities[0]["capabilities"]["memory"]["level"], "normal");
    const auto snapshot = ask({"factory", "snapshot"});
    EXPECT_EQ(snapshot[0]["snapshot"]["calls"].back()["outcome"], "ok");
    EXPECT_THAT(ask({"factory", "sync", "-o", "json"}, 1).dump(), HasSubstr("takes 10"));
    EXPECT_THAT(ask({"factory", "advice", "-o", "json"}).dump(), HasSubstr("declare max_batch 10"));
    EXPECT_THAT(homeostat.run({"config", "strategies"}).output, HasSubstr("wait_for_gate"));
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
}

TEST_F(FactoryWhole, WhatAPersonHasToMendIsAConditionAndAnEvent) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(50);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    const std::string reported = "SELECT count(*) FROM homeostat.replica WHERE snapshot->'providers'->0->>'provider' = 'fake'";
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_CLAIM_HEARTBEAT", "1s"}});
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(kstatus), '') FROM homeostat.pipelines", "Current")) << run.output();
    ASSERT_TRUE(eventually_is(reported, "1"));
    EXPECT_THAT(ask({"factory", "sync", "-o", "json"}), IsEmpty()) << "the defaults agree";
    EXPECT_EQ(condition("docs", "FactoryConflict"), "") << "nothing is written while all agree";
    end(run);
    kit::Process narrow = homeostat.start({"run"}, {{"HOMEOSTAT_CLAIM_HEARTBEAT", "1s"},
                                                    {"HOMEOSTAT_DATABASE_WRITE_CONNECTIONS", "1"},
                                                    {"HOMEOSTAT_BATCH_IN_FLIGHT", "16"}});
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "FactoryConflict") == "True"; })) << narrow.output();
    EXPECT_EQ(condition("docs", "FactoryConflict", "reason"), "FewConnections");
    EXPECT_THAT(condition("docs", "FactoryConflict", "message"), HasSubstr("raise database.write_connections"));
    EXPECT_EQ(db.value("SELECT string_agg(type, ',') FROM homeostat.event WHERE reason = 'FewConnections'"), "Warning");
    EXPECT_EQ(condition("docs", "Ready"), "True") << "it is told, and stops nothing";
    end(narrow);
    kit::Process again = homeostat.start({"run"}, {{"HOMEOSTAT_CLAIM_HEARTBEAT", "1s"}});
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "FactoryConflict") == "False"; })) << again.output();
    EXPECT_EQ(db.value("SELECT string_agg(type, ',') FROM homeostat.event WHERE reason = 'Agrees'"), "Normal");
    end_converged(again, "docs", kWanted);
}

TEST_F(FactoryWhole, AReplicaThatLacksTheSecretLeavesItsBatchesToOneThatHasIt) {
    FakeEndpoint endpoint({.dimensions = 16, .delay = 20ms});
    make(1'500);
    provide(endpoint, "fake", "credential, max_batch", "'env:DOCS_KEY', 16");
    const auto start = [&](const std::string& name, kit::Environment more) {
        more.emplace("HOMEOSTAT_REPLICA_NAME", name);
        more.emplace("HOMEOSTAT_CLAIM_HEARTBEAT", "1s");
        more.emplace("HOMEOSTAT_SECRETS", "docs env:DOCS_KEY http://127.0.0.1:" + std::to_string(endpoint.port()));
        return homeostat.start({"run"}, more);
    };
    kit::Process lacks = start("lacks", {});
    kit::Process has = start("has", {{"DOCS_KEY", "secret"}});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.replica", "2")) << lacks.output() << has.output();
    declare("docs", "docs", "content", "'body'");
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(kstatus), '') FROM homeostat.pipelines", "Current", 90s))
        << lacks.output() << has.output();
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 1'500);
    EXPECT_EQ(db.value("SELECT string_agg(DISTINCT outcome, ',') FROM homeostat.batch_history"), "done");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history WHERE claimed_by = 'lacks' AND embedded > 0"), "0");
    EXPECT_THAT(lacks.output(), ::testing::Not(HasSubstr("retried"))) << "no attempt is charged";
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.event WHERE reason = 'ProviderRefused'"), "0");
    EXPECT_EQ(condition("docs", "ProviderHealthy"), "True");
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "FactoryConflict", "reason") == "LeftToOthers"; }))
        << lacks.output();
    EXPECT_THAT(condition("docs", "FactoryConflict", "message"), HasSubstr("env:DOCS_KEY"));
    EXPECT_THAT(ask({"factory", "sync", "-o", "json"}, 1).dump(), HasSubstr("left to other replicas"));

    // Nobody has it; and who had it was the last to hear the provider.
    db.exec("UPDATE docs SET body = body || ' again' WHERE id = 1500");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '%again'", "1")) << has.output();
    end(has);
    db.exec("UPDATE docs SET body = body || ' edited' WHERE id <= 100");
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "ProviderHealthy") == "False"; }, 60s)) << lacks.output();
    EXPECT_THAT(condition("docs", "ProviderHealthy", "message"), HasSubstr("env:DOCS_KEY"));
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "Ready") == "False"; })) << lacks.output();
    kit::Process again = start("again", {{"DOCS_KEY", "secret"}});
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "ProviderHealthy") == "True"; }, 60s))
        << lacks.output() << again.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '%edited'", "100", 60s))
        << lacks.output() << again.output();
    end(lacks);
    end_converged(again, "docs", kWanted);
}

TEST_F(FactoryWhole, AStrategyMayBeLeftToAPerson) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.when_text("<7>", {.status = 400});
    make(50);
    provide(endpoint, "fake");
    declare("docs", "docs", "content", "'body'");
    run_once(kFailed, {{"HOMEOSTAT_STRATEGY_CONTENT", "manual_intervention"}});
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    EXPECT_EQ(condition("docs", "Ready"), "False");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "1");
}

}  // namespace
}  // namespace homeostat
