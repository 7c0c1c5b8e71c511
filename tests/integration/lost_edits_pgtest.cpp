// No edit is lost: whatever is done to a row while its text is on the way, with the real program and a provider that answers when
// it is told to. What is asserted is what search would find.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";
constexpr const char* kNothingWaits =
    "SELECT (SELECT count(*) FROM homeostat_data.p1_change) + (SELECT count(*) FROM homeostat.batch WHERE kind <> 'stray')";

class LostEdits : public FeedWhole {
protected:
    void begin(int documents, const std::string& columns = "", const std::string& values = "") {
        make(documents);
        declare_endpoint(endpoint);
        declare_docs(columns, values);
    }
    // From here on answers are withheld; returns once the provider has been asked again.
    void edit_in_flight(const std::string& sql) {
        const std::uint64_t before = endpoint.requests().size();
        endpoint.withhold();
        db.exec(sql);
        ASSERT_TRUE(kit::eventually([&] { return endpoint.requests().size() > before; }));
    }
    // At rest, without a sweep: what search finds is the source, and the status says so.
    void expect_true_without_a_sweep(kit::Process& run, std::int64_t sweeps_before) {
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_TRUE(eventually_is(kNothingWaits, "0")) << run.output();
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_EQ(sweeps(), sweeps_before);
        EXPECT_TRUE(
            eventually_is("SELECT source_documents = documents AND documents = (SELECT count(*) FROM docs)"
                          " FROM homeostat.pipeline_status",
                          "t"))
            << db.value("SELECT source_documents || ' ' || documents FROM homeostat.pipeline_status");
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16}};
};

struct Meanwhile {
    const char* name;
    const char* first;  // what is on the way
    const char* then;  // what is done to it meanwhile
};

class WhatIsDoneMeanwhile : public LostEdits, public ::testing::WithParamInterface<Meanwhile> {};

TEST_P(WhatIsDoneMeanwhile, IsNotLost) {
    begin(20);
    kit::Process run = start();
    const std::int64_t before = sweeps();
    edit_in_flight(GetParam().first);
    db.exec(GetParam().then);
    endpoint.release();
    expect_true_without_a_sweep(run, before);
    end_converged(run, "docs", kWanted);
}

constexpr const char* kEdit = "UPDATE docs SET body = 'Edited' WHERE id = 2";
constexpr const char* kNew = "INSERT INTO docs VALUES (100, 'New', 'x')";

INSTANTIATE_TEST_SUITE_P(
    LostEdits, WhatIsDoneMeanwhile,
    ::testing::Values(
        Meanwhile{"TouchedColumn", kEdit, "UPDATE docs SET seen = seen + 1 WHERE id = 2"},
        Meanwhile{"UpdateOfNothing", kEdit, "UPDATE docs SET body = body WHERE id = 2"},
        Meanwhile{"TouchedOften", kEdit,
                  "DO $$ BEGIN FOR i IN 1..20 LOOP UPDATE docs SET seen = i WHERE id = 2; COMMIT; END LOOP; END $$"},
        Meanwhile{"RowLocked", kEdit, "SELECT FROM docs WHERE id = 2 FOR UPDATE"},
        Meanwhile{"EditedAgain", kEdit, "UPDATE docs SET body = 'Edited again' WHERE id = 2"},
        Meanwhile{"EditedBack", kEdit, "UPDATE docs SET body = 'Body of 2' WHERE id = 2"},
        Meanwhile{"Undone", kEdit, "BEGIN; UPDATE docs SET body = 'Never' WHERE id = 2; ROLLBACK"},
        Meanwhile{"Deleted", kEdit, "DELETE FROM docs WHERE id = 2"},
        Meanwhile{"DeletedAndBack", kEdit, "DELETE FROM docs WHERE id = 2; INSERT INTO docs VALUES (2, 'Back', 'x')"},
        Meanwhile{"Renamed", kEdit, "UPDATE docs SET id = 200 WHERE id = 2"},
        Meanwhile{"RewrittenTable", kEdit, "ALTER TABLE docs ADD COLUMN extra text DEFAULT md5(random()::text)"},
        Meanwhile{"NewTouched", kNew, "UPDATE docs SET seen = 1 WHERE id = 100"},
        Meanwhile{"NewDeleted", kNew, "DELETE FROM docs WHERE id = 100"},
        Meanwhile{"NewDeletedAndBack", kNew, "DELETE FROM docs WHERE id = 100; INSERT INTO docs VALUES (100, 'Another', 'x')"},
        Meanwhile{"NewBackAndDeleted", kNew,
                  "DELETE FROM docs WHERE id = 100; INSERT INTO docs VALUES (100, 'Another', 'x');"
                  "DELETE FROM docs WHERE id = 100"},
        Meanwhile{"NewRenamed", kNew, "UPDATE docs SET id = 101 WHERE id = 100"},
        Meanwhile{"NewMovedOnto", kNew, "DELETE FROM docs WHERE id = 3; UPDATE docs SET id = 3 WHERE id = 100"}),
    [](const auto& row) { return row.param.name; });

TEST_F(LostEdits, ATouchWhileTheFeedIsFullLosesNothing) {
    begin(100);
    kit::Process run = start();
    edit_in_flight("UPDATE docs SET body = 'Edited ' || id");
    db.exec("SELECT setval('homeostat_data.p1_full', 2); UPDATE docs SET seen = seen + 1");
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(
        eventually_is("SELECT trusted_since IS NOT NULL AND NOT EXISTS (SELECT FROM homeostat.run) FROM homeostat.feed", "t"))
        << run.output();
    end_converged(run, "docs", kWanted);
}

// No row is named that a TRUNCATE takes: a sweep finds what is gone, also of what the feed has on the way just then.
TEST_F(LostEdits, WhatATruncateTakesIsGoneThoughAHealOfItIsOnTheWay) {
    begin(20);
    kit::Process run = start();
    edit_in_flight(
        "UPDATE docs SET body = 'Edited' WHERE id <= 6; INSERT INTO docs VALUES (100, 'New', 'x'), (101, 'New too', 'x')");
    const std::int64_t before = sweeps();
    db.exec(
        "BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM docs WHERE id > 3 AND id <> 100; TRUNCATE docs;"
        " INSERT INTO docs SELECT * FROM kept; COMMIT");
    EXPECT_TRUE(kit::eventually([&] { return sweeps() > before; })) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0")) << run.output();
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is(kNothingWaits, "0")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    end_converged(run, "docs", kWanted);
}

// The same where no trigger fires at all: the next sweep finds it, whatever the feed has on the way.
TEST_F(LostEdits, WhatGoesPastTheTriggersIsGoneThoughAHealOfItIsOnTheWay) {
    begin(20);
    kit::Process run = start();
    edit_in_flight(
        "UPDATE docs SET body = 'Edited' WHERE id <= 4; INSERT INTO docs VALUES (100, 'New', 'x'), (101, 'New too', 'x')");
    db.exec("SET session_replication_role = replica; DELETE FROM docs WHERE id IN (2, 3, 100); RESET session_replication_role");
    reconcile();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0")) << run.output();
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is(kNothingWaits, "0")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    end_converged(run, "docs", kWanted);
}

// A row that went while a sweep's batch had it, where no trigger tells.
TEST_F(LostEdits, ARowThatGoesDuringASweepIsGoneAtItsEnd) {
    begin(30, ", capture", ", 'Off'");
    endpoint.withhold();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    db.exec("DELETE FROM docs WHERE id <= 3; UPDATE docs SET seen = 1; UPDATE docs SET body = 'Edited' WHERE id = 4");
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history WHERE result = 'Converged'", "1")) << run.output();
    end_converged(run, "docs", kWanted);
}

// The deletion has looked whether the row is there, and not committed, when it comes back as it was, its version too: whoever
// takes that change finds the document that is about to go.
TEST_F(LostEdits, ARowThatComesBackAsItWasWhileItsDocumentGoesIsThere) {
    begin(20, ", version_column", ", 'seen'");
    kit::Process run = start();
    const std::int64_t before = sweeps();
    kit::Sql holder(db.url());
    holder.exec("BEGIN; SELECT FROM homeostat.pipeline_status FOR UPDATE");
    db.exec("DELETE FROM docs WHERE id = 2");
    ASSERT_TRUE(
        eventually_is("SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.wait_event_type = 'Lock'"
                      " AND l.relation = 'homeostat_data.p1_r1_document'::regclass AND l.mode = 'RowExclusiveLock'",
                      "t"))
        << run.output();
    db.exec("INSERT INTO docs VALUES (2, 'Body of 2', 'x')");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat_data.p1_change", "0")) << run.output();
    holder.exec("ROLLBACK");
    expect_true_without_a_sweep(run, before);
    end_converged(run, "docs", kWanted);
}

// The tables of the abandoned revision must not swallow what the feed names.
TEST_F(LostEdits, ADeclarationThatIsTakenBackBeforeItIsFilledIsFollowedAgain) {
    begin(60);
    kit::FakeEndpoint other({.dimensions = 16, .salt = "other"});
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                    " VALUES ('other', '{}', 'n', 16, 16, 2, '10 seconds')",
                    other.url()));
    kit::Process run = start();
    for (int round = 0; round < 2; ++round) {
        other.withhold();
        db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
        ASSERT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.revision WHERE state = 'building'", "t")) << run.output();
        db.exec(fmt::format("UPDATE docs SET body = 'While it changes {}' WHERE id = 5", round));
        db.exec("UPDATE homeostat.pipeline SET provider = 'fake'");
        other.release();
        ASSERT_TRUE(
            eventually_is("SELECT count(*) FROM homeostat.pipeline p JOIN homeostat.pipeline_status s USING (uid)"
                          " WHERE s.observed_generation = p.generation AND NOT EXISTS (SELECT FROM homeostat.run)",
                          "1"))
            << run.output();
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.revision WHERE state = 'building'"), "0");
        const std::int64_t before = sweeps();
        db.exec(fmt::format("UPDATE docs SET body = 'Edited {}' WHERE id = 7; INSERT INTO docs VALUES ({}, 'New', 'x')", round,
                            1'000 + round));
        expect_true_without_a_sweep(run, before);
    }
    // And forward once more, to its end.
    db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
    ASSERT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Until a new declaration has its revision the old one is healed, and not by the provider that is declared now: search would mix
// the vectors of two models.
TEST_F(LostEdits, AnEditBeforeTheNewRevisionIsThereIsEmbeddedByTheOldProvider) {
    begin(20);
    kit::FakeEndpoint other({.dimensions = 16, .salt = "other"});
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                    " VALUES ('other', '{}', 'n', 16, 16, 2, '10 seconds')",
                    other.url()));
    kit::Process run = start();
    kit::Sql holder(db.url());
    holder.exec("BEGIN; LOCK TABLE homeostat.revision IN SHARE MODE");
    db.exec("UPDATE homeostat.pipeline SET provider = 'other'; UPDATE docs SET body = 'Edited' WHERE id = 2");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id = 2", "Edited")) << run.output();
    EXPECT_EQ(other.texts(), 0U);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.revision"), "1");
    holder.exec("COMMIT");
    ASSERT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(other.texts(), 20U);
    end(run);
}

// A declaration that has more named keeps what was named, as long as keys are what they were: the sweep that would find it may
// have to wait behind whoever reads what is served.
TEST_F(LostEdits, WhatWasNamedOutlivesANewDeclaration) {
    begin(20);
    {
        kit::Process run = start();
        ASSERT_TRUE(asleep()) << run.output();
        end(run);
    }
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id = 2; DELETE FROM docs WHERE id = 3; INSERT INTO docs VALUES (90, 'New', 'x')");
    ASSERT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_change"), "3");
    const std::string table = db.value("SELECT 'homeostat_data.p1_change'::regclass::oid");
    kit::Sql dump(db.url());
    dump.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM docs_embeddings");
    db.exec("UPDATE homeostat.pipeline SET metadata = 'tag'");
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Reconciling' AND reason = 'WaitingForLock'", "1"))
        << run.output();
    EXPECT_EQ(db.value("SELECT 'homeostat_data.p1_change'::regclass::oid"), table);
    dump.exec("COMMIT");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND attname = 'tag'", "1"))
        << run.output();
    // What only the new declaration has named is, and the table is another where keys are.
    db.exec("UPDATE docs SET tag = 'y' WHERE id = 4");
    EXPECT_TRUE(eventually_is("SELECT tag FROM docs_embeddings WHERE id = 4", "y")) << run.output();
    db.exec("ALTER TABLE docs ALTER id TYPE text USING id::text");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT 'homeostat_data.p1_change'::regclass::oid <> " + table, "t")) << run.output();
    end(run);
}

TEST_F(LostEdits, AnEditIsHealedWhileAFillGoesOn) {
    begin(100);
    kit::Process run = start();
    // What is new waits for its answers; what is edited does not.
    endpoint.when_text("Slow", {.delay = 1s});
    db.exec(
        "ALTER TABLE docs DISABLE TRIGGER USER; INSERT INTO docs SELECT i, 'Slow ' || i, 'x' FROM generate_series(1000, 3000) i;"
        "ALTER TABLE docs ENABLE TRIGGER USER");
    ASSERT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run WHERE planned > 1000", "1")) << run.output();
    for (int i = 1; i <= 3; ++i) {
        db.exec(fmt::format("UPDATE docs SET body = 'Quick {}' WHERE id = {}", i, i));
        EXPECT_TRUE(
            eventually_is(fmt::format("SELECT chunk_text FROM docs_embeddings WHERE id = {}", i), fmt::format("Quick {}", i)))
            << run.output();
    }
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run"), "1");
    endpoint.forget_script();
    run.signal(SIGKILL);
}

TEST_F(LostEdits, CountsAreExactAfterAFillDuringWhichRowsCame) {
    begin(2'000);
    endpoint.always({.delay = 20ms});
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT coalesce(sum(written), 0) > 100 FROM homeostat.batch_history", "t")) << run.output();
    db.exec(
        "INSERT INTO docs SELECT i, 'New ' || i, 'x' FROM generate_series(5001, 5050) i; DELETE FROM docs WHERE id <= 20;"
        "INSERT INTO docs SELECT -i, 'Before all ' || i, 'x' FROM generate_series(1, 7) i");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history WHERE result = 'Converged'", "1")) << run.output();
    expect_true_without_a_sweep(run, sweeps());
    end_converged(run, "docs", kWanted);
}

}  // namespace
}  // namespace homeostat
