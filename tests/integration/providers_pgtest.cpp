// The program ahead of endpoints as they really are: one text that they cannot take, a restart, a wrong declaration.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using kit::Flaw;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class Providers : public World {
protected:
    void fill(int n) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text NOT NULL);"
                        "INSERT INTO docs SELECT i, 'document ' || i || '.' FROM generate_series(1, {}) i",
                        n));
    }
    void declare_docs() { declare("docs", "docs", "content", "'body'"); }
    std::string letters() { return db.value("SELECT count(*) FROM homeostat.dead_letter"); }

    FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(Providers, OneTextThatIsAnsweredWithAFaultHoldsUpNoOther) {
    fill(250);
    endpoint.when_text("document 77.", {.status = 500, .body = R"({"error":"unsupported value: NaN"})"});
    declare_endpoint(endpoint);
    declare_docs();
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "249");
    EXPECT_EQ(db.value("SELECT key::text || class FROM homeostat.dead_letter"), "{77}content");
}

TEST_F(Providers, WhileEverythingIsRefusedNoEditIsCondemnedAndAllAreHealedAfterwards) {
    fill(50);
    declare_endpoint(endpoint);
    declare_docs();
    run_once(kConverged);
    kit::Process run = homeostat.start({"run"});
    db.exec("UPDATE docs SET body = body || ' edited' WHERE id = 1");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text = 'document 1. edited'", "1"));
    endpoint.always({.status = 400, .body = R"({"error":{"message":"the engine is being exchanged"}})"});
    const std::uint64_t before = endpoint.calls();
    db.exec("UPDATE docs SET body = body || ' again' WHERE id <= 20");
    ASSERT_TRUE(kit::eventually([&] { return endpoint.calls() >= before + 4; }));
    EXPECT_EQ(letters(), "0");
    endpoint.forget_script();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '% again'", "20"));
    EXPECT_EQ(letters(), "0");
    end(run);
}

TEST_F(Providers, AWrongDeclarationCostsFewRequestsARun) {
    fill(250);
    endpoint.always({.flaw = Flaw::short_vector});
    declare_endpoint(endpoint);
    declare_docs();
    const kit::Program::Outcome outcome = run_once(kFailed);
    EXPECT_THAT(outcome.output, HasSubstr("no document is at fault"));
    EXPECT_LE(endpoint.calls(), 3U);
    EXPECT_EQ(letters(), "0");
    EXPECT_EQ(db.value("SELECT tokens || ' ' || (wasted_tokens > 0) FROM homeostat.run_history"), "0 true");
}

TEST_F(Providers, ARunTellsWhatItHasCost) {
    fill(100);
    endpoint.next({}, 2);
    endpoint.next({.flaw = Flaw::nan_vector});
    declare_endpoint(endpoint);
    declare_docs();
    run_once(kConverged);
    std::int64_t used = 0;
    for (int i = 1; i <= 100; ++i) {
        used += static_cast<std::int64_t>(FakeEndpoint::tokens_of("document " + std::to_string(i) + "."));
    }
    EXPECT_EQ(number("SELECT tokens FROM homeostat.run_history"), used);
    EXPECT_EQ(number("SELECT sum(tokens) FROM homeostat.batch_history"), used);
    EXPECT_GT(number("SELECT wasted_tokens FROM homeostat.run_history"), 0);
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT tokens || ' ' || wasted_tokens FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "0 0");
}

TEST_F(Providers, WhatWasLearntWithoutWordsIsKeptForTheNextStart) {
    FakeEndpoint slow({.dimensions = 16, .delay_a_text = 20ms});
    slow.next({.status = 400, .body = R"({"error":{"message":"encoding_format 'base64' is not supported"}})"});
    fill(60);
    declare_endpoint(slow);
    db.exec("UPDATE homeostat.provider SET timeout = '400 milliseconds', max_batch = 100 WHERE name = 'fake'");
    declare_docs();
    run_once(kConverged);
    // Half the timeout's worth, of which three texts were thought at first.
    const std::int64_t pace = number("SELECT pace FROM homeostat.provider_status");
    EXPECT_GT(pace, 4);
    EXPECT_LE(pace, 16);
    EXPECT_EQ(db.value("SELECT encoding FROM homeostat.provider_status"), "float");
    const std::size_t before = slow.requests().size();
    db.exec("UPDATE docs SET body = body || ' edited'");
    run_once(kConverged);
    const auto requests = slow.requests();
    ASSERT_GT(requests.size(), before);
    EXPECT_EQ(requests[before].encoding, "float") << "it was forgotten";
    EXPECT_EQ(static_cast<std::int64_t>(requests[before].texts.size()), pace) << "it was forgotten";
    EXPECT_EQ(letters(), "0");
    db.exec("UPDATE homeostat.provider SET rank = 7 WHERE name = 'fake'; UPDATE docs SET body = body || ' again' WHERE id = 1");
    run_once(kConverged);
    EXPECT_EQ(slow.requests().back().encoding, "base64") << "another declaration may be another endpoint";
}

// With the default settings: a hundred texts would take five times as long as may be waited.
TEST_F(Providers, AnEndpointThatTakes100msATextConvergesWithinATimeoutOf2s) {
    FakeEndpoint slow({.dimensions = 16, .delay_a_text = 100ms});
    fill(400);
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, timeout) VALUES ('fake', '{}', 'm', 16,"
                    " '2 seconds')",
                    slow.url()));
    provider = "fake";
    declare_docs();
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "400");
    EXPECT_LE(slow.texts(), 420U) << "computed for nothing";
}

TEST_F(Providers, FaultsAtRandomCostFewCalls) {
    const auto calls = [&](const std::string& name, bool faults) {
        FakeEndpoint busy({.dimensions = 16, .delay = 2ms});
        for (int i = 0; faults && i < 20; ++i) {
            busy.next({}, i % 2 == 0 ? 19 : 18);
            busy.next({.status = i % 2 == 0 ? 429 : 500});
        }
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch) VALUES ('{}', '{}',"
                        " 'm', 16, 10)",
                        name, busy.url()));
        provider = name;
        declare(name, "docs", "content", "'body'");
        run_once(kConverged);
        return static_cast<double>(busy.requests().size());
    };
    fill(3'500);
    const double clean = calls("clean", false);
    EXPECT_LE(calls("faulty", true), 1.08 * clean);
    EXPECT_EQ(letters(), "0");
}

TEST_F(Providers, WhatAnEarlierVersionCondemnedIsTriedAgainOnce) {
    fill(3);
    declare_endpoint(endpoint);
    declare_docs();
    endpoint.when_text("document 2.", {.status = 400});
    homeostat.run({"run", "--once"});
    ASSERT_EQ(letters(), "1");
    endpoint.forget_script();
    homeostat.run({"migrate", "down", "--to", "22", "--yes"});
    homeostat.run({"migrate", "up"});
    EXPECT_EQ(letters(), "0");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "3");
}

}  // namespace
}  // namespace homeostat
