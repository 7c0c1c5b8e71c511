// Nobody gains rights through homeostat: what is declared is its declarer's, and what is read for him is what he may read.
#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

class Trust : public TrustWorld {
protected:
    void expect_stalled(const std::string& pipeline, const std::string& sentence) {
        EXPECT_TRUE(comes_to(pipeline, "Stalled", "message", sentence)) << condition(pipeline, "Stalled", "message");
        EXPECT_EQ(condition(pipeline, "Stalled"), "True");
    }
};

TEST_F(Trust, WhoeverDeclaresIsWrittenDown) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(ann_).exec(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('hers', 'http://127.0.0.1:9', 'm', 16)");
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.pipeline"), ann_);
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.provider WHERE name = 'hers'"), ann_);
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.provider WHERE name = 'local'"), "postgres");
    EXPECT_THAT(refused(bob_, declaration("b", "bob.docs", "bob.b_v", fmt::format(", declared_by=, '{}'", ann_))),
                AllOf(HasSubstr("may not declare for role \"" + ann_ + "\"")));
    // An edit by another who may is no change of hands.
    db.exec("UPDATE homeostat.pipeline SET chunk_size = 50; UPDATE homeostat.provider SET rank = 5 WHERE name = 'hers'");
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.pipeline"), ann_);
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.provider WHERE name = 'hers'"), ann_);
    db.exec(fmt::format(
        "UPDATE homeostat.pipeline SET declared_by = '{}' WHERE name = 'a'; UPDATE homeostat.pipeline SET declared_by ="
        " '{}'",
        "postgres", ann_));
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.pipeline SET declared_by = 'nobody_at_all'"), HasSubstr("which does not exist"));
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.pipeline SET declared_by = '" + bob_ + "'"),
                HasSubstr("which it is no member of"));
}

// What `grants` prints is all that it takes: for the controller, for who declared, and for who searches.
TEST_F(Trust, WhatGrantsPrintsIsEnough) {
    as(ann_).exec("REVOKE ALL ON ann.docs FROM homeostat_controller; REVOKE ALL ON SCHEMA ann FROM homeostat_controller");
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    const kit::Program as_ann(db.url(ann_));
    const kit::Program::Outcome wanted = as_ann.run({"grants", "a", "--to", bob_, "--missing"});
    EXPECT_EQ(wanted.exit.code, kDriftLeft);
    for (const std::string grant :
         {"GRANT USAGE ON SCHEMA ann TO homeostat_controller;", "GRANT SELECT ON ann.docs TO homeostat_controller;",
          "GRANT TRIGGER ON ann.docs TO homeostat_controller;", "GRANT USAGE, CREATE ON SCHEMA ann TO homeostat_controller;"})
        EXPECT_THAT(wanted.output, HasSubstr("\n" + grant + "\n"));
    EXPECT_THAT(wanted.output, HasSubstr("GRANT SELECT ON ann.a_v TO " + bob_ + ";"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    // The last of them is for a view that is still to come.
    as(ann_).exec(wanted.output.substr(0, wanted.output.find("GRANT SELECT ON ann.a_v")));
    const kit::Program::Outcome healed = as_controller_.run_once();
    EXPECT_EQ(healed.exit.code, kConverged) << healed.output;
    const std::string left = as_ann.run({"grants", "a", "--to", bob_, "--missing"}).output;
    EXPECT_THAT(left, HasSubstr("searches; homeostat_controller owns the view and may grant this."));
    as(controller_).exec(left);
    EXPECT_EQ(as(bob_).value("SELECT count(*) FROM ann.a_v"), "5");
    const kit::Program::Outcome all = as_ann.run({"grants", "a", "--to", bob_});
    EXPECT_EQ(all.exit.code, kConverged) << all.output;
    EXPECT_THAT(all.output, HasSubstr("-- granted: GRANT TRIGGER ON ann.docs TO homeostat_controller;"));
    EXPECT_THAT(as_ann.run({"grants", "a", "--to", "nobody_at_all"}).output, HasSubstr("role \"nobody_at_all\" does not exist"));
    EXPECT_THAT(as_ann.run({"grants", "b"}).output, HasSubstr("does not exist"));
}

TEST_F(Trust, NobodyErasesNorReadsTheReceiptsOfAnother) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.own_erasure (pipeline, key) VALUES ('a', '{1}')"),
                HasSubstr("so role \"" + bob_ + "\" may not erase its documents"));
    EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.erasure (pipeline, key) VALUES ('a', '{1}')"),
                HasSubstr("permission denied"));
    EXPECT_THAT(
        refused(ann_, "INSERT INTO homeostat.own_erasure (pipeline, key, state, ended_at) VALUES ('a', '{1}', 'erased', now())"),
        HasSubstr("permission denied"));
    as(ann_).exec("INSERT INTO homeostat.own_erasure (pipeline, key) VALUES ('a', '{1}')");
    EXPECT_EQ(db.value("SELECT requested_by || state FROM homeostat.erasure"), ann_ + "requested");
    EXPECT_EQ(as(ann_).value("SELECT count(*) FROM homeostat.own_erasure"), "1");
    EXPECT_EQ(as(bob_).value("SELECT count(*) FROM homeostat.own_erasure"), "0");
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.own_erasure SET state = 'erased', ended_at = now(), key = NULL"),
                HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "DELETE FROM homeostat.own_erasure"), HasSubstr("permission denied"));
    // Whoever may take his pipeline away may do so beside a request.
    as(ann_).exec(
        "UPDATE homeostat.pipeline SET finalizers = '{}' WHERE name = 'a'; DELETE FROM homeostat.pipeline WHERE name = 'a'");
    EXPECT_EQ(db.value("SELECT state || coalesce(key::text, '') FROM homeostat.erasure"), "refused");
}

TEST_F(Trust, NobodySeesTheTracesOfAnother) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    EXPECT_EQ(number("SELECT count(DISTINCT uid) FROM homeostat.trace_part"), 2);
    for (const char* view : {"own_trace_part", "own_trace_batch"}) {
        EXPECT_EQ(as(ann_).value(fmt::format(
                      "SELECT string_agg(DISTINCT p.name, ',') FROM homeostat.{} t JOIN homeostat.pipeline p USING (uid)", view)),
                  "a");
    }
    EXPECT_THAT(refused(ann_, "SELECT * FROM homeostat.trace_part"), HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "SELECT * FROM homeostat.trace_batch"), HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "DELETE FROM homeostat.own_trace_part"), HasSubstr("permission denied"));
    const kit::Program as_ann(db.url(ann_));
    EXPECT_THAT(as_ann.run({"trace", "a"}).output, HasSubstr("of pipeline a"));
    EXPECT_THAT(as_ann.run({"trace", "a", "1"}).output, HasSubstr("document 1 of pipeline a"));
    const std::string of_bob = db.value(
        "SELECT run_id FROM homeostat.trace_part t JOIN homeostat.pipeline p USING (uid) WHERE p.name = 'b' AND run_id > 0 LIMIT "
        "1");
    EXPECT_THAT(as_ann.run({"trace", of_bob}).output, HasSubstr("no trace of run " + of_bob + " is kept"));
    EXPECT_THAT(as_ann.run({"trace", "b"}).output, HasSubstr("no trace of pipeline \"b\" is kept"));
}

TEST_F(Trust, NobodyTakesBackWhatIsAnothers) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.own_checkpoint (pipeline, name) VALUES ('a', 'x')"),
                HasSubstr("so role \"" + bob_ + "\" may not take checkpoints of it"));
    EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.own_rollback (pipeline, checkpoint) VALUES ('a', 'x')"),
                HasSubstr("so role \"" + bob_ + "\" may not roll it back"));
    EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.rollback (pipeline) VALUES ('a')"), HasSubstr("permission denied"));
    EXPECT_THAT(refused(bob_, "SELECT * FROM homeostat.rollback_entry"), HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "INSERT INTO homeostat.own_rollback (pipeline, entry) VALUES ('a', 1)"),
                HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.own_checkpoint SET entry = 1"), HasSubstr("permission denied"));
    EXPECT_THAT(refused(ann_, "INSERT INTO homeostat.own_rollback (pipeline, checkpoint) VALUES ('a', 'x')"),
                HasSubstr("it has no vectors yet"));
    db.exec(
        "INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, vector_type, state)"
        " SELECT uid, 1, '{}', 'hashing', 'm', 16, 'vector', 'served' FROM homeostat.pipeline WHERE name = 'a'");
    as(ann_).exec("INSERT INTO homeostat.own_checkpoint (pipeline, name) VALUES ('a', 'x')");
    EXPECT_EQ(as(ann_).value("SELECT created_by || state FROM homeostat.own_checkpoint"), ann_ + "requested");
    EXPECT_EQ(as(bob_).value("SELECT count(*) FROM homeostat.own_checkpoint"), "0");
    as(bob_).exec("DELETE FROM homeostat.own_checkpoint");
    EXPECT_THAT(refused(ann_, "INSERT INTO homeostat.own_rollback (pipeline, checkpoint) VALUES ('a', 'x')"),
                HasSubstr("is asked for, and not taken yet"));
    db.exec("UPDATE homeostat.checkpoint SET state = 'ready', entry = 0, revision = 1");
    as(ann_).exec("INSERT INTO homeostat.own_rollback (pipeline, checkpoint) VALUES ('a', 'x')");
    EXPECT_EQ(db.value("SELECT suspended_by || pinned || suspend FROM homeostat.pipeline WHERE name = 'a'"),
              ann_ + "rollbacktrue");
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.pipeline SET suspend = false WHERE name = 'a'"),
                HasSubstr("is being rolled back at this moment"));
}

TEST_F(Trust, WhatSomethingMayCostIsApprovedByWhoseItIs) {
    as(ann_).exec(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_tokens_per_day, max_tokens_per_run)"
        " VALUES ('hers', 'http://127.0.0.1:9', 'm', 16, 10, 10)");
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(ann_).exec("UPDATE homeostat.pipeline SET max_tokens_per_day = 10 WHERE name = 'a'");
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    as(bob_).exec("UPDATE homeostat.pipeline SET provider = 'hers', model = 'm', max_tokens_per_run = 20 WHERE name = 'b'");
    db.exec(
        "INSERT INTO homeostat.budget_use (scope, id, pipeline, day, tokens)"
        " SELECT 'pipeline', uid, uid, homeostat.today(), 10 FROM homeostat.pipeline WHERE name = 'a' UNION ALL"
        " SELECT 'run', 77, uid, homeostat.today(), 10 FROM homeostat.pipeline WHERE name = 'b';"
        "INSERT INTO homeostat.budget_use (scope, id, provider, day, tokens)"
        " SELECT 'provider', uid, uid, homeostat.today(), 10 FROM homeostat.provider WHERE name = 'hers';"
        "INSERT INTO homeostat.held_plan (uid, plan, generation, documents, tokens, cost, currency)"
        " SELECT uid, 'cost-1', generation, 1, 1, 1, 'USD' FROM homeostat.pipeline WHERE name = 'a'");
    // What is hers is not there for him; what holds him is, and is hers to lift.
    as(bob_).exec("UPDATE homeostat.own_held_plan SET approved_at = now()");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.held_plan WHERE approved_at IS NOT NULL"), "0");
    EXPECT_EQ(as(bob_).value("SELECT string_agg(scope, ' ' ORDER BY scope) FROM homeostat.own_budget_use"), "provider run");
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.own_budget_use SET grants = 1 WHERE scope = 'provider'"),
                HasSubstr("so role \"" + bob_ + "\" may not approve what it costs"));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.own_budget_use SET grants = 1 WHERE scope = 'run'"),
                HasSubstr("held by the budget that provider \"hers\" has of a run"));
    for (const std::string& role : {ann_, bob_}) {
        EXPECT_THAT(refused(role, "UPDATE homeostat.own_budget_use SET tokens = 0"), HasSubstr("permission denied"));
        EXPECT_THAT(refused(role, "UPDATE homeostat.budget_use SET grants = 1"), HasSubstr("permission denied"));
        EXPECT_THAT(refused(role, "DELETE FROM homeostat.own_budget_use"), HasSubstr("permission denied"));
    }
    as(ann_).exec(
        "UPDATE homeostat.own_budget_use SET grants = grants + 1; UPDATE homeostat.own_held_plan SET approved_at = now()");
    EXPECT_EQ(db.value("SELECT string_agg(scope || granted_by, ' ' ORDER BY scope) FROM homeostat.budget_use WHERE grants = 1"),
              "pipeline" + ann_ + " provider" + ann_);
    EXPECT_EQ(db.value("SELECT approved_by FROM homeostat.held_plan"), ann_);
    // Where his own is the lower one he may.
    as(bob_).exec("UPDATE homeostat.pipeline SET max_tokens_per_run = 5 WHERE name = 'b'");
    as(bob_).exec("UPDATE homeostat.own_budget_use SET grants = 1 WHERE scope = 'run'");
}

TEST_F(Trust, NobodyActsOnWhatIsAnothers) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(ann_).exec(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('hers', 'http://127.0.0.1:9', 'm', 16)");
    as(ann_).exec(
        "CREATE TABLE ann.tenants (name text, source text, content text, provider text, target text);"
        "INSERT INTO homeostat.target_view (name, relation) VALUES ('hers', 'ann.tenants')");
    const std::string before = db.value(
        "SELECT (SELECT string_agg(p::text, '') FROM homeostat.pipeline p) || (SELECT string_agg(p::text, '') FROM "
        "homeostat.provider p)"
        " || (SELECT string_agg(v::text, '') FROM homeostat.target_view v)");
    for (const char* sql : {"UPDATE homeostat.pipeline SET suspend = true",
                            "UPDATE homeostat.pipeline SET approval = 'x'",
                            "UPDATE homeostat.pipeline SET reconcile_requested = 'x'",
                            "UPDATE homeostat.pipeline SET chunk_size = 9",
                            "UPDATE homeostat.pipeline SET source = 'bob.docs'",
                            "UPDATE homeostat.pipeline SET target = 'bob.b'",
                            "UPDATE homeostat.pipeline SET declared_by = current_user",
                            "UPDATE homeostat.pipeline SET finalizers = '{}'",
                            "UPDATE homeostat.pipeline SET deletion_requested_at = now()",
                            "UPDATE homeostat.pipeline SET labels = '{\"a\": \"b\"}'",
                            "DELETE FROM homeostat.pipeline",
                            "UPDATE homeostat.provider SET endpoint = 'http://bob' WHERE name = 'hers'",
                            "UPDATE homeostat.provider SET credential = 'env:BOB' WHERE name = 'hers'",
                            "UPDATE homeostat.provider SET declared_by = current_user",
                            "DELETE FROM homeostat.provider WHERE name = 'hers'",
                            "DELETE FROM homeostat.provider WHERE name = 'local'",
                            "UPDATE homeostat.target_view SET relation = 'bob.docs'",
                            "UPDATE homeostat.target_view SET approval = 'x'",
                            "UPDATE homeostat.target_view SET suspend = true",
                            "UPDATE homeostat.target_view SET declared_by = current_user",
                            "DELETE FROM homeostat.target_view"})
        EXPECT_THAT(refused(bob_, sql),
                    AllOf(HasSubstr("it was declared by role \""), HasSubstr("so role \"" + bob_ + "\" may not change it")))
            << sql;
    EXPECT_EQ(before,
              db.value("SELECT (SELECT string_agg(p::text, '') FROM homeostat.pipeline p) || (SELECT string_agg(p::text, '') FROM"
                       " homeostat.provider p) || (SELECT string_agg(v::text, '') FROM homeostat.target_view v)"));
    // Who is a member of the role, or of homeostat_admin, may.
    db.exec(fmt::format("GRANT {} TO {}", ann_, bob_));
    as(bob_).exec("UPDATE homeostat.pipeline SET suspend = true");
    db.exec(fmt::format("REVOKE {} FROM {}; GRANT homeostat_admin TO {}", ann_, bob_, bob_));
    as(bob_).exec("UPDATE homeostat.pipeline SET suspend = false; DELETE FROM homeostat.provider WHERE name = 'hers'");
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.pipeline"), ann_);
}

TEST_F(Trust, WhatWasObservedIsShownToWhomItConcerns) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    endpoint.when_text("Body 2",
                       {.status = 400, .body = R"({"error": {"message": "no Body 2 here", "code": "content_filter"}})"});
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec("DELETE FROM bob.docs WHERE id = 2");
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    as_controller_.run_once();
    db.exec(
        "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, kind, class, priority, keys, documents, "
        "last_error)"
        " VALUES (1, 1, 1, 1, 1, 'heal', 'stale', 0, '{{key of ann}}', 1, 'quotes key of ann')");
    ASSERT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "1");
    ASSERT_NE(db.value("SELECT message FROM homeostat.pipelines WHERE name = 'a'"), "");
    for (const char* table : {"dead_letter", "batch"}) {
        EXPECT_EQ(as(ann_).value(fmt::format("SELECT count(*) FROM homeostat.own_{}", table)), "1") << table;
        EXPECT_EQ(as(bob_).value(fmt::format("SELECT count(*) FROM homeostat.own_{}", table)), "0") << table;
    }
    for (const char* table : {"pipeline_status", "run_history", "condition", "event", "batch_history"}) {
        EXPECT_NE(as(ann_).value(fmt::format("SELECT count(*) FROM homeostat.own_{}", table)), "0") << table;
        EXPECT_EQ(as(bob_).value(fmt::format("SELECT count(*) FROM homeostat.own_{} WHERE uid = 1", table)), "0") << table;
        EXPECT_THAT(refused(bob_, fmt::format("SELECT * FROM homeostat.{}", table)), HasSubstr("permission denied"));
    }
    for (const char* sql :
         {"SELECT * FROM homeostat.canary", "SELECT * FROM homeostat.event_default", "SELECT keys FROM homeostat.batch",
          "SELECT key FROM homeostat.dead_letter", "SELECT cursor FROM homeostat.run", "SELECT key FROM homeostat.unsteady",
          "SELECT name FROM homeostat.target_view_row"})
        EXPECT_THAT(refused(bob_, sql), HasSubstr("permission denied")) << sql;
    EXPECT_EQ(
        as(bob_).value(
            "SELECT message || (SELECT last_error FROM homeostat.waiting WHERE uid = 1) FROM homeostat.pipelines WHERE uid = 1"),
        "");
    EXPECT_THAT(as(ann_).value("SELECT last_error FROM homeostat.waiting WHERE uid = 1"), HasSubstr("key of ann"));
    EXPECT_NE(as(bob_).value("SELECT message FROM homeostat.pipelines WHERE name = 'b'"), "");
    as(bob_).exec("DELETE FROM homeostat.own_dead_letter");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "1");
    // The same through the program.
    const kit::Program anns(db.url(ann_));
    const kit::Program bobs(db.url(bob_));
    // Of another's it says what everybody may know, and not that nobody has looked.
    EXPECT_THAT(bobs.run({"describe", "pipeline", "a"}).output,
                AllOf(HasSubstr("shown to the role that declared it"), Not(HasSubstr("NotObserved"))));
    const auto watched = anns.run({"watch", "--timeout", "100ms"});
    EXPECT_EQ(watched.exit.code, 0) << watched.output;
    for (const auto& arguments : {std::vector<std::string>{"get", "events"},
                                  {"get", "runs"},
                                  {"get", "batches"},
                                  {"get", "pipelines"},
                                  {"dead-letters", "list"},
                                  {"describe", "pipeline", "b"}}) {
        const auto got = bobs.run(arguments);
        EXPECT_EQ(got.exit.code, 0) << arguments[1] << got.output;
        EXPECT_THAT(got.output, AllOf(Not(HasSubstr("key of ann")), Not(HasSubstr("no Body 2 here")))) << arguments[1];
    }
    EXPECT_THAT(anns.run({"dead-letters", "list"}).output, HasSubstr("no Body 2 here"));
    const auto retried = anns.run({"dead-letters", "retry", "a"});
    EXPECT_EQ(retried.exit.code, 0) << retried.output;
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

// What homeostat's own checks call is the server's, whatever is on the path of whoever declares.
TEST_F(Trust, AFunctionOnTheDeclarersPathOpensNothing) {
    as(bob_).exec(
        "CREATE FUNCTION bob.has_table_privilege(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION bob.has_table_privilege(regclass, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION bob.has_any_column_privilege(regclass, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION bob.has_column_privilege(regclass, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION bob.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION bob.format(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT ''x''';"
        "CREATE FUNCTION bob.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR bob.= (LEFTARG = text, RIGHTARG = text, FUNCTION = bob.never)");
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    const std::string path = "SET search_path = bob, pg_catalog; ";
    EXPECT_THAT(refused(bob_, path + declaration("b", "public.secret", "bob.b_v")),
                HasSubstr("may not read table public.secret"));
    EXPECT_THAT(refused(bob_, path + "UPDATE homeostat.pipeline SET suspend = true"), HasSubstr("it was declared by role"));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "1");
}

TEST_F(Trust, ASourceIsReadWithItsDeclarersRightsInEveryPass) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    as(ann_).exec("CREATE VIEW ann.shown AS SELECT id, body FROM ann.docs; GRANT SELECT ON ann.shown TO homeostat_controller");
    as(ann_).exec(declaration("a", "ann.shown", "ann.a_v"));
    kit::Process run = as_controller_.start({"run"});
    ASSERT_TRUE(comes_to("a", "Ready", "status", "True")) << run.output();
    const std::string before = served("ann.a_v");
    // The view now is one over what she may not read.
    as(ann_).exec("CREATE OR REPLACE VIEW ann.shown WITH (security_invoker) AS SELECT id, body FROM public.secret");
    const std::string sentence = "role \"" + ann_ + "\", who declared it, may not read column \"body\" of table public.secret";
    db.exec(fmt::format("GRANT SELECT (id) ON public.secret TO {}", ann_));
    expect_stalled("a", sentence);
    EXPECT_EQ(served("ann.a_v"), before);
    // A whole row holds what no column of it may be read.
    db.exec(fmt::format("GRANT SELECT (body) ON public.secret TO {}", ann_));
    as(ann_).exec(
        "CREATE OR REPLACE VIEW ann.shown WITH (security_invoker) AS SELECT id, secret::text AS body FROM public.secret");
    EXPECT_THAT(db.value("SELECT homeostat.refusal(p) FROM homeostat.pipeline p"), HasSubstr("may not read table public.secret"));
    for (const kit::FakeRequest& request : endpoint.requests()) EXPECT_THAT(request.http.body, Not(HasSubstr("the secret")));
    db.exec(fmt::format("GRANT SELECT ON public.secret TO {}", ann_));
    EXPECT_TRUE(comes_to("a", "Ready", "status", "True")) << condition("a", "Ready", "message") << run.output();
    EXPECT_THAT(served("ann.a_v"), HasSubstr("the secret"));
    end(run);
}

TEST_F(Trust, ARightThatWasTakenAwayEndsTheReading) {
    db.exec(
        fmt::format("CREATE TABLE public.shared (id int PRIMARY KEY, body text); INSERT INTO shared VALUES (1, 'First');"
                    "GRANT SELECT ON shared TO {}, homeostat_controller; GRANT TRIGGER ON shared TO homeostat_controller",
                    ann_));
    as(ann_).exec(declaration("a", "public.shared", "ann.a_v"));
    kit::Process run = as_controller_.start({"run"});
    ASSERT_TRUE(comes_to("a", "ChangeFeed", "reason", "Active")) << run.output();
    db.exec("UPDATE shared SET body = 'Second'");
    ASSERT_TRUE(kit::eventually([&] { return served("ann.a_v") == "Second"; }));
    db.exec(fmt::format("REVOKE SELECT ON shared FROM {}", ann_));
    expect_stalled("a", "role \"" + ann_ +
                            "\", who declared it, may not read column \"id\" of table public.shared; GRANT SELECT ON"
                            " public.shared TO " +
                            ann_);
    db.exec("UPDATE shared SET body = 'Third'");
    end(run);
    // Another that begins says the same, and the edit is read by nobody.
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_EQ(served("ann.a_v"), "Second");
    db.exec(fmt::format("GRANT SELECT ON shared TO {}", ann_));
    kit::Process again = as_controller_.start({"run"});
    EXPECT_TRUE(kit::eventually([&] { return served("ann.a_v") == "Third"; }, 40s)) << again.output();
    end(again);
}

TEST_F(Trust, WhatStandsBeforeAChunkIsReadWithItsDeclarersRightsToo) {
    db.exec(fmt::format(
        "CREATE TABLE public.shared (id int PRIMARY KEY, body text, owner text); INSERT INTO shared VALUES (1, 'First',"
        " 'the secret'); GRANT SELECT ON shared TO homeostat_controller; GRANT SELECT (id, body) ON shared TO {}",
        ann_));
    const std::string in_context = declaration("a", "public.shared", "ann.a_v", ", chunk_context=, '{owner}'");
    EXPECT_THAT(refused(ann_, in_context), HasSubstr("may not read column \"owner\" of table public.shared"));
    db.exec(fmt::format("GRANT SELECT (owner) ON shared TO {}", ann_));
    as(ann_).exec(in_context);
    db.exec(fmt::format("REVOKE SELECT (owner) ON shared FROM {}", ann_));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_THAT(condition("a", "Ready", "message"), HasSubstr("may not read column \"owner\" of table public.shared"));
    EXPECT_EQ(db.value("SELECT to_regclass('ann.a_v') IS NULL OR NOT EXISTS (SELECT FROM homeostat.batch_history)"), "t");
}

TEST_F(Trust, ARoleThatIsNoMemberAnyMoreReadsNoMore) {
    const std::string group = "trust_group_" + db.name();
    db.exec(
        fmt::format("CREATE ROLE {0}; GRANT {0} TO {1}; CREATE TABLE public.shared (id int PRIMARY KEY, body text);"
                    "INSERT INTO shared VALUES (1, 'First'); GRANT SELECT ON shared TO {0}, homeostat_controller",
                    group, ann_));
    as(ann_).exec(declaration("a", "public.shared", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    db.exec(fmt::format("REVOKE {} FROM {}; UPDATE shared SET body = 'Second'", group, ann_));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_EQ(served("ann.a_v"), "First");
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", group));
}

TEST_F(Trust, APolicyThatHidesRowsFromTheDeclarerHidesThem) {
    db.exec(
        fmt::format("CREATE TABLE public.shared (id int PRIMARY KEY, body text); INSERT INTO shared VALUES (1, 'First');"
                    "ALTER TABLE shared ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON shared TO {0} USING (false);"
                    "GRANT SELECT ON shared TO {0}, homeostat_controller; ALTER ROLE {1} BYPASSRLS",
                    ann_, controller_));
    EXPECT_THAT(refused(ann_, declaration("a", "public.shared", "ann.a_v")),
                HasSubstr("a policy of row level security hides rows of table public.shared from role \"" + ann_ + "\""));
    // What it chooses for her it would not choose for us.
    as(ann_).exec(declaration("a", "public.shared", "ann.a_v", ", row_security=, 'Accept'"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_THAT(condition("a", "Stalled", "message"), HasSubstr("and from us it does not"));
}

// The functions of a view run as whoever reads it: there they write nothing.
TEST_F(Trust, WhatIsInAViewWritesNothing) {
    as(ann_).exec(
        "CREATE TABLE ann.called (as_whom text); GRANT INSERT ON ann.called TO PUBLIC; GRANT USAGE ON SCHEMA ann TO PUBLIC;"
        "CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_user LIKE 'trust_run%' THEN BEGIN INSERT INTO ann.called VALUES (current_user); EXCEPTION WHEN OTHERS THEN "
        "NULL; END;"
        " END IF; RETURN t; END $$;"
        "CREATE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs; GRANT SELECT ON ann.shown TO "
        "homeostat_controller");
    as(ann_).exec(declaration("a", "ann.shown", "ann.a_v"));
    const kit::Environment trusted{{"HOMEOSTAT_SOURCE_TRUSTED_OWNERS", ann_}};
    EXPECT_EQ(as_controller_.run_once(trusted).exit.code, kConverged);
    EXPECT_THAT(served("ann.a_v"), HasSubstr("Body 5"));
    as_controller_.run({"plan"}, trusted);
    as_controller_.run({"explain", "a", "3"}, trusted);
    as_controller_.run({"validate"}, trusted);
    EXPECT_EQ(db.value("SELECT count(*) FROM ann.called"), "0");
}

// A DBA applies what somebody else wrote: looking whether the key is one would call the view's functions with a DBA's rights.
TEST_F(Trust, WhoeverDeclaresAnothersViewCallsNothingInIt) {
    as(ann_).exec(
        "CREATE TABLE ann.called (as_whom text); GRANT INSERT ON ann.called TO PUBLIC; GRANT USAGE ON SCHEMA ann TO PUBLIC;"
        "CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ann.called VALUES (current_user);"
        " RETURN t; END $$;"
        "CREATE SEQUENCE ann.folds; GRANT USAGE ON SEQUENCE ann.folds TO PUBLIC;"
        "CREATE FUNCTION ann.folded() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('ann.folds'); RETURN 0;"
        " END $$;"
        "CREATE VIEW ann.shown AS SELECT id + ann.folded() AS id, ann.f(body) AS body FROM ann.docs;"
        "CREATE TABLE ann.indexed (id int NOT NULL, body text); CREATE INDEX ON ann.indexed ((id + ann.folded()));"
        "CREATE TABLE ann.checked (id int NOT NULL CHECK (id > ann.folded()), body text);"
        "CREATE TABLE ann.parts (id int NOT NULL, body text) PARTITION BY RANGE (id);"
        "CREATE TABLE ann.part PARTITION OF ann.parts FOR VALUES FROM (0) TO (9); CREATE INDEX ON ann.part ((id + ann.folded()));"
        "GRANT SELECT ON ann.shown, ann.indexed, ann.checked, ann.parts TO PUBLIC; SELECT setval('ann.folds', 1, false)");
    for (const std::string source : {"shown", "indexed", "checked", "parts"}) {
        db.exec(declaration("a_" + source, "ann." + source, "public.a_" + source));
        as(bob_).exec(declaration("b_" + source, "ann." + source, "bob.b_" + source));
        EXPECT_EQ(db.value("SELECT (SELECT count(*) FROM ann.called) || ' ' || (SELECT is_called FROM ann.folds)"), "0 false")
            << source;
    }
    // Who owns it is told at once that it is none.
    as(ann_).exec("CREATE VIEW ann.twice AS SELECT 1 AS id, body FROM ann.docs");
    EXPECT_THAT(refused(ann_, declaration("t", "ann.twice", "ann.t_v")), HasSubstr("the key is ambiguous"));
}

TEST_F(Trust, AViewThatWasServedIsServedAgainByWhoHadIt) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    db.exec(fmt::format("GRANT USAGE, CREATE ON SCHEMA ann TO {}", bob_));
    const std::string taken = "target ann.a_v was served for role \"" + ann_ + "\"";
    as(ann_).exec("DELETE FROM homeostat.pipeline");
    EXPECT_THAT(refused(bob_, declaration("b", "bob.docs", "ann.a_v")), HasSubstr(taken));
    as_controller_.run_once();
    ASSERT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    ASSERT_EQ(db.value("SELECT to_regclass('ann.a_v') IS NOT NULL"), "t");
    EXPECT_THAT(refused(bob_, declaration("b", "bob.docs", "ann.a_v")), HasSubstr(taken));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.pipeline SET target = 'ann.a_v'"), HasSubstr(taken));
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
}

TEST_F(Trust, ATargetIsWhereItsDeclarerMayCreate) {
    EXPECT_THAT(
        refused(bob_, declaration("b", "bob.docs", "ann.b_v")),
        HasSubstr("role \"" + bob_ + "\" may not create in schema \"ann\" of the target; GRANT CREATE ON SCHEMA ann TO " + bob_));
}

TEST_F(Trust, WhoeverEditsATargetViewIsNotReadFor) {
    as(ann_).exec(
        "CREATE TABLE ann.tenants (name text, source text, content text DEFAULT 'body', provider text DEFAULT 'hashing',"
        " dimensions int DEFAULT 16, target text); GRANT SELECT ON ann.tenants TO homeostat_controller;"
        "INSERT INTO ann.tenants (name, source, target) VALUES ('mine', 'ann.docs', 'ann.mine_v'), ('theft', 'public.secret', "
        "'ann.theft_v');"
        "INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'ann.tenants')");
    EXPECT_EQ(as_controller_.run_once().exit.code, kDriftLeft);
    db.exec("UPDATE homeostat.target_view SET interval = '2 seconds', max_removal_ratio = 0.5");
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.target_view"), ann_);
    EXPECT_EQ(as_controller_.run_once().exit.code, kDriftLeft);
    EXPECT_EQ(db.value("SELECT string_agg(name || ' ' || declared_by, ',') FROM homeostat.pipeline"), "mine " + ann_);
    EXPECT_EQ(db.value("SELECT to_regclass('ann.theft_v') IS NULL"), "t");
    // Nor are its rows read, once its declarer may not.
    db.exec(fmt::format("ALTER TABLE ann.tenants OWNER TO postgres; REVOKE ALL ON ann.tenants FROM {}", ann_));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_THAT(db.value("SELECT message FROM homeostat.target_view_condition WHERE type = 'Ready'"),
                HasSubstr("role \"" + ann_ + "\", who declared it, may not read"));
}

// From a version that noted nobody: what only the owner of the schema can have declared is his, and the rest waits for a word.
TEST_F(Trust, WhatWasDeclaredBeforeAnybodyWasNotedIsAdopted) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec(
        "CREATE TABLE bob.tenants (name text, source text, content text, provider text, dimensions int, target text); GRANT "
        "SELECT ON "
        "bob.tenants TO homeostat_controller; INSERT INTO bob.tenants VALUES ('known', 'bob.docs', 'body', 'hashing', 16, "
        "'bob.known_v'); INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'bob.tenants')");
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    const kit::Program owner(db.url());
    ASSERT_EQ(owner.run({"migrate", "down", "--to", "21", "--yes"}).exit.code, 0);
    const auto up = owner.run({"migrate", "up"});
    ASSERT_EQ(up.exit.code, 0) << up.output;
    as(bob_).exec("UPDATE bob.docs SET body = 'After the upgrade' WHERE id = 1");
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    // Of what a target view declares it is known: it is kept in step as before.
    EXPECT_EQ(db.value("SELECT declared_by FROM homeostat.pipeline WHERE name = 'known'"), bob_);
    EXPECT_THAT(served("bob.known_v"), HasSubstr("After the upgrade"));
    EXPECT_THAT(condition("a", "Stalled", "message"),
                HasSubstr("UPDATE homeostat.pipeline SET declared_by = current_user WHERE declared_by IS NULL"));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.pipeline SET declared_by = current_user WHERE declared_by IS NULL"),
                HasSubstr("so role \"" + bob_ + "\" may not change it"));
    db.exec("UPDATE homeostat.pipeline SET declared_by = current_user WHERE declared_by IS NULL");
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    db.exec(fmt::format("UPDATE homeostat.pipeline SET declared_by = '{}' WHERE name = 'a'", ann_));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
}

// Also in the middle of a run, when batches of it have ended.
TEST_F(Trust, WhoDeclaredAPipelineMayWatchIt) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.embeddings"));
    db.exec(
        "INSERT INTO homeostat.run (uid, revision, generation, reconcile_id, trigger, deep, phase, seen, missing, planned)"
        " SELECT uid, 1, 1, 'r', 'spec', false, 'healing', 200, 200, 200 FROM homeostat.pipeline;"
        "INSERT INTO homeostat.batch_history (id, uid, run_id, kind, class, outcome, claim_token, claimed_by, documents, written,"
        " dropped, chunks, embedded, tokens) SELECT 1, uid, id, 'heal', 'missing', 'done', 1, 'x', 50, 50, 0, 50, 50, 1 FROM "
        "homeostat.run");
    const kit::Program anns(db.url(ann_));
    const auto watched = anns.run({"watch", "--timeout", "10ms", "--interval", "10ms"});
    EXPECT_THAT(watched.output, HasSubstr("a:  25 %  healing 200 documents, 50 done"));
    EXPECT_EQ(watched.output.find("permission denied"), std::string::npos) << watched.output;
    EXPECT_EQ(anns.run({"describe", "a"}).output.find("permission denied"), std::string::npos);
    EXPECT_EQ(anns.run({"status", "a"}).output.find("permission denied"), std::string::npos);
    EXPECT_EQ(anns.run({"revisions", "a"}).output.find("permission denied"), std::string::npos);
}

}  // namespace
}  // namespace homeostat
