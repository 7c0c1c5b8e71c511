// Revisions as a person uses them: a kept one is served again at once and follows, a fill is stopped and stays so, one is dropped
// and its number is not given again; and what may not be asked is refused with a sentence.
#include <atomic>
#include <thread>

#include "tests/chaos/audit_vectors.hpp"
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";
constexpr const char* kStates = "SELECT string_agg(revision || ' ' || state, ', ' ORDER BY revision) FROM homeostat.revision";

class Revisions : public FeedWhole {
protected:
    void begin(int documents, const std::string& columns = "", const std::string& values = "") {
        make(documents);
        declare_endpoint(fake);
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                        " VALUES ('other', '{}', 'n', 16, 16, 2)",
                        other.url()));
        declare_docs(columns, values);
    }
    // Revision 1 is kept, revision 2 is served.
    void move_on(kit::Process& run, const std::string& declaration = "provider = 'other'") {
        db.exec("UPDATE homeostat.pipeline SET " + declaration);
        ASSERT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
        ASSERT_TRUE(settled()) << run.output();
    }
    bool settled() {
        return eventually_is("SELECT NOT EXISTS (SELECT FROM homeostat.run) AND NOT EXISTS (SELECT FROM homeostat.batch)", "t");
    }
    kit::Program::Outcome revisions(const kit::Arguments& more = {}) {
        kit::Arguments all{"revisions", "docs"};
        all.insert(all.end(), more.begin(), more.end());
        return homeostat.run(all);
    }
    void expect_done(const kit::Arguments& more, kit::Process& run) {
        const kit::Program::Outcome done = revisions(more);
        EXPECT_EQ(done.exit.code, 0) << done.output << run.output();
    }
    void expect_refused(const kit::Arguments& more, const std::string& why) {
        const kit::Program::Outcome refused = revisions(more);
        EXPECT_EQ(refused.exit.code, 2) << refused.output;
        EXPECT_THAT(refused.output, HasSubstr(why));
    }
    std::string pinned() { return condition("docs", "RevisionPinned"); }
    void expect_one_model() { EXPECT_THAT(chaos::wrong_vectors(db.sql(), "docs_embeddings", 0), IsEmpty()); }

    kit::FakeEndpoint fake{{.dimensions = 16}};
    kit::FakeEndpoint other{{.dimensions = 16, .salt = "other"}};
};

// What the brakes hold in the revision that is searched is not lost by the next one's taking over.
TEST_F(Revisions, OneThatHasFewerDocumentsTakesOverWhenThatIsApproved) {
    struct Brake {
        const char* name;
        const char* prune;
        const char* gone;
        const char* reason;
        std::int64_t left;
    };
    for (const Brake& b :
         {Brake{"shrank", "Auto", "id > 20", "SourceShrank", 20}, Brake{"confirm", "Confirm", "id > 95", "ApprovalNeeded", 95},
          Brake{"never", "Never", "id > 95", "PruneNever", 95}}) {
        SCOPED_TRACE(b.name);
        db.exec("UPDATE homeostat.pipeline SET deletion_policy = 'Delete'; DELETE FROM homeostat.pipeline");
        homeostat.run_once();
        db.exec("DROP TABLE IF EXISTS docs");
        make(100);
        declare("docs", "docs", "content, prune, capture", fmt::format("'body', '{}', 'Off'", b.prune));
        run_once(kConverged);
        db.exec(fmt::format("DELETE FROM docs WHERE {}", b.gone));
        db.exec("UPDATE homeostat.pipeline SET chunk_size = 300");
        homeostat.run_once();
        EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "100");
        EXPECT_EQ(condition("docs", "PruneBlocked", "reason"), b.reason);
        EXPECT_THAT(db.value("SELECT message FROM homeostat.condition WHERE type = 'PruneBlocked'"),
                    HasSubstr("does not take over"));
        homeostat.run_once();
        EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "100") << "also the second time";
        const std::string plan = db.value("SELECT blocked_plan FROM homeostat.pipeline_status");
        EXPECT_EQ(homeostat.run({"approve", "docs", plan}).exit.code, 0);
        homeostat.run_once();
        EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), b.left);
        EXPECT_EQ(condition("docs", "PruneBlocked"), "False");
    }
}

TEST_F(Revisions, AKeptOneIsServedAgainAtOnceAndFollows) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    const std::uint64_t fakes = fake.texts();
    const std::uint64_t others = other.texts();
    expect_done({"activate", "1", "--reason", "worse answers"}, run);
    EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'RevisionPinned' AND status = 'True'", "1"));
    ASSERT_TRUE(settled()) << run.output();
    EXPECT_EQ(fake.texts(), fakes) << "nothing is embedded for going back";
    expect_one_model();
    // It follows again, made by its own provider, and stays although another is declared.
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id = 2; INSERT INTO docs VALUES (100, 'New', 'x'); DELETE FROM docs WHERE id = 3");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(fake.texts(), fakes + 2);
    EXPECT_EQ(other.texts(), others);
    expect_one_model();
    EXPECT_EQ(condition("docs", "Ready") + ' ' + condition("docs", "Ready", "reason"), "False RevisionPinned");
    EXPECT_THAT(condition("docs", "Ready", "message"), AllOf(HasSubstr("worse answers"), HasSubstr("homeostat resume docs")));
    const std::string told = homeostat.run({"describe", "docs"}).output;
    EXPECT_THAT(told, AllOf(HasSubstr("Pinned: revision 1, by postgres"), HasSubstr("worse answers"),
                            HasSubstr("What to do: homeostat resume docs")));
    // And on to what is declared: what is as it was is not paid for again.
    EXPECT_THAT(homeostat.run({"resume", "docs"}).output, HasSubstr("revision 1 is pinned no more"));
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    expect_one_model();
    EXPECT_EQ(other.texts(), others + 2);
    EXPECT_TRUE(eventually_is("SELECT status FROM homeostat.condition WHERE type = 'RevisionPinned'", "False"));
    end_converged(run, "docs", kWanted);
    EXPECT_EQ(condition("docs", "Ready"), "True");
}

// What changed while it was kept is healed in it once it is served, with its own settings; where no feed names changes, too.
TEST_F(Revisions, WhatChangedWhileItWasKeptIsHealedInIt) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run, "chunker = 'whole'"));
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id = 2; INSERT INTO docs VALUES (100, 'New', 'x'); DELETE FROM docs WHERE id = 3");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
    db.exec("UPDATE docs SET body = 'Edited again' WHERE id = 4");
    EXPECT_EQ(homeostat.run({"revisions", "docs", "activate", "1", "--no-wait"}).exit.code, 0);
    run_once(kConverged);
    EXPECT_TRUE(follows());
    EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    EXPECT_EQ(db.value("SELECT last_error FROM homeostat.pipeline_status"), "");
}

// Held: what is declared is not filled again until somebody says so.
TEST_F(Revisions, AFillThatIsStoppedStaysStopped) {
    begin(30);
    kit::Process run = start();
    other.withhold();
    db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
    ASSERT_TRUE(eventually_is(kStates, "1 served, 2 building")) << run.output();
    ASSERT_TRUE(eventually_is("SELECT coalesce((SELECT planned > 0 FROM homeostat.run WHERE revision = 2), false)", "t"))
        << run.output();
    const std::string told = revisions().output;
    EXPECT_THAT(told, AllOf(HasSubstr("filling"), HasSubstr("model m -> n"), HasSubstr("Revision 2: 0 of 30 documents filled")));
    EXPECT_THAT(homeostat.run({"describe", "docs"}).output, HasSubstr("Revision 2 (model m -> n): 0 of 30 documents"));
    // Beside the fill that is withheld, one batch that was paid for: 10 of 30 documents, 1,000,000 tokens.
    db.exec(
        "UPDATE homeostat.provider SET price_per_million_tokens = 0.5, currency = 'EUR' WHERE name = 'other';"
        "INSERT INTO homeostat.batch_history (id, uid, run_id, kind, class, outcome, claim_token, claimed_by, documents, written,"
        " dropped, chunks, embedded, tokens) SELECT 4711, uid, id, 'heal', 'missing', 'done', 0, 'somebody', 10, 10, 0, 10, 10,"
        " 1000000 FROM homeostat.run WHERE revision = 2");
    const std::string paid = "10 of 30 documents filled, 1,000,000 tokens paid (0.5 EUR, about 1 more to come), about ";
    for (const kit::Arguments& verb : {kit::Arguments{"revisions", "docs"}, {"describe", "docs"}, {"status"}})
        EXPECT_THAT(homeostat.run(verb).output, HasSubstr(paid)) << verb.front();
    EXPECT_THAT(homeostat.run({"describe", "docs", "-o", "json"}).output,
                AllOf(HasSubstr("\"fill\": {"), HasSubstr("\"costLeft\": 1"), HasSubstr("\"currency\": \"EUR\"")));
    EXPECT_THAT(homeostat.run({"watch", "docs", "--timeout", "10ms", "--interval", "10ms"}).output,
                AllOf(HasSubstr("of revision 2, which takes over from 1"), HasSubstr("1,000,000 tokens (0.5 EUR)")));
    expect_refused({"activate", "2"}, "revision 2 is being filled");
    expect_refused({"activate", "1"}, "homeostat revisions docs abort stops the fill of 2");
    expect_refused({"abort", "1"}, "revision 1 is not the one that is being filled; that is 2");
    expect_refused({"drop", "2"}, "revision 2 is being filled");
    expect_done({"abort"}, run);
    other.release();
    EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    EXPECT_THAT(revisions().output, AllOf(HasSubstr("aborted"), HasSubstr("serving, pinned")));
    ASSERT_TRUE(settled()) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 2");
    EXPECT_TRUE(follows()) << run.output();
    reconcile();
    EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    EXPECT_THAT(condition("docs", "Ready", "message"), HasSubstr("the fill of revision 2 was stopped"));
    expect_refused({"activate", "2"}, "revision 2 was never whole");
    expect_refused({"abort"}, "no revision is being filled");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
    expect_one_model();
    end_converged(run, "docs", kWanted);
}

TEST_F(Revisions, WhatMayNotBeAskedIsRefusedWithASentence) {
    begin(10);
    EXPECT_THAT(revisions().output, HasSubstr("has no revision yet"));
    expect_refused({"activate", "1"}, "there never was a revision 1; there is none yet");
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    expect_refused({"activate"}, "say which revision");
    expect_refused({"activate", "7"}, "there never was a revision 7; there is 1, 2");
    expect_refused({"activate", "2"}, "revision 2 is the one that is served");
    expect_refused({"drop", "2"}, "revision 2 is the one that is served");
    expect_refused({"drop", "9"}, "there never was a revision 9");
    expect_refused({"abort"}, "no revision is being filled");
    EXPECT_EQ(homeostat.run({"suspend", "docs"}).exit.code, 0);
    expect_refused({"activate", "1"}, "it is suspended");
    expect_refused({"drop", "1"}, "it is suspended");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    expect_done({"activate", "1"}, run);
    expect_refused({"activate", "1"}, "revision 1 is pinned already");
    expect_refused({"drop", "1"}, "revision 1 is the one that is served");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    ASSERT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
    ASSERT_TRUE(settled());
    end(run);
    // A request that nobody carries out is told, and forbids what it would undo.
    db.exec("DELETE FROM docs WHERE id = 3");
    EXPECT_EQ(homeostat.run({"erase", "docs", "3", "--no-wait"}).exit.code, 0);
    expect_refused({"activate", "1"}, "a document is being erased");
    expect_refused({"drop", "1"}, "a document is being erased");
    EXPECT_EQ(db.value("SELECT revision_pin IS NULL AND revision_drop IS NULL AND generation = 2 FROM homeostat.pipeline"), "t");
}

TEST_F(Revisions, ADroppedNumberIsNotGivenAgain) {
    begin(10);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    expect_done({"activate", "1"}, run);
    expect_done({"drop", "2"}, run);
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'p%\\_r2\\_%'"), "0");
    expect_refused({"activate", "2"}, "revision 2 was dropped; there is 1");
    expect_refused({"drop", "2"}, "revision 2 was dropped");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 3 served")) << run.output();
    end_converged(run, "docs", kWanted);
}

// Whoever reads a revision keeps it from being dropped, and is named.
TEST_F(Revisions, WhoeverReadsOneKeepsItFromBeingDropped) {
    begin(10);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    kit::Sql reader(db.url());
    reader.exec("BEGIN; SELECT count(*) FROM homeostat_data.p1_r1_document");
    const kit::Program::Outcome waited = revisions({"drop", "1", "--timeout", "4s"});
    EXPECT_EQ(waited.exit.code, 1) << waited.output;
    EXPECT_THAT(waited.output, HasSubstr("goes on without you"));
    EXPECT_EQ(revisions({"drop", "1", "--timeout", "2s"}).exit.code, 1) << "who asks again waits too";
    expect_refused({"activate", "1"}, "revision 1 is being dropped");
    reader.exec("COMMIT");
    EXPECT_TRUE(eventually_is(kStates, "2 served", 90s)) << run.output();
    end_converged(run, "docs", kWanted);
}

// Nobody makes its vectors any more: it is searched all the same, what went goes, and what cannot be embedded is told.
TEST_F(Revisions, OneWhoseProviderIsGoneIsServedAndSaysSo) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    db.exec("DELETE FROM homeostat.provider WHERE name = 'fake'");
    expect_done({"activate", "1"}, run);
    EXPECT_TRUE(
        eventually_is("SELECT status || ' ' || reason FROM homeostat.condition WHERE type = 'Stalled'", "True RevisionOutdated"))
        << run.output();
    EXPECT_THAT(condition("docs", "Stalled", "message"),
                AllOf(HasSubstr("no provider makes the vectors of revision 1"), HasSubstr("homeostat resume docs")));
    EXPECT_EQ(condition("docs", "Ready"), "False");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "20");
    expect_one_model();
    db.exec("DELETE FROM docs WHERE id = 3; UPDATE docs SET body = 'Edited' WHERE id = 4");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE id = 3", "0")) << run.output();
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id = 4"), "Body of 4");
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    end_converged(run, "docs", kWanted);
}

// The one that is declared fails: that is why somebody goes back, and it must not keep the older one from being healed.
TEST_F(Revisions, AFailingProviderOfWhatIsDeclaredIsNoHindrance) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    other.always({.status = 500});
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 2");
    EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.provider_status WHERE NOT healthy", "t")) << run.output();
    expect_done({"activate", "1"}, run);
    EXPECT_TRUE(follows()) << run.output();
    db.exec("UPDATE docs SET body = 'Edited again' WHERE id = 5");
    EXPECT_TRUE(follows()) << run.output();
    expect_one_model();
    end(run);
}

// What can be gone back to is kept before what cannot.
TEST_F(Revisions, AStoppedFillDoesNotTakeThePlaceOfWhatWasWhole) {
    begin(10);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(move_on(run));
    fake.withhold();
    db.exec("UPDATE homeostat.pipeline SET model = 'z', provider = 'fake'");
    ASSERT_TRUE(eventually_is(kStates, "1 retired, 2 served, 3 building")) << run.output();
    expect_done({"abort", "3"}, run);
    fake.release();
    ASSERT_TRUE(settled());
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << "one is kept beside it" << run.output();
    end(run);
    db.exec("UPDATE homeostat.revision SET retired_at = retired_at - interval '3 days'");
    EXPECT_EQ(homeostat.run({"run", "--once", "--set", "revision.keep_days=4"}).exit.code, 0);
    EXPECT_EQ(db.value(kStates), "1 retired, 2 served");
    EXPECT_EQ(homeostat.run({"run", "--once", "--set", "revision.keep_days=2"}).exit.code, 0);
    EXPECT_EQ(db.value(kStates), "2 served");
}

// vector and halfvec: the view is made again, and what was granted on it stays.
TEST_F(Revisions, GrantsStayWhereTheViewIsMadeAgain) {
    begin(10);
    kit::Process run = start();
    const std::string role = "reads_" + db.name();
    db.exec("CREATE ROLE " + role + "; GRANT SELECT ON docs_embeddings TO " + role);
    move_on(run, "vector_type = 'halfvec'");
    EXPECT_EQ(db.value("SELECT has_table_privilege('" + role + "', 'docs_embeddings', 'SELECT')"), "t");
    expect_done({"activate", "1"}, run);
    EXPECT_EQ(db.value("SELECT has_table_privilege('" + role + "', 'docs_embeddings', 'SELECT')"), "t");
    EXPECT_EQ(db.value("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND"
                       " attname = 'embedding'"),
              "vector");
    end(run);
    db.exec("DROP OWNED BY " + role + "; DROP ROLE " + role);
}

// Searchers meanwhile: prepared statements, a view of theirs, and nobody waits, fails, or sees nothing or two models.
TEST_F(Revisions, SearchersNoticeNothingOfASwap) {
    begin(40);
    kit::Process run = start();
    db.exec("CREATE VIEW mine AS SELECT id, chunk_text, embedding FROM docs_embeddings WHERE id <> 0");
    std::atomic<bool> stop{false};
    std::atomic<int> looks{0};
    std::vector<std::string> wrong;
    std::mutex m;
    std::vector<std::thread> searchers;
    for (int i = 0; i < 4; ++i) {
        searchers.emplace_back([&, i] {
            kit::Sql sql(db.url());
            sql.exec(
                "SET lock_timeout = '50ms'; SET search_path = public; PREPARE look AS SELECT count(*), min(chunk_text)"
                " FROM mine; PREPARE straight AS SELECT count(*), min(chunk_text) FROM docs_embeddings");
            while (!stop) {
                try {
                    const std::string n = *sql.query(i % 2 == 0 ? "EXECUTE look" : "EXECUTE straight").front()[0];
                    std::vector<std::string> mixed;
                    if (i == 0) mixed = chaos::wrong_vectors(sql, "mine", 0);
                    const std::lock_guard lock(m);
                    if (n != "40") wrong.push_back("it has " + n + " rows");
                    wrong.insert(wrong.end(), mixed.begin(), mixed.end());
                } catch (const std::exception& e) {
                    const std::lock_guard lock(m);
                    wrong.emplace_back(e.what());
                }
                ++looks;
            }
        });
    }
    for (int round = 0; round < 4; ++round) {
        if (round % 2 == 0 && round == 0) {
            db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
            EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
        } else if (round % 2 == 1) {
            expect_done({"activate", "1", "--timeout", "30s"}, run);
        } else {
            EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
            EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served")) << run.output();
        }
    }
    stop = true;
    for (std::thread& t : searchers) t.join();
    EXPECT_THAT(wrong, IsEmpty());
    EXPECT_GT(looks.load(), 100);
    end(run);
}

// Killed at each step of going back, of dropping and of going on: it ends as it was asked for.
TEST_F(Revisions, KilledAtItsFaultPointsItEndsAsItWasAskedFor) {
    const auto quick = [](const char* point) {
        kit::Environment e{{"HOMEOSTAT_LEASE_TTL", "3s"}, {"HOMEOSTAT_LEASE_RENEW", "1s"}, {"HOMEOSTAT_CLAIM_TTL", "5s"}};
        if (*point != '\0') e["HOMEOSTAT_FAULT_POINT"] = point;
        return e;
    };
    begin(20);
    {
        kit::Process run = start(quick(""));
        ASSERT_NO_FATAL_FAILURE(move_on(run));
        end(run);
    }
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 2; DELETE FROM docs WHERE id = 3");
    EXPECT_EQ(revisions({"activate", "1", "--no-wait"}).exit.code, 0);
    for (const char* point : {"revision.before_commit", "revision.after_commit", "finish.before_commit", "finish.after_commit"}) {
        kit::Process doomed = homeostat.start({"run"}, quick(point));
        EXPECT_EQ(doomed.wait(60s).value_or(kit::Exit{}).signal, SIGKILL) << point << '\n' << doomed.output();
        expect_one_model();
    }
    EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    EXPECT_TRUE(follows());
    EXPECT_EQ(revisions({"drop", "2", "--no-wait"}).exit.code, 0);
    {
        kit::Process doomed = homeostat.start({"run"}, quick("revision_drop.before_commit"));
        EXPECT_EQ(doomed.wait(60s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
        EXPECT_EQ(db.value(kStates), "1 served, 2 retired");
    }
    {
        kit::Process doomed = homeostat.start({"run"}, quick("revision_drop.after_commit"));
        EXPECT_EQ(doomed.wait(60s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
        EXPECT_EQ(db.value(kStates), "1 served");
    }
    EXPECT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    kit::Process last = homeostat.start({"run"}, quick(""));
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 3 served")) << last.output();
    end_converged(last, "docs", kWanted);
}

}  // namespace
}  // namespace homeostat
