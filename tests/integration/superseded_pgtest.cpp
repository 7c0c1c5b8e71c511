// Many documents replaced at once, with the real program: they get other ids, what they were is seen by nobody from then on, and
// is put into the journal later.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";
constexpr const char* kDocuments =
    "SELECT string_agg(key_1 || ':' || document_id, ' ' ORDER BY key_1) FROM homeostat_data.p1_r1_document";
constexpr const char* kStrays =
    "SELECT count(*) FROM homeostat_data.p1_r1_chunk c WHERE NOT EXISTS"
    " (SELECT FROM homeostat_data.p1_r1_document d WHERE d.document_id = c.document_id)";
constexpr const char* kWaits = "SELECT count(*) > 0 FROM homeostat.batch WHERE kind = 'stray'";

constexpr const char* kLocked =
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    " AND application_name LIKE 'homeostat%'";

class Superseded : public FeedWhole {
protected:
    void SetUp() override {
        make(300);
        declare_docs();
    }
    // Nothing is put away until it is let go.
    void hold() {
        db.exec(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.run_after := 'infinity'; RETURN NEW; END $$;"
            "CREATE TRIGGER hold BEFORE INSERT ON homeostat.batch FOR EACH ROW WHEN (NEW.kind = 'stray') EXECUTE FUNCTION "
            "hold()");
    }
    void let_go() { db.exec("DROP TRIGGER hold ON homeostat.batch; UPDATE homeostat.batch SET run_after = clock_timestamp()"); }
    void remember() { db.exec("CREATE TABLE chunks_then AS SELECT * FROM homeostat_data.p1_r1_chunk"); }
    // Every chunk of then is in the journal as it was, and nothing else is.
    void expect_all_in_the_journal() {
        const std::string columns = "document_id, number, start_offset, end_offset, chunk_hash, context, text, embedding::text";
        EXPECT_EQ(db.value(fmt::format("SELECT count(*) FROM ((SELECT {0} FROM chunks_then EXCEPT ALL SELECT {0} FROM"
                                       " homeostat_data.p1_r1_journal WHERE number IS NOT NULL) UNION ALL (SELECT {0} FROM"
                                       " homeostat_data.p1_r1_journal WHERE number IS NOT NULL EXCEPT ALL SELECT {0} FROM"
                                       " chunks_then)) d",
                                       columns)),
                  "0");
    }
};

TEST_F(Superseded, IsSeenByNobodyAndPutAwayLater) {
    kit::Process run = start();
    hold();
    remember();
    db.exec("UPDATE docs SET body = 'Another body of ' || id");
    ASSERT_TRUE(follows()) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch WHERE kind <> 'stray'", "0"));
    EXPECT_EQ(db.value(kStrays), "300");
    EXPECT_EQ(db.value("SELECT count(DISTINCT (document).key_1) FROM homeostat_data.p1_r1_journal WHERE change = 'superseded'"),
              "300");
    EXPECT_EQ(db.value("SELECT documents || ' ' || chunks FROM homeostat.pipeline_status"), "300 300");
    // Looked at to the last chunk, it is nothing that is wrong.
    reconcile();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history WHERE kind = 'stray'"), "0");
    EXPECT_EQ(condition("docs", "Ready", "reason"), "Converged");
    EXPECT_EQ(homeostat.run({"plan", "docs"}).exit.code, kConverged);
    EXPECT_EQ(db.value(kStrays), "300");
    let_go();
    EXPECT_TRUE(eventually_is(kWaits, "f")) << run.output();
    EXPECT_EQ(db.value(kStrays), "0");
    expect_all_in_the_journal();
    EXPECT_EQ(db.value("SELECT coalesce(sum(removed), 0) FROM homeostat.batch_history"), "0") << "no document was removed";
    end_converged(run, "docs", kWanted);
}

TEST_F(Superseded, IsPutAwaySoonAndAgain) {
    kit::Process run = start();
    for (int i = 0; i < 3; ++i) {
        const std::string ids = db.value(kDocuments);
        db.exec(fmt::format("UPDATE docs SET body = 'Body {} of ' || id", i));
        ASSERT_TRUE(follows()) << run.output();
        EXPECT_NE(db.value(kDocuments), ids);
    }
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
    EXPECT_EQ(db.value(kStrays), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_r1_journal WHERE number IS NOT NULL"), "900");
    end_converged(run, "docs", kWanted);
}

TEST_F(Superseded, AreManyOnlyAndWhole) {
    db.exec("UPDATE homeostat.pipeline SET chunk_size = 16");
    db.exec(
        "UPDATE docs SET body = 'First sentence of it, which stays as it is. Second sentence, long enough too. Number ' || id");
    kit::Process run = start();
    const std::string ids = db.value(kDocuments);
    db.exec("UPDATE docs SET body = 'Another one ' || id WHERE id <= 10");
    db.exec("UPDATE docs SET body = body || ' and more' WHERE id > 10");
    const std::string matches =
        "SELECT count(*) FROM docs s JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id AND d.source_version = s.xmin";
    EXPECT_TRUE(eventually_is(matches, "300")) << run.output();
    EXPECT_EQ(db.value(kDocuments), ids);
    EXPECT_EQ(db.value(kWaits), "f");
    end_converged(run, "docs", kWanted);
}

// Whatever is declared meanwhile, and whatever fails: a chunk without a document is one.
TEST_F(Superseded, IsStillPutAwayWhereWhatIsDeclaredChangesAndARunFails) {
    kit::Process run = start();
    hold();
    remember();
    db.exec("UPDATE docs SET body = 'Another body of ' || id");
    ASSERT_TRUE(follows()) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch WHERE kind <> 'stray'", "0"));
    const std::int64_t before = sweeps();
    db.exec("UPDATE homeostat.pipeline SET max_prune_rows = 7");
    ASSERT_TRUE(kit::eventually([&] { return sweeps() > before; })) << run.output();
    db.exec("ALTER TABLE docs RENAME TO elsewhere; UPDATE homeostat.pipeline SET reconcile_requested = 'now'");
    ASSERT_TRUE(eventually_is("SELECT last_error <> '' FROM homeostat.pipeline_status", "t")) << run.output();
    db.exec("ALTER TABLE elsewhere RENAME TO docs; UPDATE homeostat.pipeline SET reconcile_requested = 'and again'");
    ASSERT_TRUE(eventually_is("SELECT last_error FROM homeostat.pipeline_status", "")) << run.output();
    EXPECT_EQ(db.value(kStrays), "300");
    let_go();
    EXPECT_TRUE(eventually_is("SELECT (SELECT count(*) FROM homeostat.batch) + (SELECT count(*) FROM homeostat.run)", "0"))
        << run.output();
    EXPECT_EQ(db.value(kStrays), "0");
    expect_all_in_the_journal();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE (type, status) = ('Ready', 'True')", "1"));
    end_converged(run, "docs", kWanted);
}

// The counts of a run go by ids.
TEST_F(Superseded, IsNothingWhileARunIsUnderWay) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    db.exec("UPDATE homeostat.provider SET timeout = '2 minutes', max_batch = 64 WHERE name = 'fake'");
    db.exec("UPDATE homeostat.pipeline SET provider = 'fake'");
    kit::Process run = start();
    const std::string ids = db.value(kDocuments);
    endpoint.withhold();
    db.exec(
        "ALTER TABLE docs DISABLE TRIGGER ALL; UPDATE docs SET body = 'Found by a sweep' WHERE id = 1; ALTER TABLE docs ENABLE"
        " TRIGGER ALL; UPDATE homeostat.pipeline SET reconcile_requested = 'now'");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch b JOIN homeostat.run r ON r.id = b.run_id", "1"));
    db.exec("UPDATE docs SET body = 'Another body of ' || id WHERE id > 100");
    ASSERT_TRUE(eventually_is("SELECT count(*) > 3 FROM homeostat.batch", "t")) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run"), "1");
    endpoint.release();
    ASSERT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT (SELECT count(*) FROM homeostat.batch) + (SELECT count(*) FROM homeostat.run)", "0"))
        << run.output();
    EXPECT_EQ(db.value(kDocuments), ids);
    end_converged(run, "docs", kWanted);
}

// Read before another batch committed what it had read before the edit: it is read again.
TEST_F(Superseded, WhatTwoBatchesHealedAtOnceIsReadAgain) {
    kit::Process run = start();
    kit::Sql other(db.url());
    other.exec("BEGIN; UPDATE homeostat_data.p1_r1_document SET write_token = 1 WHERE key_1 = 7");
    db.exec("UPDATE docs SET body = 'Edited last' WHERE id = 7");
    ASSERT_TRUE(eventually_is(kLocked, "t")) << run.output();
    other.exec("COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0"));
    end_converged(run, "docs", kWanted);
}

// It was named under the id it had.
TEST_F(Superseded, IsStillFoundByWhoeverDeletesTheDocument) {
    kit::Process run = start();
    kit::Sql other(db.url());
    other.exec(
        "BEGIN; WITH d AS (UPDATE homeostat_data.p1_r1_document SET document_id = 1000000 WHERE key_1 = 7 RETURNING 1)"
        " UPDATE homeostat_data.p1_r1_chunk SET document_id = 1000000 WHERE document_id = (SELECT document_id FROM"
        "  homeostat_data.p1_r1_document WHERE key_1 = 7) AND (SELECT count(*) FROM d) = 1");
    db.exec("DELETE FROM docs WHERE id = 7");
    ASSERT_TRUE(eventually_is(kLocked, "t")) << run.output();
    other.exec("COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(db.value(kStrays), "0");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0"));
    end_converged(run, "docs", kWanted);
}

}  // namespace
}  // namespace homeostat
