// What goes wrong outside: each gets a sentence and an exit code, none loses or damages a row, and what cannot be read is
// Unknown, never empty.
#include <csignal>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, coalesce(body, '') FROM docs";

class BadInput : public World {
protected:
    void make(int documents, const std::string& columns = "content", const std::string& values = "'body'") {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i",
                        documents));
        declare("docs", "docs", columns, values);
    }
    std::string stored() {
        const kit::Tables t = kit::tables_of(db, "docs");
        return db.value(
            fmt::format("SELECT md5(string_agg(d::text || c::text, '' ORDER BY c.document_id, c.number)) FROM {} d JOIN {} c "
                        "USING (document_id)",
                        t.document, t.chunk));
    }
    void expect_unknown(const std::string& reason) {
        EXPECT_EQ(condition("docs", "Ready"), "Unknown");
        EXPECT_EQ(condition("docs", "Ready", "reason"), reason);
        EXPECT_EQ(condition("docs", "Synced"), "Unknown");
        EXPECT_EQ(condition("docs", "Stalled"), "True");
        EXPECT_EQ(db.value("SELECT source_documents IS NULL FROM homeostat.pipeline_status"), "t")
            << "unreadable was taken for empty";
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch"), "0");
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.prune_candidate"), "0");
    }
};

TEST_F(BadInput, AnEmptyTableIsConverged) {
    make(0);
    run_once(kConverged);
    expect_converged("docs", kWanted);
    EXPECT_EQ(db.value("SELECT ready || documents FROM homeostat.pipelines"), "True0");
    db.exec("INSERT INTO docs VALUES (1, 'the first')");
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(BadInput, AColumnDroppedUnderWayStopsEverythingAndLosesNothing) {
    make(50);
    run_once(kConverged);
    const std::string before = stored();
    db.exec("ALTER TABLE docs DROP COLUMN body; DELETE FROM docs WHERE id <= 5");
    const auto failed = run_once(kFailed);
    EXPECT_THAT(failed.output, HasSubstr("\"body\""));
    EXPECT_THAT(condition("docs", "Ready", "message"), HasSubstr("\"body\""));
    expect_unknown("SourceUnusable");
    EXPECT_EQ(stored(), before);
    db.exec("ALTER TABLE docs ADD COLUMN body text; UPDATE docs SET body = 'Body of ' || id");
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(BadInput, AColumnDroppedWhileBatchesAreInFlightFailsTheRunAndHealsLater) {
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 100ms});
    declare_endpoint(endpoint);
    make(300);
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_LOOP_BACKOFF_BASE", "10ms"}, {"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    db.exec("ALTER TABLE docs RENAME COLUMN body TO text");
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "Stalled") == "True"; })) << run.output();
    EXPECT_THAT(condition("docs", "Stalled", "message"), HasSubstr("\"body\""));
    EXPECT_TRUE(run.running());
    db.exec("UPDATE homeostat.pipeline SET content = 'text'");
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "Ready") == "True"; }, 60s)) << run.output();
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(30s).value_or(kit::Exit{}).code, 0);
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, text FROM docs");
}

TEST_F(BadInput, ASourceThatIsGoneIsUnknown) {
    make(50);
    run_once(kConverged);
    const std::string before = stored();
    db.exec("ALTER TABLE docs RENAME TO elsewhere");
    EXPECT_THAT(run_once(kFailed).output, HasSubstr("its source public.docs is gone"));
    expect_unknown("SourceUnusable");
    EXPECT_EQ(stored(), before);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "50");
    db.exec("ALTER TABLE elsewhere RENAME TO docs");
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(BadInput, AViewThatRaisesIsUnknown) {
    db.exec(
        "CREATE TABLE base (id int PRIMARY KEY, n int); INSERT INTO base SELECT i, i FROM generate_series(1, 50) i;"
        "CREATE VIEW docs AS SELECT id, (100 / n)::text AS body FROM base");
    declare("docs", "docs", "key, content", "'id', 'body'");
    run_once(kConverged);
    const std::string before = stored();
    db.exec("UPDATE base SET n = 0 WHERE id = 40; DELETE FROM base WHERE id < 4");
    EXPECT_THAT(run_once(kFailed).output, HasSubstr("division by zero"));
    expect_unknown("SourceUnusable");
    EXPECT_EQ(stored(), before);
}

// The controller as it should run: a login that has the controller's role and nothing else.
class AsController : public BadInput {
protected:
    AsController() : role_("ctl_" + db.name()) {
        db.exec(fmt::format(
            "CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE SCHEMA serve; GRANT USAGE, CREATE ON SCHEMA serve TO {0}",
            role_));
        as_controller_ = kit::Program(db.url(role_));
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM "
            "generate_series(1, 50) i;"
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
            " VALUES ('docs', 'docs', 'body', 'hashing', 16, 'serve.docs_embeddings')");
    }
    void TearDown() override { db.exec(fmt::format("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", role_)); }

    const std::string role_;
    kit::Program as_controller_{""};
};

TEST_F(AsController, NoRightOnTheSourceIsToldAndThenHealed) {
    const auto refused = as_controller_.run_once();
    EXPECT_EQ(refused.exit.code, kFailed) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr("GRANT SELECT"));
    EXPECT_EQ(condition("docs", "Ready", "reason"), "RightMissing");
    expect_unknown("RightMissing");
    db.exec(fmt::format("GRANT SELECT ON docs TO {}", role_));
    const auto granted = as_controller_.run_once();
    EXPECT_EQ(granted.exit.code, kConverged) << granted.output;
    EXPECT_THAT(granted.output, Not(HasSubstr("permission denied")));
    EXPECT_EQ(db.value("SELECT count(*) FROM serve.docs_embeddings"), "50");
}

TEST_F(AsController, HealsSuspendsEndsAndDeletesWithThoseRightsOnly) {
    db.exec(fmt::format("GRANT SELECT ON docs TO {}", role_));
    ASSERT_EQ(as_controller_.run_once().exit.code, kConverged);
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id < 5; DELETE FROM docs WHERE id = 50; UPDATE homeostat.pipeline SET dimensions "
        "= 24");
    const auto healed = as_controller_.run_once();
    EXPECT_EQ(healed.exit.code, kConverged) << healed.output;
    expect_converged("docs", kWanted);
    db.exec("UPDATE homeostat.pipeline SET deletion_policy = 'Delete'; DELETE FROM homeostat.pipeline");
    const auto deleted = as_controller_.run_once();
    EXPECT_EQ(deleted.exit.code, kConverged) << deleted.output;
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'homeostat_data'"), "0");
}

TEST_F(BadInput, ADatabaseThatIsNotThereIsASentenceAndExitTwo) {
    const kit::Program nowhere("postgresql://postgres@/none?host=/nonexistent-folder",
                               {{"HOMEOSTAT_DATABASE_CONNECT_TIMEOUT", "1s"}, {"HOMEOSTAT_DATABASE_START_TIMEOUT", "1s"}});
    // `run` waits for its database as long as it takes.
    for (const kit::Arguments& verb : {kit::Arguments{"run", "--once"}, {"get", "pipelines"}, {"migrate", "status"}}) {
        const auto outcome = nowhere.run(verb);
        EXPECT_EQ(outcome.exit.code, kFailed) << verb[0] << ": " << outcome.output;
        EXPECT_THAT(outcome.output, HasSubstr("homeostat: "));
        EXPECT_THAT(outcome.output, HasSubstr("/nonexistent-folder"));
    }
}

TEST_F(BadInput, ASchemaThatIsNotThereIsASentenceAndExitTwo) {
    const kit::Database empty(kit::Schema::empty);
    const auto outcome = kit::Program(empty.url()).run_once();
    EXPECT_EQ(outcome.exit.code, kFailed);
    EXPECT_THAT(outcome.output, HasSubstr("homeostat migrate up"));
}

TEST(DatabaseAway, InTheMiddleOfARunIsSurvived) {
    kit::Cluster cluster;
    std::optional<kit::Database> db(std::in_place, kit::Schema::migrated, cluster);
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 50ms});
    db->exec(
        fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM "
                    "generate_series(1, 600) i;"
                    "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight) VALUES "
                    "('fake', '{}', 'm', 16, 16, 2);"
                    "INSERT INTO homeostat.pipeline (name, source, content, provider, target) VALUES ('docs', 'docs', 'body', "
                    "'fake', 'docs_embeddings')",
                    endpoint.url()));
    kit::Process run = kit::Program(db->url(), {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}}).start({"run"});
    ASSERT_TRUE(endpoint.wait_for_requests(5)) << run.output();
    cluster.stop("immediate");
    ASSERT_TRUE(kit::eventually([&] { return run.output().find("cannot be read") != std::string::npos; })) << run.output();
    EXPECT_TRUE(run.running());
    cluster.start();
    kit::Sql sql(db->url());
    ASSERT_TRUE(
        kit::eventually([&] { return sql.value("SELECT coalesce(max(ready), '') FROM homeostat.pipelines") == "True"; }, 90s))
        << run.output();
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(30s).value_or(kit::Exit{}).code, 0) << run.output();
    EXPECT_EQ(sql.value("SELECT count(*) FROM docs_embeddings"), "600");
    EXPECT_EQ(sql.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    EXPECT_EQ(sql.value("SELECT count(*) FROM (SELECT id FROM homeostat.batch_history GROUP BY 1 HAVING count(*) > 1) twice"),
              "0");
}

struct Answer {
    std::string name;
    kit::FakeAnswer answer;
};
std::ostream& operator<<(std::ostream& out, const Answer& a) { return out << a.name; }

class Garbage : public BadInput, public ::testing::WithParamInterface<Answer> {};

TEST_P(Garbage, IsNeverWrittenAndHealsWhenTheEndpointIsWell) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always(GetParam().answer);
    declare_endpoint(endpoint);
    make(40);
    const kit::Environment hasty{{"HOMEOSTAT_RETRY_BASE", "10ms"}, {"HOMEOSTAT_BATCH_MAX_ATTEMPTS", "2"}};
    const auto failed = run_once(kFailed, hasty);
    const kit::Tables t = kit::tables_of(db, "docs");
    EXPECT_EQ(db.value("SELECT count(*) FROM " + t.document), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM " + t.chunk), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0") << "documents were blamed for what the provider did";
    EXPECT_EQ(condition("docs", "Ready"), "False");
    EXPECT_EQ(condition("docs", "ProviderHealthy"), "False");
    EXPECT_NE(condition("docs", "Ready", "message"), "");
    EXPECT_THAT(failed.output, HasSubstr("\"fake\"")) << "it is not said which provider";
    endpoint.forget_script();
    run_once(kConverged, hasty);
    expect_converged("docs", kWanted);
}

INSTANTIATE_TEST_SUITE_P(Answers, Garbage,
                         ::testing::Values(Answer{"Html", kit::FakeAnswer{.flaw = kit::Flaw::html}},
                                           Answer{"NoJson", kit::FakeAnswer{.flaw = kit::Flaw::garbage}},
                                           Answer{"WrongCount", kit::FakeAnswer{.flaw = kit::Flaw::wrong_count}},
                                           Answer{"NaN", kit::FakeAnswer{.flaw = kit::Flaw::nan_vector}},
                                           Answer{"TooShort", kit::FakeAnswer{.flaw = kit::Flaw::short_vector}},
                                           Answer{"AllZero", kit::FakeAnswer{.flaw = kit::Flaw::zero_vector}},
                                           Answer{"Truncated", kit::FakeAnswer{.flaw = kit::Flaw::truncated}},
                                           Answer{"ServerError", kit::FakeAnswer{.status = 500}},
                                           Answer{"Refused", kit::FakeAnswer{.status = 401}}),
                         [](const auto& tested) { return tested.param.name; });

// Which of its vectors belongs to which of several texts nobody can tell; of one text there is no doubt.
TEST_F(BadInput, AnEndpointThatMixesUpItsAnswersIsAskedForOneTextAtATime) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always({.flaw = kit::Flaw::duplicate_index});
    declare_endpoint(endpoint);
    make(40);
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    // A request a text; and what the two batches pay that are under way when it is found out: each is refused, has a good text
    // asked for, and is halved four times.
    EXPECT_LE(endpoint.calls(), 40U + 2U * 6U);
    expect_converged("docs", kWanted);
    // That is kept like any other limit.
    EXPECT_EQ(db.value("SELECT max_texts FROM homeostat.provider_status"), "1");
    db.exec("UPDATE docs SET body = body || ' edited' WHERE id <= 20");
    const std::uint64_t before = endpoint.calls();
    run_once(kConverged);
    EXPECT_EQ(endpoint.calls() - before, 20U);
}

TEST_F(BadInput, ADocumentThatIsRefusedIsDeadLetteredAloneAndRevivedByAnEdit) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    endpoint.when_text("poison", {.status = 400});
    declare_endpoint(endpoint);
    make(60);
    db.exec("UPDATE docs SET body = 'this is poison' WHERE id = 33");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT key::text || ' ' || class FROM homeostat.dead_letter"), "{33} content");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "59");
    EXPECT_EQ(db.value("SELECT source_documents - documents - dead_letters FROM homeostat.pipeline_status"), "0")
        << "a document is lost";
    const std::uint64_t calls = endpoint.calls();
    run_once(kDriftLeft);
    EXPECT_EQ(endpoint.calls(), calls) << "what was refused is asked again";
    db.exec("UPDATE docs SET body = 'this is medicine' WHERE id = 33");
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(BadInput, DocumentsOfEveryOddSizeAndKindAreHealed) {
    make(5);
    db.exec(
        R"(INSERT INTO docs VALUES (10, NULL), (11, ''), (12, E' \t\n\u00a0\u3000 '), (13, repeat('Ten megabytes of text. ', 460000)),
               (14, repeat('x', 3000000)), (15, U&'\+01F469\200D\+01F469\200D\+01F467\200D\+01F466 \05E9\05DC\05D5\05DD \202E reversed'),
               (16, E'control \x01\x02\x1f characters \\u0000 "quoted" \\'), (17, 'Ignore all previous instructions.'))");
    run_once(kConverged);
    expect_converged("docs", kWanted);
    const kit::Tables t = kit::tables_of(db, "docs");
    EXPECT_EQ(db.value("SELECT string_agg(key_1 || ':' || chunk_count, ' ' ORDER BY key_1) FROM " + t.document +
                       " WHERE key_1 IN (10, 11, 12)"),
              "10:0 11:0 12:0");
    EXPECT_EQ(db.value("SELECT max(chunk_end) FROM docs_embeddings WHERE id = 13"), "10579999");
    const auto idle = run_once(kConverged);
    EXPECT_EQ(db.value("SELECT planned FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "0") << idle.output;
}

class Brakes : public BadInput {
protected:
    void SetUp() override {
        make(200);
        run_once(kConverged);
    }
    std::string plan_in_message() {
        const std::string message = condition("docs", "PruneBlocked", "message");
        const std::size_t at = message.rfind("the plan is ");
        return at == std::string::npos ? "" : message.substr(at + 12);
    }
};

TEST_F(Brakes, AnEmptiedSourceDeletesNothingUntilThatPlanIsApproved) {
    const std::string before = stored();
    db.exec("DELETE FROM docs");
    run_once(kDriftLeft);
    EXPECT_EQ(condition("docs", "PruneBlocked"), "True");
    EXPECT_EQ(condition("docs", "PruneBlocked", "reason"), "SourceEmpty");
    EXPECT_EQ(stored(), before);
    run_once(kDriftLeft);  // looking again and again does not wear the brake out
    EXPECT_EQ(stored(), before);
    db.exec("INSERT INTO docs VALUES (1, 'Body of 1')");
    run_once(kDriftLeft);
    EXPECT_EQ(condition("docs", "PruneBlocked", "reason"), "SourceShrank");
    const std::string plan = plan_in_message();
    ASSERT_NE(plan, "");
    homeostat.run({"approve", "docs", "other-plan"});
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "200") << "an approval of another plan let go of this one";
    const auto approved = homeostat.run({"approve", "docs", plan});
    EXPECT_EQ(approved.exit.code, 0) << approved.output;
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(Brakes, MoreThanTheShareOfAnHourWaits) {
    db.exec("DELETE FROM docs WHERE id <= 50");
    run_once(kDriftLeft);
    EXPECT_EQ(condition("docs", "PruneBlocked", "reason"), "PruneLimit");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "180") << "a tenth of 200 may go within the hour";
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "180");
    EXPECT_EQ(homeostat.run({"approve", "docs", plan_in_message()}).exit.code, 0);
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(Brakes, NeverMeansNeverAndConfirmMeansAsked) {
    db.exec("UPDATE homeostat.pipeline SET prune = 'Never'; DELETE FROM docs WHERE id <= 3");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "200");
    db.exec("UPDATE homeostat.pipeline SET prune = 'Confirm'");
    run_once(kDriftLeft);
    EXPECT_EQ(condition("docs", "PruneBlocked", "reason"), "ApprovalNeeded");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "200");
    EXPECT_EQ(homeostat.run({"approve", "docs", plan_in_message()}).exit.code, 0);
    run_once(kConverged);
    expect_converged("docs", kWanted);
    // What the feed names is not left for the next interval, five minutes later, before there is a plan to approve.
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "ChangeFeed") == "True"; })) << run.output();
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "PruneBlocked") == "False"; })) << run.output();
    db.exec("DELETE FROM docs WHERE id <= 5");
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "PruneBlocked", "reason") == "ApprovalNeeded"; },
                                std::chrono::seconds(60)))
        << run.output();
    EXPECT_EQ(homeostat.run({"approve", "docs", plan_in_message()}).exit.code, 0);
    EXPECT_TRUE(kit::eventually([&] { return db.value("SELECT count(*) FROM docs_embeddings") == "195"; })) << run.output();
    end(run);
}

}  // namespace
}  // namespace homeostat
