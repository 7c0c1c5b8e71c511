// Nothing is paid for twice: the cache of vectors that replicas share through the database, by the real program.
#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class SharedCaching : public World {
protected:
    void SetUp() override {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 40) i");
    }
    kit::Program::Outcome run_shared(int expected, kit::Environment more = {}) {
        more.try_emplace("HOMEOSTAT_CACHE_SHARED_BYTES", "64MiB");
        return run_once(expected, more);
    }
    std::int64_t kept() { return number("SELECT count(*) FROM homeostat.kept_vector"); }

    FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(SharedCaching, ASecondPipelineInAnotherProcessPaysNothing) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    ASSERT_EQ(endpoint.texts(), 40U);
    EXPECT_EQ(kept(), 40);
    declare("again", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_EQ(endpoint.texts(), 40U);
    expect_converged("docs", kWanted);
    expect_converged("again", kWanted);
    // The record says what was paid, and what would have been.
    EXPECT_EQ(number("SELECT sum(saved_tokens) FROM homeostat.run_history WHERE pipeline = 'docs'"), 0);
    EXPECT_EQ(number("SELECT sum(tokens) FROM homeostat.run_history WHERE pipeline = 'again'"), 0);
    EXPECT_GT(number("SELECT sum(saved_tokens) FROM homeostat.run_history WHERE pipeline = 'again'"), 0);
    EXPECT_THAT(homeostat.run({"describe", "again"}).output, HasSubstr("Together 0 tokens paid; "));
    EXPECT_THAT(homeostat.run({"describe", "again"}).output, HasSubstr(" saved by caches (100 %)"));
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 2000000");
    const std::string paid = db.value("SELECT sum(tokens) FROM homeostat.run_history WHERE pipeline = 'docs'");
    EXPECT_THAT(homeostat.run({"describe", "docs"}).output,
                HasSubstr(fmt::format("Together {} tokens paid ({} at the provider's price)", paid, 2 * std::stoll(paid))));
}

TEST_F(SharedCaching, WithoutTheSettingNothingIsKept) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    EXPECT_EQ(kept(), 0);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.vector_scope"), 0);
}

TEST_F(SharedCaching, AllThatWasAnsweredBeforeAKillIsFoundAgain) {
    db.exec("DELETE FROM docs WHERE id > 16");
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    kit::Process doomed =
        homeostat.start({"run"}, {{"HOMEOSTAT_FAULT_POINT", "embed.after"}, {"HOMEOSTAT_CACHE_SHARED_BYTES", "64MiB"}});
    EXPECT_EQ(doomed.wait(30s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
    ASSERT_EQ(endpoint.texts(), 16U);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.batch_history"), 0);
    run_shared(kConverged);
    EXPECT_EQ(endpoint.texts(), 16U);
    expect_converged("docs", kWanted);
}

TEST_F(SharedCaching, AnotherModelWidthOrDeclarationIsAnother) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    ASSERT_EQ(endpoint.texts(), 40U);
    db.exec("UPDATE homeostat.provider SET request = '{\"task\": \"other\"}' WHERE name = 'fake'");
    declare("edited", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_GE(endpoint.texts(), 80U);
    const std::uint64_t before = endpoint.texts();
    db.exec(fmt::format(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch) VALUES ('twin', '{}', 'm', 16, 16)",
        endpoint.url()));
    provider = "twin";
    declare("other", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_EQ(endpoint.texts(), before + 40U);
    expect_converged("other", kWanted);
}

TEST_F(SharedCaching, ATableThatIsLockedOrGoneIsDoneWithout) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    {
        kit::Sql locker(db.url());
        locker.exec("BEGIN; LOCK TABLE homeostat.kept_vector IN ACCESS EXCLUSIVE MODE");
        const auto outcome = run_shared(kConverged);
        EXPECT_NE(outcome.output.find("shared cache of vectors"), std::string::npos) << outcome.output;
        locker.exec("ROLLBACK");
    }
    EXPECT_EQ(endpoint.texts(), 40U);
    expect_converged("docs", kWanted);
    db.exec("DROP TABLE homeostat.kept_vector");
    declare("again", "docs", "content", "'body'");
    const auto outcome = run_shared(kConverged);
    EXPECT_NE(outcome.output.find("kept_vector"), std::string::npos) << outcome.output;
    EXPECT_EQ(endpoint.texts(), 80U);
    expect_converged("again", kWanted);
}

// Whatever has happened to a row: a text is not served with it.
TEST_F(SharedCaching, ARowThatDoesNotFitItsSealIsNotServed) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    db.exec(
        "UPDATE homeostat.kept_vector SET embedding = set_byte(embedding, 5, 255 - get_byte(embedding, 5))"
        " WHERE text_hash IN (SELECT text_hash FROM homeostat.kept_vector ORDER BY 1 LIMIT 10);"
        // Two that were exchanged for one another, sound as each is.
        "WITH pair AS (SELECT text_hash, embedding, seal, row_number() OVER (ORDER BY text_hash DESC) AS n FROM "
        "homeostat.kept_vector"
        " ORDER BY text_hash DESC LIMIT 2) UPDATE homeostat.kept_vector k SET embedding = o.embedding, seal = o.seal FROM pair "
        "p, pair o"
        " WHERE k.text_hash = p.text_hash AND o.n = 3 - p.n");
    declare("again", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_EQ(endpoint.texts(), 52U);
    expect_converged("again", kWanted);
    // And what was paid for instead is kept.
    declare("third", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_EQ(endpoint.texts(), 52U);
    expect_converged("third", kWanted);
}

TEST_F(SharedCaching, NoMoreIsKeptThanTheSettingAllows) {
    db.exec("TRUNCATE docs; INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 3000) i");
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged, {{"HOMEOSTAT_CACHE_SHARED_BYTES", "64KiB"}});
    const std::int64_t bytes = number("SELECT sum(bytes) FROM homeostat.kept_vector");
    EXPECT_LE(bytes, 96 * 1024);
    EXPECT_GT(bytes, 32 * 1024);
    EXPECT_GT(kept(), 50);
    expect_converged("docs", kWanted);
}

TEST_F(SharedCaching, WhatNobodyHasUsedForLongGoes) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    db.exec("UPDATE homeostat.kept_vector SET used_at = used_at - interval '31 days' ");
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id = 1");
    run_shared(kConverged, {{"HOMEOSTAT_CACHE_SHARED_BYTES", "4KiB"}});
    EXPECT_LE(kept(), 2);
    expect_converged("docs", kWanted);
}

TEST_F(SharedCaching, ADocumentIsForgottenAlsoAfterItIsGone) {
    declare_endpoint(endpoint);
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_EQ(db.value("SELECT homeostat.forget_vectors('docs', '7')"), "1");
    EXPECT_EQ(db.value("SELECT homeostat.forget_vectors('docs', '7')"), "0");
    db.exec("DELETE FROM docs WHERE id = 8");
    run_shared(kConverged);
    EXPECT_EQ(db.value("SELECT homeostat.forget_vectors('docs', '8')"), "1");
    EXPECT_EQ(kept(), 38);
    EXPECT_THROW(db.exec("SELECT homeostat.forget_vectors('doks', '8')"), std::runtime_error);
    EXPECT_THROW(db.exec("SELECT homeostat.forget_vectors('docs', '8', '9')"), std::runtime_error);
    EXPECT_EQ(db.value("SELECT homeostat.forget_vectors('docs')"), "38");
    EXPECT_EQ(kept(), 0);
}

// Of a pool one turns out to be another model: what it may have given is not given again.
TEST_F(SharedCaching, AProviderThatDisagreesWithItsPoolIsForgotten) {
    auto drifted = std::make_unique<FakeEndpoint>(kit::FakeEndpointOptions{.dimensions = 16});
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, pool, rank) VALUES"
                    " ('a', '{}', 'm', 16, 16, 'p', 1), ('b', '{}', 'm', 16, 16, 'p', 2)",
                    drifted->url(), endpoint.url()));
    provider = "b";
    declare("docs", "docs", "content", "'body'");
    run_shared(kConverged);
    ASSERT_EQ(kept(), 40);
    const std::uint16_t port = drifted->port();
    drifted.reset();
    FakeEndpoint other({.port = port, .dimensions = 16, .salt = "another model"});
    // A text that is not kept has the canary asked for; then nothing of before is believed.
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id = 1");
    run_shared(kConverged);
    const std::uint64_t paid = endpoint.texts();
    declare("again", "docs", "content", "'body'");
    run_shared(kConverged);
    EXPECT_GE(endpoint.texts(), paid + 39U);
    expect_converged("docs", kWanted);
    expect_converged("again", kWanted);
}

class SharedTrust : public TrustWorld {};

// That a text is kept tells that somebody has it.
TEST_F(SharedTrust, NobodyIsGivenWhatAnothersTextBecameNorMayLook) {
    FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    const kit::Environment shared{{"HOMEOSTAT_CACHE_SHARED_BYTES", "64MiB"}};
    as(ann_).exec(declaration("ann", "ann.docs", "ann.vectors"));
    EXPECT_EQ(as_controller_.run_once(shared).exit.code, kConverged);
    ASSERT_EQ(endpoint.texts(), 5U);
    ASSERT_EQ(number("SELECT count(*) FROM homeostat.kept_vector"), 5);
    as(bob_).exec(declaration("bob", "bob.docs", "bob.vectors"));
    EXPECT_EQ(as_controller_.run_once(shared).exit.code, kConverged);
    EXPECT_EQ(endpoint.texts(), 10U);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.kept_vector"), 10);
    as(ann_).exec(declaration("ann_again", "ann.docs", "ann.vectors_again"));
    EXPECT_EQ(as_controller_.run_once(shared).exit.code, kConverged);
    EXPECT_EQ(endpoint.texts(), 10U);
    EXPECT_NE(refused(ann_, "SELECT count(*) FROM homeostat.kept_vector").find("permission denied"), std::string::npos);
    EXPECT_NE(refused(ann_, "SELECT count(*) FROM homeostat.vector_scope").find("permission denied"), std::string::npos);
    EXPECT_NE(refused(ann_, "SELECT homeostat.forget_vectors('bob')").find("permission denied"), std::string::npos);
    EXPECT_EQ(as(controller_).value("SELECT homeostat.forget_vectors('bob', '1')"), "1");
}

}  // namespace
}  // namespace homeostat
