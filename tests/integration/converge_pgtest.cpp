// The loop under everything that happens while it works: edits, stops, rivals, pauses, suspension, deletion, changes of spec.
#include <csignal>
#include <set>
#include <utility>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class Converge : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text, tag text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i, 'x' FROM generate_series(1, {}) i",
                        documents));
    }
    void make_at(const kit::FakeEndpoint& endpoint, int documents) {
        make(documents);
        declare_endpoint(endpoint);
        declare("docs", "docs", "content", "'body'");
    }

    // Each stored vector is the one of its own text, whatever happened on the way.
    void expect_vectors_of_their_texts() {
        const kit::Tables t = kit::tables_of(db, "docs");
        for (const kit::Row& row : db.query("SELECT text, embedding::text FROM " + t.chunk)) {
            const std::vector<float> wanted = kit::FakeEndpoint::vector_of(*row[0], 16);
            const char* at = row[1]->c_str() + 1;
            for (const float w : wanted) {
                char* end = nullptr;
                ASSERT_NEAR(std::strtof(at, &end), w, 1e-5) << "a vector that is not of its text: " << *row[0];
                at = end + 1;
            }
        }
    }
    void expect_each_written_once(std::int64_t documents) {
        EXPECT_EQ(number("SELECT sum(written) FROM homeostat.batch_history WHERE outcome = 'done'"), documents);
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    }
    bool ready_now() { return db.value("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines") == "Current0"; }
};

TEST_F(Converge, OneEditedParagraphOfFiftyChunksEmbedsTwoAtMost) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text, tag text);"
        "INSERT INTO docs SELECT d, (SELECT string_agg(format('Paragraph %s of %s begins. It tells of %s and of %s at some "
        "length. So it ends.',"
        " p, d, md5(p::text || d), md5(d::text || p)), E'\\n\\n' ORDER BY p) FROM generate_series(1, 60) p) FROM "
        "generate_series(1, 3) d");
    declare("docs", "docs", "content, chunk_size", "'body', 50");
    run_once(kConverged);
    ASSERT_GE(number("SELECT min(n) FROM (SELECT count(*) AS n FROM docs_embeddings GROUP BY id) c"), 50);
    for (const int paragraph : {1, 30, 60}) {
        const std::int64_t before = embedded();
        db.exec(
            fmt::format("UPDATE docs SET body = replace(body, 'Paragraph {0} of 2 begins.', 'Paragraph {0} of 2 was edited and "
                        "begins otherwise.')"
                        " WHERE id = 2",
                        paragraph));
        run_once(kConverged);
        EXPECT_LE(embedded() - before, 2) << "paragraph " << paragraph;
        EXPECT_GE(embedded() - before, 1);
    }
    expect_converged("docs", kWanted);
    EXPECT_THAT(kit::unlike_built_anew(db, homeostat, "docs"), IsEmpty());
}

// By the server's own counters: the texts are long enough to be stored apart, and nobody fetches them, nor does the server itself
// for its statistics.
TEST_F(Converge, ASweepOfUnchangedDocumentsReadsNoText) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = false);"
        "INSERT INTO docs SELECT d, (SELECT string_agg(md5(d::text || i), ' ') FROM generate_series(1, 600) i)"
        " FROM generate_series(1, 200) d");
    declare("docs", "docs", "content, drift_interval, capture", "'body', '10 seconds', 'Off'");
    run_once(kConverged);
    // What a connection has counted is told at its end, which comes a little after its process's.
    const auto fetched = [&] {
        EXPECT_TRUE(
            eventually_is("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                          " AND application_name LIKE 'homeostat%'",
                          "0"));
        // On a busy machine some of it comes later still.
        std::int64_t blocks = -1;
        auto since = std::chrono::steady_clock::now();
        EXPECT_TRUE(kit::eventually([&] {
            const std::int64_t now =
                number("SELECT toast_blks_read + toast_blks_hit FROM pg_statio_user_tables WHERE relid = 'docs'::regclass");
            if (std::exchange(blocks, now) != now) since = std::chrono::steady_clock::now();
            return std::chrono::steady_clock::now() - since > 2s;
        }));
        return blocks;
    };
    const std::int64_t before = fetched();
    ASSERT_GE(before, 200 * 2) << "the counters do not count: the first fill reads every text";
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history WHERE trigger = 'interval'", "t")) << run.output();
    end(run);
    EXPECT_EQ(fetched(), before);
}

// What a batch reads of the stored documents does not grow with them: by key, although the statement was planned when there were
// none.
TEST_F(Converge, BatchesFindTheirDocumentsByKeyHoweverManyThereAre) {
    make(4'000);
    db.exec("UPDATE homeostat.provider SET max_batch = 16 WHERE name = 'hashing'");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                      " AND application_name LIKE 'homeostat%'",
                      "0"));
    // Sweeps and counts read them all, four times; a batch that did would do so 250 times.
    EXPECT_LE(number("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname LIKE 'p%_document'"), 6 * 4'000);
}

TEST_F(Converge, AnEditWhileItsOldTextIsBeingEmbeddedWins) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 400ms});
    make_at(endpoint, 30);
    kit::Process run = homeostat.start({"run", "--once"});
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    db.exec(
        "UPDATE docs SET body = 'Edited while in flight ' || id WHERE id % 2 = 0; DELETE FROM docs WHERE id = 9; UPDATE docs SET "
        "id = 1000 WHERE id = 11");
    EXPECT_EQ(run.wait(60s).value_or(kit::Exit{}).code, kConverged) << run.output();
    expect_converged("docs", kWanted);
    expect_vectors_of_their_texts();
}

// The same where a change of the source is only seen in its content.
TEST_F(Converge, AnEditInAViewWhileItsOldTextIsBeingEmbeddedWins) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 400ms});
    make(30);
    declare_endpoint(endpoint);
    db.exec("CREATE VIEW seen AS SELECT id, body FROM docs");
    declare("docs", "seen", "key, content", "'id', 'body'");
    kit::Process run = homeostat.start({"run", "--once"});
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    db.exec("UPDATE docs SET body = 'Edited while in flight ' || id WHERE id % 2 = 0");
    EXPECT_EQ(run.wait(60s).value_or(kit::Exit{}).code, kConverged) << run.output();
    expect_converged("docs", kWanted);
    expect_vectors_of_their_texts();
}

TEST_F(Converge, AStoppedRunFinishesWhatIsInFlightAndLeavesTheRestUntried) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 300ms});
    make_at(endpoint, 400);
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    end(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL OR attempts > 0 OR deaths > 0"), "0");
    const std::int64_t left = number("SELECT coalesce(sum(documents), 0) FROM homeostat.batch");
    EXPECT_GT(left, 0);
    EXPECT_EQ(left + number("SELECT count(*) FROM docs_embeddings"), 400) << "what was sent was not written";
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.lease WHERE expires_at > clock_timestamp()"), 0)
        << "a successor has to wait";
    run_once(kConverged);
    expect_converged("docs", kWanted);
    expect_each_written_once(400);
}

TEST_F(Converge, AStopWithoutABudgetGivesTheClaimsBackAsTheyWere) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 1h});  // whoever waits for it is charged an attempt
    make_at(endpoint, 100);
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_DRAIN_BUDGET", "0"}});
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    end(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL OR attempts > 0"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "0");
}

TEST_F(Converge, TwoAtOnceShareTheWorkAndWriteNothingTwice) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 20ms});
    make_at(endpoint, 960);  // of a thousand texts a few would be asked for again, to see whether the model is the same
    const kit::Environment small{{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_BATCH_IN_FLIGHT", "2"}};
    kit::Process a = homeostat.start({"run"}, small);
    kit::Process b = homeostat.start({"run"}, small);
    ASSERT_TRUE(kit::eventually([&] { return ready_now(); }, 90s)) << a.output() << b.output();
    end(a);
    end_converged(b, "docs", kWanted);
    expect_vectors_of_their_texts();
    expect_each_written_once(960);
    EXPECT_EQ(db.value("SELECT count(DISTINCT claimed_by) FROM homeostat.batch_history WHERE outcome = 'done'"), "2")
        << "one did all the work";
    EXPECT_EQ(endpoint.texts(), 960U) << "something was paid for twice";
}

TEST_F(Converge, APausedReplicaThatWakesAfterItsTimeIsRefusedAndHarmless) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 300ms});
    make_at(endpoint, 200);
    kit::Process paused = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_TRUE(endpoint.wait_for_requests(2));
    paused.signal(SIGSTOP);
    ASSERT_GT(number("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL"), 0)
        << "it was paused with nothing in hand";
    run_once(kConverged);  // takes the lease and the claims when they have expired, and finishes
    const kit::Tables t = kit::tables_of(db, "docs");
    const std::string written = db.value("SELECT md5(string_agg(d::text, '' ORDER BY document_id)) FROM " + t.document + " d");
    const std::string epoch = db.value("SELECT epoch FROM homeostat.lease");
    paused.signal(SIGCONT);
    ASSERT_TRUE(kit::eventually([&] {
        const std::string said = paused.output();
        return said.find("fenced") != std::string::npos || said.find("interrupted") != std::string::npos;
    })) << paused.output();
    EXPECT_EQ(db.value("SELECT md5(string_agg(d::text, '' ORDER BY document_id)) FROM " + t.document + " d"), written);
    end(paused);
    EXPECT_GT(std::stoi(epoch), 1);
    expect_converged("docs", kWanted);
    expect_vectors_of_their_texts();
    expect_each_written_once(200);
}

TEST_F(Converge, SuspendedNothingIsWrittenAndResumedItGoesOn) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 100ms});
    make_at(endpoint, 600);
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    EXPECT_EQ(homeostat.run({"suspend", "docs", "--reason", "looking"}).exit.code, 0);
    const std::string stored = db.value("SELECT count(*) FROM docs_embeddings");
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "Ready", "reason") == "Suspended"; })) << run.output();
    EXPECT_EQ(condition("docs", "Ready", "message"), "looking");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL", "0")) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), stored) << "written while suspended";
    EXPECT_LT(std::stoi(stored), 600);
    EXPECT_EQ(db.value("SELECT coalesce(sum(attempts), 0) FROM homeostat.batch"), "0");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    ASSERT_TRUE(kit::eventually([&] { return ready_now(); }, 60s)) << run.output();
    end_converged(run, "docs", kWanted);
    expect_each_written_once(600);
}

TEST_F(Converge, SuspendedRunOnceChangesNothingAndSaysSo) {
    make(20);
    declare("docs", "docs", "content, suspend", "'body', true");
    run_once(kDriftLeft);
    EXPECT_EQ(condition("docs", "Ready", "reason"), "Suspended");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.revision"), "0");
}

TEST_F(Converge, ObserveFindsTheDriftAndWritesNothing) {
    make(20);
    declare("docs", "docs", "content, management", "'body', 'Observe'");
    run_once(kDriftLeft);
    EXPECT_EQ(kit::drift_of(db, "docs"), "missing 20");
    const kit::Tables t = kit::tables_of(db, "docs");
    EXPECT_EQ(db.value("SELECT count(*) FROM " + t.document), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history"), "0");
}

TEST_F(Converge, ADeletedPipelineLeavesItsVectorsOrTakesThemAsDeclared) {
    make(20);
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    db.exec("DELETE FROM homeostat.pipeline");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "1") << "it waits for its finaliser";
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "20");
    // The same name again is another object, with the old view as its target.
    declare("docs", "docs", "content, deletion_policy", "'body', 'Delete'");
    run_once(kConverged);
    expect_converged("docs", kWanted);
    db.exec("DELETE FROM homeostat.pipeline");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT to_regclass('docs_embeddings') IS NULL"), "t");
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'homeostat_data' AND tablename LIKE 'p2%'"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.condition"), "0");
}

TEST_F(Converge, AnotherModelIsBuiltBesideAndSwappedWithoutAGapOrAMixture) {
    make(400);
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    db.exec("CREATE VIEW mine AS SELECT id, embedding FROM docs_embeddings");
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    db.exec("UPDATE homeostat.pipeline SET dimensions = 32");
    std::set<std::string> seen;
    ASSERT_TRUE(kit::eventually(
        [&] {
            seen.insert(
                db.value("SELECT count(*) || ' of ' || string_agg(DISTINCT vector_dims(embedding)::text, '+') FROM mine"));
            return seen.contains("400 of 32");
        },
        60s))
        << run.output();
    EXPECT_EQ(seen, (std::set<std::string>{"400 of 16", "400 of 32"})) << "search saw a gap or a mixture";
    ASSERT_TRUE(kit::eventually([&] { return ready_now(); })) << run.output();
    end(run);
    EXPECT_EQ(db.value("SELECT string_agg(revision || ' ' || state, ', ' ORDER BY revision) FROM homeostat.revision"),
              "1 retired, 2 served");
    expect_converged("docs", kWanted);
    EXPECT_THAT(kit::unlike_built_anew(db, homeostat, "docs"), IsEmpty());
}

TEST_F(Converge, AnEditWhileAnotherRevisionIsBuiltIsInItOnceItIsServed) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    make_at(endpoint, 60);
    run_once(kConverged);
    kit::FakeAnswer slow;
    slow.delay = 700ms;
    endpoint.always(slow);
    db.exec("UPDATE homeostat.pipeline SET chunk_size = 300");
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_BATCH_IN_FLIGHT", "1"}});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.revision", "2"));
    db.exec("UPDATE docs SET body = 'A correction' WHERE id = 60");
    ASSERT_TRUE(kit::eventually([&] { return ready_now(); }, 60s)) << run.output();
    end_converged(run, "docs", kWanted);
}

TEST_F(Converge, TheIndexIsUsedThroughTheServedViewAndAViewOnIt) {
    make(3000);
    declare("docs", "docs", "content, metadata", "'body', 'tag'");
    run_once(kConverged);
    db.exec("CREATE VIEW mine AS SELECT id, tag, chunk_text, embedding FROM docs_embeddings; ANALYZE");
    const std::string vector = db.value("SELECT embedding::text FROM docs_embeddings WHERE id = 7");
    for (const char* view : {"docs_embeddings", "mine"}) {
        std::string plan;
        for (const kit::Row& row :
             db.query(fmt::format("EXPLAIN SELECT id, chunk_text FROM {} ORDER BY embedding <=> '{}' LIMIT 5", view, vector))) {
            plan += *row[0] + "\n";
        }
        EXPECT_THAT(plan, HasSubstr("_chunk_embedding on")) << view;
        EXPECT_EQ(db.value(fmt::format("SELECT id FROM {} ORDER BY embedding <=> '{}' LIMIT 1", view, vector)), "7");
    }
    db.exec("UPDATE homeostat.pipeline SET index_method = 'none'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%_chunk_embedding'"), "0");
    db.exec("UPDATE homeostat.pipeline SET index_method = 'hnsw', distance = 'l2'");
    run_once(kConverged);
    EXPECT_THAT(db.value("SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%_chunk_embedding'"), HasSubstr("vector_l2_ops"));
}

TEST_F(Converge, DependentPipelinesWaitForEachOther) {
    make(30);
    declare("first", "docs", "content", "'body'");
    run_once(kConverged);
    db.exec("CREATE VIEW tagged AS SELECT DISTINCT id, chunk_text FROM first_embeddings WHERE chunk_number = 0");
    declare("second", "tagged", "key, content, depends_on", "'id', 'chunk_text', 'first'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM second_embeddings"), "30");
}

}  // namespace
}  // namespace homeostat
