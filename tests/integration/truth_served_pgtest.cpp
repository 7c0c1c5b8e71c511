// What is said of a pipeline that was interfered with: paused and resumed, declared anew, its view or its tables dropped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";

class Interference : public FeedWhole {
protected:
    bool served_whole() {
        return kit::eventually(
            [&] {
                try {
                    return db.value(
                               "SELECT count(*) FROM docs_embeddings e JOIN docs d ON d.id = e.id AND d.body = e.chunk_text") ==
                           db.value("SELECT count(*) FROM docs");
                } catch (const std::exception&) {
                    return false;  // it is not there yet
                }
            },
            std::chrono::seconds(30));
    }
    bool ready_is(const std::string& reason) {
        return eventually_is(
            "SELECT string_agg(reason, ',' ORDER BY type) FROM homeostat.condition WHERE type IN ('Ready',"
            " 'Reconciling')",
            reason);
    }
};

TEST_F(Interference, WhatIsResumedIsNotSuspendedAnyMore) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::int64_t before = sweeps();
    db.exec("UPDATE homeostat.pipeline SET suspend = true");
    EXPECT_TRUE(ready_is("Suspended,Suspended")) << run.output();
    db.exec("UPDATE homeostat.pipeline SET suspend = false");
    EXPECT_TRUE(ready_is("Converged,Idle")) << run.output();
    EXPECT_EQ(sweeps(), before) << "there was nothing to sweep for";
    end_converged(run, "docs", kWanted);
}

TEST_F(Interference, WhatIsNotDeclaredShortIsNotShort) {
    make(20);
    declare_docs();
    db.exec("UPDATE homeostat.pipeline SET documents = 50");
    run_once(kConverged);
    EXPECT_EQ(condition("docs", "SourceShort"), "True");
    db.exec("UPDATE homeostat.pipeline SET documents = NULL");
    run_once(kConverged);
    EXPECT_EQ(condition("docs", "SourceShort"), "False");
    expect_converged("docs", kWanted);
}

// A first fill whose last sweep finds a document as the feed heals it: it has never been served as it is, and who named it did
// so a moment ago.
TEST_F(Interference, AFirstFillIsOverWhenWhatItLeftToTheFeedIsHealed) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    make(3);
    declare_docs();
    declare_endpoint(endpoint);
    db.exec("UPDATE homeostat.pipeline SET provider = 'fake'");
    endpoint.withhold();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'", "1"))
        << run.output();
    const std::string text = db.value("SELECT body FROM docs WHERE id = 1");
    ASSERT_TRUE(kit::eventually([&] {
        return std::ranges::any_of(endpoint.requests(),
                                   [&](const auto& r) { return std::ranges::find(r.texts, text) != r.texts.end(); });
    })) << run.output();
    endpoint.when_text("Edited", {.delay = std::chrono::seconds(3)});
    db.exec("UPDATE docs SET body = 'Edited 1' WHERE id = 1");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch b JOIN homeostat.feed f USING (uid, run_id)", "1"));
    endpoint.release();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history WHERE result = 'Converged'", "1")) << run.output();
    // Or it has taken so long that the status says so, on a machine that is very slow.
    EXPECT_EQ(db.value("SELECT (SELECT chunk_text FROM docs_embeddings WHERE id = 1) = 'Edited 1' OR w.behind"
                       " FROM homeostat.waiting w"),
              "t")
        << run.output();
    end_converged(run, "docs", kWanted);
}

TEST_F(Interference, AViewThatWasDroppedComesBackAtTheNextLook) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("DROP VIEW docs_embeddings");
    EXPECT_TRUE(served_whole()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history WHERE trigger = 'repair'", "1")) << run.output();
    EXPECT_EQ(embedded(), 20);
    end_converged(run, "docs", kWanted);
}

TEST_F(Interference, TablesThatWereDroppedAreFilledAnew) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("DROP TABLE homeostat_data.p1_r1_chunk CASCADE");
    EXPECT_TRUE(served_whole()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.event WHERE reason = 'TablesGone'", "1"));
    EXPECT_TRUE(ready_is("Converged,Idle")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 3");
    EXPECT_TRUE(served_whole()) << run.output();
    end_converged(run, "docs", kWanted);
}

TEST_F(Interference, AJournalThatWasDroppedCostsNoVector) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("DROP TABLE homeostat_data.p1_r1_journal");
    EXPECT_TRUE(eventually_is("SELECT to_regclass('homeostat_data.p1_r1_journal') IS NOT NULL", "t")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 3");
    EXPECT_TRUE(served_whole()) << run.output();
    EXPECT_EQ(embedded(), 21);
    end_converged(run, "docs", kWanted);
}

TEST_F(Interference, TheViewBelongsToWhoeverIsDeclaredNow) {
    make(20);
    declare_docs(", deletion_policy", ", 'Delete'");
    run_once(kConverged);
    // The one that is deleted is finished after the next one has taken the view over.
    db.exec("DELETE FROM homeostat.pipeline");
    declare_docs(", deletion_policy", ", 'Delete'");
    kit::Process run = start();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipeline", "1")) << run.output();
    EXPECT_TRUE(ready_is("Converged,Idle")) << run.output();
    EXPECT_TRUE(served_whole());
    end_converged(run, "docs", kWanted);
}

// Somebody's view rests on ours: that is told, by its name, and the deletion goes on when it is gone.
TEST_F(Interference, ADeletionThatCannotEndSaysWhatIsInItsWay) {
    make(20);
    declare_docs(", deletion_policy", ", 'Delete'");
    kit::Process run = start();
    db.exec(
        "CREATE VIEW mine AS SELECT id, chunk_text FROM docs_embeddings; CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM "
        "mine");
    db.exec("DELETE FROM homeostat.pipeline");
    EXPECT_TRUE(eventually_is("SELECT reason FROM homeostat.condition WHERE type = 'Ready'", "TargetInUse")) << run.output();
    EXPECT_EQ(
        db.value("SELECT message FROM homeostat.condition WHERE type = 'Ready'"),
        "pipeline \"docs\" cannot be deleted while other objects depend on its vectors: view public.mine; drop those first");
    EXPECT_GE(number("SELECT count(*) FROM homeostat.event WHERE message LIKE '%view public.mine%'"), 1);
    const kit::Program::Outcome status = homeostat.run({"status"});
    EXPECT_EQ(status.exit.code, 1);
    EXPECT_THAT(status.output, ::testing::HasSubstr("view public.mine"));
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), 20) << "nothing of it was dropped";
    db.exec("DROP VIEW mine CASCADE");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipeline", "0")) << run.output();
    EXPECT_EQ(db.value("SELECT to_regclass('docs_embeddings')"), "");
    EXPECT_EQ(number("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'docs'::regclass"), 0);
    end(run);
}

// All rows are written anew (a nightly reload) while a next revision is filled: its sweep finds them in the hands of the feed.
// The revision has none of them yet, and what is searched now stays searched.
TEST_F(Interference, ANextRevisionTakesOverWithAllThatIsSearchedNow) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    make(50);
    declare_docs();
    kit::Process before = start();
    end(before);
    declare_endpoint(endpoint, "; UPDATE homeostat.provider SET timeout = '2 minutes'");
    endpoint.withhold();
    db.exec(
        "UPDATE homeostat.pipeline SET provider = 'fake';"
        "CREATE TABLE kept AS SELECT * FROM docs; DELETE FROM docs; INSERT INTO docs SELECT * FROM kept");
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(
        eventually_is("SELECT EXISTS (SELECT FROM homeostat.run WHERE revision = 2 AND sweeps > 1) OR EXISTS (SELECT FROM"
                      " homeostat.event WHERE reason = 'RevisionServed' AND message LIKE 'revision 2 %')",
                      "t"))
        << run.output();
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 50);
    EXPECT_TRUE(eventually_is("SELECT ready || ' ' || kstatus FROM homeostat.pipelines", "True InProgress")) << run.output();
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 50);
    endpoint.release();
    EXPECT_TRUE(eventually_is("SELECT state FROM homeostat.revision WHERE revision = 2", "served")) << run.output();
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 50);
    end_converged(run, "docs", kWanted);
}

// Two replicas make a revision's tables at once, and one of them never commits: a name that PostgreSQL chooses gives way to the
// other's, and would be wrong ever after. What was named so by an earlier version is named right.
TEST_F(Interference, TheSequenceOfIdsHasItsName) {
    make(20);
    declare_docs();
    run_once(kConverged);
    db.exec("ALTER SEQUENCE homeostat_data.p1_r1_document_document_id_seq RENAME TO p1_r1_document_document_id_seq1");
    kit::Process run = start();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 5; INSERT INTO docs VALUES (21, 'New', 'x')");
    EXPECT_TRUE(follows()) << run.output();
    end_converged(run, "docs", kWanted);
    db.exec("DELETE FROM homeostat.pipeline");
    declare_docs();
    kit::Sql other(db.url());
    other.exec("BEGIN; CREATE SEQUENCE homeostat_data.p2_r1_document_document_id_seq");
    kit::Process again = homeostat.start({"run"});
    EXPECT_TRUE(
        eventually_is("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type ="
                      " 'Lock' AND query LIKE 'CREATE TABLE homeostat_data.p2_r1_document%'",
                      "t"))
        << again.output();
    other.exec("ROLLBACK");
    EXPECT_TRUE(ready_is("Converged,Idle")) << again.output();
    EXPECT_EQ(db.value("SELECT pg_get_serial_sequence('homeostat_data.p2_r1_document', 'document_id')"),
              "homeostat_data.p2_r1_document_document_id_seq");
    end(again);
}

// What is told last is true when it is told: nobody corrects it before the next start.
TEST_F(Interference, WhoIsStoppedTellsWhatIsTrueThen) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint, "; UPDATE homeostat.provider SET timeout = '2 minutes'");
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    endpoint.withhold();
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    EXPECT_TRUE(ready_is("Behind,Progressing")) << run.output();
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    end(run);
    expect_converged("docs", kWanted);
}

}  // namespace
}  // namespace homeostat
