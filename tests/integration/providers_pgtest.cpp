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
