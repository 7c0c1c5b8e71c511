// Going back, with the real program: what is stored is what it was at the checkpoint, byte for byte, and stays so until it is
// resumed.
#include "core/fault_point.hpp"
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class Rollback : public World {
protected:
    void SetUp() override {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text, tag text, grade int);"
            "INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s has its own words.', j, i), ' ')"
            "  FROM generate_series(1, 6) j), 'tag ' || i, i FROM generate_series(1, 60) i");
        declare("docs", "docs", "content, metadata, chunk_size, max_prune_ratio", "'body', '{tag}', 16, 1");
        run_once(kConverged);
    }
    // Everything that is stored, as text.
    std::string stored() {
        return db.value(
                   "SELECT count(*) || ' ' || md5(string_agg(d::text, '|' ORDER BY d.document_id)) FROM "
                   "homeostat_data.p1_r1_document d") +
               ", " +
               db.value(
                   "SELECT count(*) || ' ' || md5(string_agg(c::text, '|' ORDER BY c.document_id, c.number)) FROM "
                   "homeostat_data.p1_r1_chunk c");
    }
    // 40 of 100 documents, in every way there is.
    void change() {
        db.exec(
            "UPDATE docs SET body = 'Nothing is as it was, ' || clock_timestamp() WHERE id <= 5;"            // all chunks go
            "UPDATE docs SET body = replace(body, 'Sentence 6', 'The last') WHERE id BETWEEN 6 AND 10;"   // most stay
            "UPDATE docs SET body = 'First of all. ' || body WHERE id BETWEEN 11 AND 13;"                  // and lie elsewhere
            "UPDATE docs SET body = body || ' And one more sentence, which is new.' WHERE id = 14;"
            "UPDATE docs SET tag = 'another ' || clock_timestamp() WHERE id BETWEEN 15 AND 17;"
            "UPDATE docs SET body = '' WHERE id = 18;"
            "UPDATE docs SET grade = grade + 1 WHERE id BETWEEN 19 AND 20;"  // nothing but a version
            "DELETE FROM docs WHERE id IN (21, 22);"
            "INSERT INTO docs SELECT i, 'A document that is new, ' || i, 'new', 0 FROM generate_series(101, 104) i;"
            "DELETE FROM docs WHERE id = 23; INSERT INTO docs VALUES (23, 'In the place of another.', 'x', 0)");
    }
    void undo_in_source() {
        db.exec(
            "DELETE FROM docs WHERE id > 100; INSERT INTO docs SELECT i, 'Back again.', 'x', 0 FROM generate_series(21, 22) i");
    }
    kit::Program::Outcome roll_back(std::vector<std::string> more) {
        more.insert(more.begin(), {"rollback", "docs"});
        return homeostat.run(more);
    }
    // Asked for, and carried out by one pass.
    void go_back(const std::vector<std::string>& more) {
        std::vector<std::string> arguments{"--no-wait"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const kit::Program::Outcome asked = roll_back(arguments);
        ASSERT_EQ(asked.exit.code, 0) << asked.output;
        const kit::Program::Outcome done = homeostat.run_once();
        EXPECT_EQ(last(), "done") << done.output;
    }
    std::string last() { return db.value("SELECT state FROM homeostat.rollback ORDER BY id DESC LIMIT 1"); }
    std::string refused(const std::vector<std::string>& more) {
        const kit::Program::Outcome outcome = roll_back(more);
        EXPECT_EQ(outcome.exit.code, kFailed) << outcome.output;
        return outcome.output;
    }
    void checkpoint(const std::string& name) {
        const kit::Program::Outcome asked = homeostat.run({"checkpoint", "docs", name, "--no-wait"});
        ASSERT_EQ(asked.exit.code, 0) << asked.output;
        run_once(kConverged);
        ASSERT_EQ(db.value("SELECT state FROM homeostat.checkpoint WHERE name = '" + name + "'"), "ready");
    }
    void resume() {
        const kit::Program::Outcome resumed = homeostat.run({"resume", "docs"});
        ASSERT_EQ(resumed.exit.code, 0) << resumed.output;
    }
    std::string runs() {
        return db.value("SELECT string_agg(status, ' ' ORDER BY id) FROM homeostat.run_history WHERE healed <> '{}'");
    }
};

TEST_F(Rollback, ARunIsUndoneToTheByteAndStaysSoUntilItIsResumed) {
    const std::string before = stored();
    change();
    run_once(kConverged);
    const std::string after = stored();
    ASSERT_NE(after, before);
    kit::Process run = homeostat.start({"run"});
    const kit::Program::Outcome tried = roll_back({"--dry-run", "--timeout", "20s"});
    EXPECT_EQ(tried.exit.code, 0) << tried.output << run.output();
    EXPECT_THAT(tried.output, AllOf(HasSubstr("23 documents would be as they were then (2 of them removed since)"),
                                    HasSubstr("4 that came since would be gone")));
    EXPECT_EQ(stored(), after) << "nothing was done";
    EXPECT_EQ(db.value("SELECT suspend FROM homeostat.pipeline"), "f");
    const kit::Program::Outcome done = roll_back({"--reason", "it was wrong", "--timeout", "30s"});
    ASSERT_EQ(done.exit.code, 0) << done.output << run.output();
    EXPECT_EQ(stored(), before);
    EXPECT_EQ(runs(), "completed rolled_back");
    for (const char* type : {"Ready", "Synced"}) {
        EXPECT_TRUE(kit::eventually([&] { return condition("docs", type) == "False"; })) << type;
        EXPECT_EQ(condition("docs", type, "reason"), "RolledBack") << type;
    }
    EXPECT_EQ(condition("docs", "RolledBack"), "True");
    EXPECT_THAT(condition("docs", "RolledBack", "message"), AllOf(HasSubstr("it was wrong"), HasSubstr("homeostat resume docs")));
    EXPECT_THAT(homeostat.run({"describe", "docs"}).output, AllOf(HasSubstr("Pinned: by "), HasSubstr("homeostat resume docs")));
    // Neither what is named nor a sweep heals over it.
    db.exec("UPDATE docs SET body = 'Edited while it is pinned.' WHERE id BETWEEN 30 AND 32");
    EXPECT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
    const std::string there = db.value("SELECT checkpoint FROM homeostat.rollback WHERE NOT dry_run");
    EXPECT_EQ(roll_back({"--to", there, "--timeout", "20s"}).exit.code, 0) << "it is there already";
    EXPECT_THAT(refused({}), HasSubstr("is rolled back already"));
    EXPECT_EQ(stored(), before);
    resume();
    end_converged(run, "docs", kWanted);
    EXPECT_EQ(condition("docs", "RolledBack"), "False");
    EXPECT_EQ(condition("docs", "Ready"), "True");
}

// What the feed replaces whole gets other ids; what was replaced waits in the chunk table, and then in the journal.
TEST_F(Rollback, DocumentsThatGotOtherIdsAreWhatTheyWere) {
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(kit::eventually([&] {
        return condition("docs", "ChangeFeed") == "True" && condition("docs", "Ready") == "True";
    })) << run.output();
    const kit::Program::Outcome taken = homeostat.run({"checkpoint", "docs", "before", "--timeout", "20s"});
    ASSERT_EQ(taken.exit.code, 0) << taken.output << run.output();
    for (const bool put_away : {false, true}) {
        const std::string before = stored();
        const std::string ids =
            db.value("SELECT string_agg(document_id::text, ',' ORDER BY key_1) FROM homeostat_data.p1_r1_document");
        db.exec("UPDATE docs SET body = 'Another text, written at ' || clock_timestamp() WHERE id <= 45");
        ASSERT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); })) << run.output();
        db.exec(
            "UPDATE docs SET body = 'And once more, at ' || clock_timestamp() WHERE id <= 40; DELETE FROM docs WHERE id = 44");
        ASSERT_TRUE(kit::eventually([&] {
            return db.value("SELECT count(*) FROM homeostat_data.p1_r1_document") == "59" &&
                   kit::broken_invariants(db, "docs", kWanted).empty();
        })) << run.output();
        EXPECT_NE(db.value("SELECT string_agg(document_id::text, ',' ORDER BY key_1) FROM homeostat_data.p1_r1_document"), ids);
        EXPECT_GT(number("SELECT count(*) FROM homeostat_data.p1_r1_journal WHERE change = 'superseded'"), 0);
        if (put_away) {
            EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
        }
        const kit::Program::Outcome done = roll_back({"--to", "before", "--timeout", "30s"});
        ASSERT_EQ(done.exit.code, 0) << done.output << run.output();
        EXPECT_EQ(stored(), before) << put_away;
        EXPECT_EQ(number("SELECT count(*) FROM homeostat.rollback_entry"), 0);
        if (put_away) break;
        resume();
        ASSERT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); })) << run.output();
        db.exec("INSERT INTO docs SELECT 44, 'Back.', 'x', 0");
        ASSERT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); })) << run.output();
        ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
        EXPECT_EQ(homeostat.run({"checkpoint", "docs", "before", "--drop"}).exit.code, 0);
        EXPECT_EQ(homeostat.run({"checkpoint", "docs", "before", "--timeout", "20s"}).exit.code, 0);
    }
    resume();
    end_converged(run, "docs", kWanted);
}

TEST_F(Rollback, KilledAnywhereItIsTakenUpAgain) {
    for (const std::string_view point : kRollbackFaultPoints) {
        const std::string before = stored();
        change();
        run_once(kConverged);
        ASSERT_EQ(roll_back({"--no-wait"}).exit.code, 0);
        const kit::Program::Outcome doomed = homeostat.run_once({{"HOMEOSTAT_FAULT_POINT", std::string(point)}});
        EXPECT_EQ(doomed.exit.signal, SIGKILL) << point << doomed.output;
        if (point != "rollback.after_end") {
            const kit::Program::Outcome early = homeostat.run({"resume", "docs"});
            EXPECT_EQ(early.exit.code, kFailed) << point;
            EXPECT_THAT(early.output, HasSubstr("is being rolled back at this moment"));
            EXPECT_THAT(refused({}), HasSubstr("is being rolled back to"));
        }
        homeostat.run_once();
        EXPECT_EQ(last(), "done") << point;
        EXPECT_EQ(stored(), before) << point;
        resume();
        run_once(kConverged);
        expect_converged("docs", kWanted);
        undo_in_source();
        run_once(kConverged);
    }
}

// A large journal takes long to be planned: only the lease is held meanwhile.
TEST_F(Rollback, NobodyWaitsForThePipelineWhileItIsPlanned) {
    const std::string before = stored();
    change();
    run_once(kConverged);
    ASSERT_EQ(roll_back({"--no-wait"}).exit.code, 0);
    kit::Sql other(db.url());
    other.exec("BEGIN; LOCK TABLE homeostat.rollback_entry IN SHARE MODE");
    kit::Process run = homeostat.start({"run", "--once"});
    ASSERT_TRUE(eventually_is(
        "SELECT count(*) FROM pg_locks WHERE relation = 'homeostat.rollback_entry'::regclass AND NOT granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
        "1"))
        << run.output();
    EXPECT_EQ(db.value("SELECT state || ' ' || planned FROM homeostat.rollback"), "running false");
    EXPECT_NO_THROW(db.exec("BEGIN; SELECT FROM homeostat.pipeline FOR UPDATE NOWAIT; COMMIT"));
    other.exec("ROLLBACK");
    run.wait(std::chrono::seconds(60));
    EXPECT_EQ(last(), "done") << run.output();
    EXPECT_EQ(stored(), before);
}

TEST_F(Rollback, GoesBackFurtherThroughSeveralRunsAndForwardAgain) {
    checkpoint("first");
    const std::string first = stored();
    for (int i = 0; i < 3; ++i) {
        db.exec("UPDATE docs SET body = replace(body, 'Sentence 1 ', 'Sentence 1 or " + std::to_string(i) +
                " ') WHERE id <= 20; DELETE FROM docs WHERE id = 40 + " + std::to_string(i));
        run_once(kConverged);
    }
    const std::string last_run = db.value("SELECT max(id) FROM homeostat.run_history WHERE healed <> '{}'");
    go_back({"--run", last_run});
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_r1_document"), "58");
    EXPECT_THAT(refused({"--to", "run-" + std::to_string(std::stoi(last_run) + 1)}), HasSubstr("it has no checkpoint"))
        << "what it named is not there any more";
    go_back({"--to", "first"});
    EXPECT_EQ(stored(), first);
    resume();
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

// Documents are told apart by the order of their keys' types, wherever those come from, and have the spelling that they had.
TEST_F(Rollback, KeysOfSeveralColumnsThatMayBeSpelledOtherwise) {
    db.exec(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;"
        "CREATE TABLE pairs (a ext.citext, b numeric, body text, PRIMARY KEY (a, b));"
        "INSERT INTO pairs SELECT 'Name ' || i % 3, i, 'The text of number ' || i FROM generate_series(1, 20) i");
    declare("pairs", "pairs", "content, chunk_size, max_prune_ratio", "'body', 16, 1");
    run_once(kConverged);
    const std::string all =
        "SELECT md5(string_agg(d::text, '|' ORDER BY d.document_id)) || (SELECT md5(string_agg(c::text, '|'"
        " ORDER BY c.document_id, c.number)) FROM homeostat_data.p2_r1_chunk c) FROM"
        " homeostat_data.p2_r1_document d";
    const std::string before = db.value(all);
    db.exec(
        "UPDATE pairs SET a = upper(a::text)::ext.citext, b = b + 0.00 WHERE b <= 5;"
        "UPDATE pairs SET body = body || ', and more' WHERE b BETWEEN 4 AND 8; DELETE FROM pairs WHERE b IN (9, 10);"
        "INSERT INTO pairs VALUES ('name 9', 9, 'Of another'), ('NAME 1', 10.0, 'Of the same')");
    run_once(kConverged);
    EXPECT_NE(db.value(all), before);
    ASSERT_EQ(homeostat.run({"rollback", "pairs", "--no-wait"}).exit.code, 0);
    const kit::Program::Outcome done = homeostat.run_once();
    EXPECT_EQ(last(), "done") << done.output;
    EXPECT_EQ(db.value(all), before);
    EXPECT_EQ(homeostat.run({"resume", "pairs"}).exit.code, 0);
    run_once(kConverged);
    expect_converged("pairs", "SELECT a::text || '|' || b::text, body FROM pairs");
}

TEST_F(Rollback, AnErasedDocumentIsNeverBroughtBack) {
    checkpoint("before");
    db.exec("UPDATE docs SET body = 'Zyxwvut, ' || body WHERE id IN (6, 7)");
    run_once(kConverged);
    db.exec("DELETE FROM docs WHERE id IN (7, 8)");
    run_once(kConverged);
    ASSERT_EQ(homeostat.run({"erase", "docs", "7", "--no-wait"}).exit.code, 0);
    run_once(kConverged);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.erasure WHERE state = 'erased'"), 1);
    go_back({"--to", "before"});
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_r1_document WHERE key_1 IN (7, 8)"), "1") << "8 alone";
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_r1_chunk c LEFT JOIN homeostat_data.p1_r1_document d USING"
                       " (document_id) WHERE d.document_id IS NULL"),
              "0");
    resume();
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

// What pins it belongs to the rollback.
TEST_F(Rollback, NobodyTakesThePinAwayButByResumingIt) {
    change();
    run_once(kConverged);
    go_back({});
    db.exec("UPDATE homeostat.pipeline SET pinned = NULL");
    EXPECT_EQ(db.value("SELECT pinned FROM homeostat.pipeline"), "rollback");
    db.exec("INSERT INTO homeostat.rollback (pipeline, run) SELECT 'docs', min(id) FROM homeostat.run_history");
    db.exec("UPDATE homeostat.pipeline SET pinned = NULL");
    EXPECT_THROW(db.exec("UPDATE homeostat.pipeline SET suspend = false"), std::exception) << "under way";
    EXPECT_THROW(db.exec("UPDATE homeostat.pipeline SET suspend = false, pinned = NULL"), std::exception);
    homeostat.run_once();
    db.exec("UPDATE homeostat.pipeline SET cache_epoch = 100");
    EXPECT_EQ(db.value("SELECT cache_epoch FROM homeostat.pipeline"), "0") << "not to be written";
    db.exec("UPDATE homeostat.pipeline SET approval = 'what was undone'");
    db.exec("UPDATE homeostat.pipeline SET suspend = false");
    EXPECT_EQ(db.value("SELECT concat(pinned, '/', cache_epoch, '/', approval) FROM homeostat.pipeline"), "/1/")
        << "and an approval is of what was there then";
    run_once(kConverged);
}

TEST_F(Rollback, WhatCannotBeGoneBackToIsRefusedInASentence) {
    EXPECT_NE(roll_back({"--to", ""}).exit.code, 0) << "a script's unset name is not the last run";
    EXPECT_NE(homeostat.run({"checkpoint", "docs", "\u202eabc"}).exit.code, 0) << "nobody would see what it is called";
    EXPECT_THAT(refused({}), HasSubstr("there were no vectors at all")) << "the first fill is not undone by mistake";
    change();
    run_once(kConverged);
    checkpoint("good");
    EXPECT_THAT(refused({"--to", "goood"}), AllOf(HasSubstr("it has no checkpoint"), HasSubstr("did you mean \"good\"?")));
    EXPECT_THROW(
        {
            try {
                db.exec("INSERT INTO homeostat.own_checkpoint (pipeline, name) VALUES ('docs', NULL)");
            } catch (const std::exception& e) {
                EXPECT_THAT(e.what(), HasSubstr("pipeline \"docs\": a checkpoint needs a name"));
                throw;
            }
        },
        std::exception);
    EXPECT_THAT(refused({"--run", "99999"}), HasSubstr("it has no checkpoint \"run-99999\""));
    EXPECT_THAT(refused({"--run", "good"}), HasSubstr("is not the number of a run"));
    EXPECT_THAT(refused({"--run", "1", "--to", "good"}), HasSubstr("not both"));
    EXPECT_EQ(homeostat.run({"rollback", "dosc"}).exit.code, kFailed);
    EXPECT_EQ(homeostat.run({"checkpoint", "docs", "run-7"}).exit.code, kFailed);
    EXPECT_EQ(homeostat.run({"checkpoint", "docs", "good"}).exit.code, kFailed);
    EXPECT_EQ(homeostat.run({"checkpoint", "docs", "bad", "--drop"}).exit.code, kFailed);
    EXPECT_THAT(homeostat.run({"checkpoint", "docs"}).output, AllOf(HasSubstr("good"), HasSubstr("run-1"), HasSubstr("ready")));
    EXPECT_EQ(homeostat.run({"suspend", "docs", "--reason", "a holiday"}).exit.code, 0);
    EXPECT_THAT(refused({"--to", "good"}), AllOf(HasSubstr("it is suspended by"), HasSubstr("a holiday")));
    resume();
    db.exec(
        "INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, vector_type, state)"
        " SELECT uid, 2, settings, provider, 'other', dimensions, vector_type, 'building' FROM homeostat.revision");
    EXPECT_THAT(refused({"--to", "good"}), HasSubstr("it is under migration: revision 2 is being filled"));
    db.exec("DELETE FROM homeostat.revision WHERE revision = 2");
    const std::string before = stored();
    db.exec("UPDATE homeostat.revision SET journal_from = 1000000");
    EXPECT_THAT(refused({"--to", "good"}), AllOf(HasSubstr("is not kept any more"), HasSubstr("4 weeks")));
    EXPECT_THAT(homeostat.run({"get", "checkpoints", "docs"}).output, HasSubstr("gone"));
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.rollback"), 0) << "nothing of it is left";
    EXPECT_EQ(db.value("SELECT suspend OR pinned IS NOT NULL FROM homeostat.pipeline"), "f");
    EXPECT_EQ(stored(), before);
}

// The oldest checkpoint that is kept holds the journal; a name holds it longer; size ends both.
TEST_F(Rollback, TheJournalIsKeptByRunsNamesAgeAndSize) {
    const kit::Environment two{{"HOMEOSTAT_JOURNAL_RUNS", "2"}};
    const auto edit = [&] { db.exec("UPDATE docs SET body = 'Text of ' || clock_timestamp() WHERE id <= 10"); };
    const auto entries = [&] { return number("SELECT count(DISTINCT write_token) FROM homeostat_data.p1_r1_journal"); };
    for (int i = 0; i < 4; ++i) {
        edit();
        run_once(kConverged, two);
    }
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.checkpoint"), "2");
    const std::int64_t kept = entries();
    checkpoint("named");
    const std::string named = stored();
    for (int i = 0; i < 4; ++i) {
        edit();
        run_once(kConverged, two);
    }
    EXPECT_GT(entries(), kept);
    EXPECT_THAT(refused({"--run", "2"}), HasSubstr("no checkpoint"));
    go_back({"--to", "named"});
    EXPECT_EQ(stored(), named);
    resume();
    for (const std::string_view point : kRetentionFaultPoints) {
        edit();
        if (point == "checkpoint.before_commit") {
            ASSERT_EQ(homeostat.run({"checkpoint", "docs", "another", "--no-wait"}).exit.code, 0);
        }
        kit::Environment doomed = two;
        doomed["HOMEOSTAT_FAULT_POINT"] = std::string(point);
        EXPECT_EQ(homeostat.run_once(doomed).exit.signal, SIGKILL) << point;
        run_once(kConverged, two);
        expect_converged("docs", kWanted);
    }
    const std::string another = db.value("SELECT state FROM homeostat.checkpoint WHERE name = 'another'");
    EXPECT_EQ(another, "ready");
    run_once(kConverged, {{"HOMEOSTAT_JOURNAL_BYTES", "1"}});
    EXPECT_EQ(number("SELECT count(*) FROM homeostat_data.p1_r1_journal"), 0);
    EXPECT_THAT(refused({"--to", "named"}), HasSubstr("is not kept any more"));
    EXPECT_THAT(homeostat.run({"describe", "docs"}).output, HasSubstr("older than one of these: 4 weeks, 100 runs, 1 byte\n"));
}

}  // namespace
}  // namespace homeostat
