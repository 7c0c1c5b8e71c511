// A model that is swapped behind its name: found by the run's own gate, which rolls the run back, and by `audit`; and not served.
#include "core/fault_point.hpp"
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Audit : public World {
protected:
    void make(const std::string& columns = "", const std::string& values = "") {
        db.exec(
            "CREATE TABLE docs (id bigint PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, 'Document ' || i FROM generate_series(1, 300) i");
        declare_endpoint(endpoint);
        declare("docs", "docs", "content, chunker, index_method" + columns, "'body', 'whole', 'none'" + values);
    }
    // A run that somebody waits for, during which the endpoint becomes another model after so many requests, of the same name and
    // width.
    kit::Exit run_while_it_becomes(const std::string& salt, std::uint64_t after) {
        const std::uint64_t before = endpoint.calls();
        kit::Process run = homeostat.start({"run", "--once"}, small);
        EXPECT_TRUE(kit::eventually([&] { return endpoint.calls() >= before + after; })) << run.output();
        endpoint.become(salt);
        const kit::Exit exit = run.wait(std::chrono::seconds(60)).value_or(kit::Exit{});
        said = run.output();
        return exit;
    }
    // Everything that is stored, as text.
    std::string stored() {
        return db.value(
            "SELECT (SELECT md5(string_agg(d::text, '|' ORDER BY d.document_id)) FROM homeostat_data.p1_r1_document d) || ' ' ||"
            " (SELECT md5(string_agg(c::text, '|' ORDER BY c.document_id, c.number)) FROM homeostat_data.p1_r1_chunk c)");
    }
    void edit(const std::string& how) {
        db.exec("UPDATE docs SET body = 'Document ' || id || ' " + how +
                "' WHERE id <= 20; DELETE FROM docs WHERE id = 30;"
                "INSERT INTO docs SELECT i, 'New ' || i FROM generate_series(301, 303) i ON CONFLICT DO NOTHING");
    }
    // What every failed gate comes to, wherever its process died.
    void expect_undone(const std::string& before, const std::string& point = "") {
        EXPECT_EQ(stored(), before) << point;
        EXPECT_EQ(condition("docs", "Stalled") + ' ' + condition("docs", "Stalled", "reason"), "True VerificationFailed")
            << point;
        EXPECT_EQ(condition("docs", "RolledBack") + ' ' + condition("docs", "RolledBack", "reason"), "True Pinned") << point;
        EXPECT_EQ(db.value("SELECT suspend || ' ' || pinned || ' ' || suspended_by FROM homeostat.pipeline"),
                  "true rollback homeostat")
            << point;
        EXPECT_EQ(db.value("SELECT state || ' ' || requested_by FROM homeostat.rollback ORDER BY id DESC LIMIT 1"),
                  "done homeostat")
            << point;
        EXPECT_EQ(db.value("SELECT result || ' ' || status FROM homeostat.run_history ORDER BY id DESC LIMIT 1"),
                  "RolledBack rolled_back")
            << point;
        EXPECT_EQ(number("SELECT count(*) FROM homeostat.run"), 0) << point;
        EXPECT_EQ(number("SELECT count(*) FROM homeostat.batch"), 0) << point;
    }
    void recover() {
        endpoint.become("");
        EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
        run_once(kConverged, small);
        expect_converged("docs", wanted);
    }

    std::int64_t served() { return number("SELECT count(*) FROM docs_embeddings WHERE embedding IS NOT NULL"); }

    kit::FakeEndpoint endpoint{{.dimensions = 16, .delay = std::chrono::milliseconds(20)}};
    const kit::Environment small{{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}};
    std::string said;
    const std::string wanted = "SELECT id::text, body FROM docs";
};

TEST_F(Audit, AModelThatIsSwappedBehindItsNameUnderWayIsFoundByThatRunAndNothingOfItIsServed) {
    make(", verify_sample", ", 8");
    EXPECT_EQ(run_while_it_becomes("another ", 4).code, kFailed);
    EXPECT_THAT(said, AllOf(HasSubstr("does not answer as model \"m\" did"), HasSubstr("back with other vectors")));
    EXPECT_EQ(condition("docs", "Stalled", "reason"), "VerificationFailed");
    EXPECT_EQ(condition("docs", "Ready", "reason"), "VerificationFailed");
    EXPECT_EQ(db.value("SELECT suspend FROM homeostat.pipeline"), "t");
    EXPECT_EQ(served(), 0) << "what the run embedded is searched no more";
    EXPECT_THAT(said, HasSubstr("run 1 is rolled back, and what was searched before it is searched"));
    EXPECT_EQ(db.value("SELECT status FROM homeostat.run_history"), "rolled_back");
    const std::uint64_t asked = endpoint.calls();
    homeostat.run_once(small);
    EXPECT_EQ(endpoint.calls(), asked) << "suspended: nothing is asked";
    EXPECT_EQ(condition("docs", "Stalled"), "True") << "until a person has looked";
    endpoint.become("");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    run_once(kConverged, small);
    EXPECT_EQ(served(), 300);
    EXPECT_EQ(condition("docs", "Stalled"), "False");
    expect_converged("docs", wanted);
}

TEST_F(Audit, AModelThatWasSwappedBeforeTheRunDiffersFromWhatWasThere) {
    make(", verify_sample", ", 8");
    run_once(kConverged, small);
    EXPECT_EQ(db.value("SELECT failed FROM homeostat.verification"), "f");
    const std::string before = stored();
    endpoint.become("another ");
    edit("edited");
    run_once(kFailed, small);
    expect_undone(before);
    EXPECT_EQ(served(), 300);
    EXPECT_EQ(condition("docs", "Synced") + ' ' + condition("docs", "Synced", "reason"), "False RolledBack");
    const std::string why = "back with other vectors";
    for (const char* type : {"Stalled", "Ready", "RolledBack"}) EXPECT_THAT(condition("docs", type, "message"), HasSubstr(why));
    EXPECT_THAT(db.value("SELECT message FROM homeostat.event WHERE reason = 'VerificationFailed' ORDER BY id LIMIT 1"),
                HasSubstr(why));
    EXPECT_THAT(db.value("SELECT message FROM homeostat.run_history ORDER BY id DESC LIMIT 1"),
                AllOf(HasSubstr("rolled back to checkpoint \"run-2\": verification failed"), HasSubstr(why)));
    // What is edited now is not lost, and not paid for before a person has looked.
    db.exec("UPDATE docs SET body = 'Edited while it was pinned' WHERE id BETWEEN 15 AND 40");
    const std::uint64_t asked = endpoint.calls();
    homeostat.run_once(small);
    EXPECT_EQ(endpoint.calls(), asked);
    EXPECT_EQ(stored(), before);
    recover();
}

TEST_F(Audit, WhereverItDiesTheRunIsRolledBackAllTheSame) {
    make(", verify_sample, max_prune_ratio", ", 8, 1");
    run_once(kConverged, small);
    std::vector<std::string_view> points(kVerificationFaultPoints.begin(), kVerificationFaultPoints.end());
    points.insert(points.end(), kRollbackFaultPoints.begin(), kRollbackFaultPoints.end());
    for (const std::string_view point : points) {
        const std::string before = stored();
        endpoint.become("another ");
        edit("as of " + std::string(point));
        kit::Environment doomed = small;
        doomed["HOMEOSTAT_FAULT_POINT"] = point;
        EXPECT_EQ(homeostat.run_once(doomed).exit.signal, SIGKILL) << point;
        homeostat.run_once(small);
        expect_undone(before, std::string(point));
        db.exec("INSERT INTO docs VALUES (30, 'Back') ON CONFLICT DO NOTHING; DELETE FROM docs WHERE id > 300");
        recover();
    }
}

// The journal was let go between the verdict and what follows from it: nothing of the run is found by a search, at least.
TEST_F(Audit, ARunThatCannotBeUndoneAnyMoreIsNotSearched) {
    make(", verify_sample", ", 8");
    run_once(kConverged, small);
    endpoint.become("another ");
    db.exec("UPDATE docs SET body = body || ' edited' WHERE id <= 20");
    kit::Environment doomed = small;
    doomed["HOMEOSTAT_FAULT_POINT"] = "verification.after_commit";
    EXPECT_EQ(homeostat.run_once(doomed).exit.signal, SIGKILL);
    db.exec("UPDATE homeostat.revision SET journal_from = 1000000");
    homeostat.run_once(small);
    EXPECT_EQ(served(), 280);
    EXPECT_EQ(db.value("SELECT suspend || ' ' || (pinned IS NULL) FROM homeostat.pipeline"), "true true");
    EXPECT_EQ(db.value("SELECT state || ': ' || message FROM homeostat.rollback"), "refused: its journal is gone");
    EXPECT_THAT(db.value("SELECT suspend_reason FROM homeostat.pipeline"),
                AllOf(HasSubstr("verification failed: "), HasSubstr("the run is not rolled back: its journal is gone")));
    EXPECT_EQ(condition("docs", "Stalled", "reason"), "VerificationFailed");
    EXPECT_EQ(db.value("SELECT status FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "failed");
    // And where it is gone before: the gate itself does without.
    recover();
    endpoint.become("another ");
    db.exec("UPDATE docs SET body = body || ' edited again' WHERE id <= 10");
    run_once(kFailed, small);
    EXPECT_EQ(served(), 290);
    EXPECT_EQ(condition("docs", "Stalled", "reason"), "VerificationFailed");
    recover();
    EXPECT_EQ(served(), 300);
}

TEST_F(Audit, ARevisionThatWasFilledByTwoModelsDoesNotTakeOver) {
    make(", verify_sample", ", 8");
    run_once(kConverged, small);
    db.exec(
        "UPDATE homeostat.provider SET document_prefix = 'passage: ' WHERE name = 'fake'; UPDATE homeostat.pipeline SET "
        "chunk_size = 300");
    EXPECT_EQ(run_while_it_becomes("another ", 4).code, kFailed);
    EXPECT_EQ(condition("docs", "Stalled", "reason"), "VerificationFailed");
    EXPECT_EQ(db.value("SELECT revision FROM homeostat.revision WHERE state = 'served'"), "1");
    EXPECT_EQ(served(), 300) << "what was searched before goes on being searched";
}

TEST_F(Audit, AnAuditSaysWhatComesBackOtherwiseAndWhatItCost) {
    make(", verify_sample", ", 0");
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 1000 WHERE name = 'fake'");
    run_once(kConverged, small);
    auto good = homeostat.run({"audit", "docs", "--sample", "10"});
    EXPECT_EQ(good.exit.code, 0) << good.output;
    EXPECT_THAT(good.output,
                AllOf(HasSubstr("came back within 0.010"), HasSubstr("0 without a sound vector"), HasSubstr("Cost: ")));
    const std::string chunk = db.value("SELECT 'homeostat_data.' || relname FROM pg_class WHERE relname LIKE 'p%_r1_chunk'");
    db.exec("UPDATE " + chunk + " SET embedding = (SELECT embedding FROM " + chunk +
            " WHERE document_id = 1) WHERE document_id IN (2, 3);"
            "UPDATE " +
            chunk +
            " SET embedding = NULL WHERE document_id = 4;"
            "UPDATE " +
            chunk + " SET embedding = array_fill(0.25, '{16}')::vector WHERE document_id = 5");
    auto damaged = homeostat.run({"audit", "docs", "--sample", "1000"});
    EXPECT_EQ(damaged.exit.code, 1) << damaged.output;
    EXPECT_THAT(damaged.output, HasSubstr("1 without a sound vector, 3 with the vector of another text, 1 nearly constant"));
    endpoint.become("another ");
    auto swapped = homeostat.run({"audit", "docs"});
    EXPECT_EQ(swapped.exit.code, 1) << swapped.output;
    EXPECT_THAT(swapped.output, AllOf(HasSubstr(", 0 came back within"), HasSubstr("does not answer as it did")));
    EXPECT_EQ(homeostat.run({"audit", "dogs"}).exit.code, 2);
    EXPECT_EQ(homeostat.run({"audit", "docs", "--sample", "0"}).exit.code, 2);
}

// Corrected, taken back and resumed: what the caches kept of the time between is as wrong as what was stored.
TEST_F(Audit, NoCacheBringsBackWhatWasRolledBack) {
    for (const bool shared : {false, true}) {
        SCOPED_TRACE(shared ? "kept by the database, for a process that comes later" : "kept in memory");
        const kit::Environment settings{{"HOMEOSTAT_CACHE_SHARED_BYTES", shared ? "64MiB" : "0"}};
        db.exec("DROP TABLE IF EXISTS docs, wrong CASCADE; DELETE FROM homeostat.pipeline");
        homeostat.run_once();
        db.exec("DELETE FROM homeostat.provider WHERE name = 'fake'");
        endpoint.become("");
        make(", verify_sample, deletion_policy", ", 0, 'Delete'");
        auto run = std::make_unique<kit::Process>(homeostat.start({"run"}, settings));
        ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Ready' AND reason = 'Converged'", "1"));
        ASSERT_EQ(homeostat.run({"checkpoint", "docs", "right"}).exit.code, 0);
        endpoint.become("another ");
        db.exec("UPDATE docs SET body = body || ' edited'");
        ASSERT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '% edited'", "300"))
            << run->output();
        db.exec("CREATE TABLE wrong AS SELECT id, embedding::text AS embedding FROM docs_embeddings");
        endpoint.become("");
        ASSERT_EQ(homeostat.run({"rollback", "docs", "--to", "right"}).exit.code, 0);
        if (shared) {
            run->signal(SIGTERM);
            ASSERT_TRUE(run->wait(std::chrono::seconds(30)));
            run = std::make_unique<kit::Process>(homeostat.start({"run"}, settings));
        }
        ASSERT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
        EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '% edited'", "300"))
            << run->output();
        EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings v JOIN wrong w USING (id) WHERE v.embedding::text = w.embedding"),
                  0);
        run->signal(SIGTERM);
        ASSERT_TRUE(run->wait(std::chrono::seconds(30)));
    }
}

// A chunk that the run left as it was has its vector from before.
TEST_F(Audit, WhatTheRunDidNotEmbedKeepsItsVectorsAndCanBeGoneBackTo) {
    db.exec(
        "CREATE TABLE docs (id bigint PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s has its own words.', j, i), ' ')"
        "  FROM generate_series(1, 8) j) FROM generate_series(1, 20) i");
    declare_endpoint(endpoint);
    declare("docs", "docs", "content, chunk_size, index_method, verify_sample", "'body', 16, 'none', 16");
    run_once(kConverged);
    db.exec("CREATE TABLE before AS SELECT id, chunk_number, chunk_text, embedding::text FROM docs_embeddings");
    kit::Process taking = homeostat.start({"run"});
    ASSERT_EQ(homeostat.run({"checkpoint", "docs", "cp"}).exit.code, 0);
    taking.signal(SIGTERM);
    ASSERT_TRUE(taking.wait(std::chrono::seconds(30)));
    db.exec("UPDATE docs SET body = replace(body, 'Sentence 2', 'Changed 2') WHERE id <= 9");
    endpoint.become("another ");
    run_once(kFailed);
    ASSERT_EQ(condition("docs", "Stalled", "reason"), "VerificationFailed");
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings WHERE embedding IS NULL AND chunk_text NOT LIKE '%Changed 2%'"), 0);
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings WHERE embedding IS NOT NULL AND chunk_text LIKE '%Changed 2%'"), 0);
    ASSERT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    ASSERT_EQ(homeostat.run({"rollback", "docs", "--to", "cp", "--no-wait"}).exit.code, 0);
    homeostat.run_once();
    EXPECT_EQ(number("SELECT count(*) FROM (SELECT id, chunk_number, chunk_text, embedding::text FROM docs_embeddings"
                     " EXCEPT SELECT * FROM before) d"),
              0)
        << "as it was, byte for byte";
}

}  // namespace
}  // namespace homeostat
