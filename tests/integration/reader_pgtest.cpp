// Whose code runs when a source is read, and as whom: by the login that writes only that of roles who are trusted with its
// rights; by a login of its own, which may read sources and nothing else, anybody's.
#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

class Reader : public TrustWorld {
protected:
    void SetUp() override {
        TrustWorld::SetUp();
        if (IsSkipped()) return;
        db.exec(fmt::format("CREATE ROLE {} LOGIN", reader_));
        as(ann_).exec(fmt::format("GRANT USAGE ON SCHEMA ann TO {0}; GRANT SELECT ON ann.docs TO {0}", reader_));
    }
    void TearDown() override {
        db.exec(fmt::format(
            "DO $$ BEGIN IF to_regrole('{0}') IS NOT NULL THEN DROP OWNED BY {0} CASCADE; DROP ROLE {0}; END IF; END $$",
            reader_));
        TrustWorld::TearDown();
    }

    std::string stalled() { return condition("a", "Stalled", "message"); }
    // Sees `sql` declared over by ann as ann.shown, and what one run says of it.
    std::string said_of(const std::string& sql, const kit::Environment& more = {}) {
        db.exec("DELETE FROM homeostat.pipeline; UPDATE homeostat.pipeline SET finalizers = '{}'");
        as(ann_).exec("DROP VIEW IF EXISTS ann.shown; DROP TABLE IF EXISTS ann.held CASCADE");
        as(ann_).exec(sql);
        as(ann_).exec(
            "DO $$ DECLARE r text; BEGIN FOR r IN SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = "
            "'ann'::regnamespace"
            " AND c.relname IN ('shown', 'held') LOOP EXECUTE 'GRANT SELECT ON ' || r || ' TO homeostat_controller'; END LOOP; "
            "END $$");
        const bool table = db.value("SELECT to_regclass('ann.shown') IS NULL") == "t";
        as(ann_).exec(declaration("a", table ? "ann.held" : "ann.shown", "ann.a_v"));
        const auto run = as_controller_.run_once(more);
        return run.exit.code == kConverged ? "converged" : stalled() + run.output;
    }

    const std::string reader_ = "trust_read_" + db.name();
    const kit::Environment apart_{{"HOMEOSTAT_DATABASE_READER_URL", db.url(reader_)}};
};

TEST_F(Reader, CodeOfWhoIsNotTrustedIsNotRunByWhoWrites) {
    as(ann_).exec(
        "CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
        " IF current_user LIKE 'trust_run%' THEN RAISE EXCEPTION 'it was called'; END IF; RETURN t; END $$;"
        "CREATE FUNCTION ann.same(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_user LIKE 'trust_run%' THEN RAISE EXCEPTION 'it was called'; END IF; RETURN a = b; END $$;"
        "CREATE OPERATOR ann.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = ann.same);"
        "CREATE TYPE ann.mood AS ENUM ('good', 'bad'); CREATE FUNCTION ann.told(m ann.mood) RETURNS text LANGUAGE sql AS 'SELECT "
        "''x''';"
        "CREATE CAST (ann.mood AS text) WITH FUNCTION ann.told(ann.mood);"
        "CREATE DOMAIN ann.few AS int CHECK (ann.f('x') = 'x')");
    const std::string f = "function ann.f(text)";
    const std::pair<const char*, std::string> cases[] = {
        {"CREATE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs", f},
        {"CREATE VIEW ann.shown AS SELECT id, body FROM (SELECT id, body FROM ann.docs WHERE ann.f(body) <> '') d", f},
        {"CREATE VIEW ann.shown AS SELECT id, body FROM ann.docs WHERE body OPERATOR(ann.===) body",
         "function ann.same(text,text)"},
        {"CREATE TABLE ann.held (id int PRIMARY KEY, body ann.mood); INSERT INTO ann.held VALUES (1, 'good')",
         "function ann.told(ann.mood)"},
        {"CREATE TABLE ann.held (id ann.few PRIMARY KEY, body text); INSERT INTO ann.held VALUES (1, 'x')", f},
        {"CREATE TABLE ann.held (id int PRIMARY KEY, body text); CREATE INDEX ON ann.held ((ann.f('x')))", f},
        {"CREATE TABLE ann.held (id int PRIMARY KEY, body text CHECK (ann.f('x') = 'x'))", f},
        {"CREATE VIEW ann.shown AS SELECT id, query_to_xml('SELECT 1', true, true, '')::text AS body FROM "
         "ann.docs",
         "calls function query_to_xml"},
        {"CREATE VIEW ann.shown AS SELECT id, body FROM ann.docs, pg_notify('x', body)", "calls function pg_notify"},
        {"CREATE VIEW ann.shown AS SELECT id, body FROM ann.docs WHERE pg_sleep(0) IS NOT NULL", "calls function pg_sleep"},
        {"CREATE VIEW ann.shown AS SELECT id, set_config('application_name', body, false) AS body FROM ann.docs",
         "calls function set_config"},
    };
    for (const auto& [sql, what] : cases) {
        EXPECT_THAT(said_of(sql), AllOf(HasSubstr(what), HasSubstr("role \"" + ann_ + "\""), HasSubstr("source.trusted_owners"),
                                        Not(HasSubstr("it was called"))))
            << sql;
    }
    EXPECT_EQ(condition("a", "Stalled", "reason"), "RightMissing");
    EXPECT_EQ(
        said_of("CREATE VIEW ann.shown AS SELECT id, upper(body) || random() AS body, 1 AS n FROM ann.docs", {}).find("acts"),
        std::string::npos);
}

TEST_F(Reader, CodeOfWhoIsTrustedRuns) {
    as(ann_).exec("CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(t)'");
    const std::string view = "CREATE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs";
    EXPECT_THAT(said_of(view), HasSubstr("function ann.f(text)"));
    EXPECT_EQ(said_of(view, {{"HOMEOSTAT_SOURCE_TRUSTED_OWNERS", "nobody, " + ann_}}), "converged");
    EXPECT_THAT(served("ann.a_v"), HasSubstr("BODY 5"));
    // A superuser's is everybody's.
    db.exec(fmt::format("ALTER FUNCTION ann.f(text) OWNER TO postgres"));
    EXPECT_EQ(said_of(view), "converged");
}

// Each tries its own, and says what came of it; what was let through would be seen in the database, or in the text.
TEST_F(Reader, CodeOfASourceMayWhatTheReaderMay) {
    db.exec(
        "CREATE TABLE public.called (x text); GRANT ALL ON public.called TO PUBLIC; CREATE SEQUENCE public.counted;"
        "GRANT ALL ON SEQUENCE public.counted TO PUBLIC");
    as(ann_).exec(
        "CREATE FUNCTION ann.attempt(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 'done';"
        " EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;"
        "CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user LIKE 'trust_ann%' THEN RETURN "
        "t; END IF;"
        " RETURN t || ' as ' || current_user || ': ' || "
        "concat_ws(' ',"
        " ann.attempt('INSERT INTO public.called VALUES (1)'), ann.attempt('SELECT nextval(''public.counted'')'),"
        " ann.attempt('SELECT * FROM public.secret'), ann.attempt('SELECT * FROM bob.docs'), ann.attempt('SELECT * FROM "
        "homeostat.pipeline'),"
        " ann.attempt('SET ROLE homeostat_controller'), ann.attempt('CREATE TEMP TABLE t (x int)'),"
        " ann.attempt('LOCK TABLE ann.docs IN ACCESS EXCLUSIVE MODE'))"
        " || left(ann.attempt('RESET ROLE'), 0) || left(ann.attempt('RESET SESSION AUTHORIZATION'), 0)"
        " || left(pg_notify('heard', t)::text, 0) || left(pg_advisory_lock(7)::text, 0)"
        " || left(set_config('search_path', 'ann', false), 0) || left(set_config('statement_timeout', '0', false), 0); END $$;"
        "CREATE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs;");
    as(ann_).exec(fmt::format("GRANT SELECT ON ann.shown TO {}, homeostat_controller", reader_));
    as(ann_).exec(declaration("a", "ann.shown", "ann.a_v"));
    db.exec("LISTEN heard");
    kit::Process run = as_controller_.start({"run"}, apart_);
    ASSERT_TRUE(comes_to("a", "Ready", "status", "True")) << run.output();
    const std::string expected = "Body 5 as " + reader_ + ": 25006 25006 42501 42501 42501 42501 25006";
    EXPECT_THAT(served("ann.a_v"), HasSubstr(expected));
    EXPECT_EQ(db.value("SELECT count(*) FROM public.called"), "0");
    EXPECT_EQ(db.value("SELECT is_called FROM public.counted"), "f");
    for (const auto& arguments : {kit::Arguments{"plan"}, {"explain", "a", "3"}, {"validate"}, {"diff", "a"}})
        as_controller_.run(arguments, apart_);
    end(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"), "0");
    for (const char* left : {"called", "counted"})
        db.exec(fmt::format("DROP {} public.{}", left[2] == 'l' ? "TABLE" : "SEQUENCE", left));
}

// Everything that homeostat does goes on: fills, edits through the feed, deletions, metadata, a count.
TEST_F(Reader, WhatIsReadApartIsKeptInStep) {
    db.exec(fmt::format(
        "REVOKE SELECT ON ann.docs FROM homeostat_controller; ALTER TABLE ann.docs ADD COLUMN kind text DEFAULT 'x'"));
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v", ", metadata=, 'kind'"));
    kit::Process run = as_controller_.start({"run"}, apart_);
    ASSERT_TRUE(comes_to("a", "ChangeFeed", "reason", "Active")) << run.output();
    db.exec(
        "UPDATE ann.docs SET body = 'Second' WHERE id = 2; DELETE FROM ann.docs WHERE id = 3; INSERT INTO ann.docs VALUES (6, "
        "'Sixth')");
    EXPECT_TRUE(kit::eventually([&] { return served("ann.a_v") == "Body 1 Second Body 4 Body 5 Sixth"; })) << served("ann.a_v");
    db.exec("UPDATE ann.docs SET kind = 'y' WHERE id = 1");
    EXPECT_TRUE(
        kit::eventually([&] { return db.value("SELECT string_agg(DISTINCT kind, '' ORDER BY kind) FROM ann.a_v") == "xy"; }));
    as(ann_).exec("UPDATE homeostat.pipeline SET documents = 3");
    EXPECT_TRUE(kit::eventually([&] { return served("ann.a_v") == "Body 1 Second Body 4"; })) << served("ann.a_v");
    end(run);
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM pg_stat_activity WHERE usename = '" + reader_ + "'", "0"));
    // What nobody named: by sweeps alone.
    db.exec(
        "ALTER TABLE ann.docs DISABLE TRIGGER USER; UPDATE ann.docs SET body = 'Unnamed' WHERE id = 4; DELETE FROM ann.docs "
        "WHERE id = 1");
    as(ann_).exec("UPDATE homeostat.pipeline SET documents = NULL");
    const auto swept = as_controller_.run({"run", "--once", "--deep"}, apart_);
    EXPECT_EQ(swept.exit.code, kConverged) << swept.output;
    EXPECT_EQ(served("ann.a_v"), "Second Unnamed Body 5 Sixth");
    const auto plan = as_controller_.run({"plan"}, apart_);
    EXPECT_EQ(plan.exit.code, kConverged) << plan.output;
}

// However it holds on: by waiting, or by catching that its time is over. It is told where people look, and the others go on.
TEST_F(Reader, ASourceThatNeverEndsIsEnded) {
    as(bob_).exec(fmt::format("GRANT USAGE ON SCHEMA bob TO {0}; GRANT SELECT ON bob.docs TO {0}", reader_));
    kit::Environment quick = apart_;
    quick["HOMEOSTAT_DATABASE_STATEMENT_TIMEOUT"] = "1s";
    quick["HOMEOSTAT_DATABASE_LOCK_TIMEOUT"] = "1s";
    quick["HOMEOSTAT_DATABASE_ANSWER_TIMEOUT"] = "1s";
    kit::Process run = as_controller_.start({"run"}, quick);
    const char* const ways[] = {"PERFORM pg_sleep(1000)", "PERFORM set_config('statement_timeout', '0', false); LOOP END LOOP",
                                ("PERFORM set_config('client_connection_check_interval', '0', false);"
                                 " LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP")};
    for (std::size_t i = 0; i < std::size(ways); ++i) {
        as(ann_).exec(
            fmt::format("CREATE OR REPLACE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user LIKE "
                        "'trust_ann%' THEN RETURN t; END IF; {}; END $$;"
                        "CREATE OR REPLACE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs;"
                        "GRANT SELECT ON ann.shown TO {}",
                        ways[i], reader_));
        as(ann_).exec(declaration(fmt::format("a{}", i), "ann.shown", fmt::format("ann.a{}_v", i)));
        EXPECT_TRUE(comes_to(fmt::format("a{}", i), "Ready", "reason", "TookTooLong")) << run.output();
        EXPECT_THAT(condition(fmt::format("a{}", i), "Reconciling", "message"),
                    HasSubstr("reading the source took longer than it may (database.statement_timeout), and was ended"));
        db.exec(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE name = 'a{}'", i));
        EXPECT_TRUE(eventually_is(
            fmt::format("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state = 'active'", reader_), "0"));
    }
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    EXPECT_TRUE(comes_to("b", "Ready", "status", "True")) << run.output();
    end(run);
}

// The batch is halved until it is one document: that is named, and the others are served.
TEST_F(Reader, OneSlowRowIsNamedAndTheOthersAreServed) {
    as(ann_).exec(
        "CREATE TABLE ann.slow (id int); CREATE FUNCTION ann.f(n int, t text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN"
        " IF n IN (SELECT id FROM ann.slow) THEN PERFORM pg_sleep(1000); END IF; RETURN t; END $$;"
        "CREATE VIEW ann.shown AS SELECT id, ann.f(id, body) AS body, 1 AS v FROM ann.docs; INSERT INTO ann.slow VALUES (3)");
    as(ann_).exec(fmt::format("GRANT SELECT ON ann.shown, ann.slow TO {}", reader_));
    as(ann_).exec(declaration("a", "ann.shown", "ann.a_v", ", version_column=, 'v'"));
    kit::Environment quick = apart_;
    quick["HOMEOSTAT_DATABASE_STATEMENT_TIMEOUT"] = "1s";
    quick["HOMEOSTAT_DATABASE_LOCK_TIMEOUT"] = "1s";
    quick["HOMEOSTAT_RETRY_BASE"] = "10ms";
    kit::Process run = as_controller_.start({"run"}, quick);
    EXPECT_TRUE(kit::eventually([&] {
        return db.value("SELECT to_regclass('ann.a_v')") != "" && served("ann.a_v") == "Body 1 Body 2 Body 4 Body 5";
    })) << run.output();
    EXPECT_TRUE(comes_to("a", "Reconciling", "message", "document (3): reading the source took longer than it may"))
        << run.output();
    EXPECT_TRUE(comes_to("a", "Ready", "reason", "TookTooLong")) << condition("a", "Ready", "reason");
    db.exec("DELETE FROM ann.slow");
    EXPECT_TRUE(comes_to("a", "Ready", "status", "True")) << run.output();
    EXPECT_THAT(served("ann.a_v"), HasSubstr("Body 3"));
    end(run);
}

// What it fails with is its own choice, the code of a full disk or of a lost connection too: that is told of this pipeline, and
// nobody else waits.
TEST_F(Reader, ASourceThatFailsIsItsOwnTrouble) {
    as(bob_).exec(fmt::format("GRANT USAGE ON SCHEMA bob TO {0}; GRANT SELECT ON bob.docs TO {0}", reader_));
    as(ann_).exec("CREATE TABLE ann.seen_by (x text); GRANT ALL ON ann.seen_by TO PUBLIC");
    kit::Process run = as_controller_.start({"run"}, apart_);
    const std::pair<const char*, const char*> ways[] = {
        {"INSERT INTO ann.seen_by VALUES (t)", "what the source runs tries to write, which whoever reads may not"},
        {"RAISE EXCEPTION 'full' USING ERRCODE = '53100'", "reading the source failed: full (53100)"},
        {"RAISE EXCEPTION 'ends' USING ERRCODE = '57P01'", "reading the source failed: ends (57P01)"},
        {"RAISE EXCEPTION 'gone' USING ERRCODE = '08006'", "reading the source failed: gone (08006)"},
        {"RAISE EXCEPTION 'mine' USING ERRCODE = 'ANN01'", "reading the source failed: mine (ANN01)"}};
    for (std::size_t i = 0; i < std::size(ways); ++i) {
        as(ann_).exec(
            fmt::format("CREATE OR REPLACE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user LIKE "
                        "'trust_ann%' THEN RETURN t; END IF; {}; RETURN t; END $$;"
                        "CREATE OR REPLACE VIEW ann.shown AS SELECT id, ann.f(body) AS body FROM ann.docs;"
                        "GRANT SELECT ON ann.shown TO {}",
                        ways[i].first, reader_));
        const std::string name = fmt::format("a{}", i);
        as(ann_).exec(declaration(name, "ann.shown", fmt::format("ann.{}_v", name)));
        EXPECT_TRUE(comes_to(name, "Ready", "message", ways[i].second)) << ways[i].first << "\n" << run.output();
        EXPECT_EQ(condition(name, "Ready", "reason"), "SourceUnusable");
        db.exec(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE name = '{}'", name));
    }
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    EXPECT_TRUE(comes_to("b", "Ready", "status", "True")) << run.output();
    end(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM ann.seen_by"), "0");
}

TEST_F(Reader, ALoginThatMayMoreIsNoReader) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    const auto said = [&](const kit::Environment& with) { return as_controller_.run_once(with).output; };
    EXPECT_THAT(said({{"HOMEOSTAT_DATABASE_READER_URL", db.url()}}), HasSubstr("it is a superuser"));
    EXPECT_THAT(said({{"HOMEOSTAT_DATABASE_READER_URL", db.url(controller_)}}), HasSubstr("it is the login that writes"));
    db.exec(fmt::format("GRANT {} TO {}", bob_, reader_));
    EXPECT_THAT(said(apart_), HasSubstr("it is a member of role " + bob_));
    // Such a role it may leave again.
    db.exec(fmt::format("ALTER ROLE {} SET role = '{}'", reader_, bob_));
    EXPECT_THAT(said(apart_), HasSubstr(fmt::format("it is role {} that acts as {}", reader_, bob_)));
    db.exec(fmt::format("ALTER ROLE {} RESET role", reader_));
    db.exec(fmt::format("REVOKE {} FROM {}; GRANT USAGE ON SCHEMA homeostat TO {}", bob_, reader_, reader_));
    EXPECT_THAT(said(apart_), HasSubstr("it may use the schemas of homeostat"));
    db.exec(fmt::format("REVOKE USAGE ON SCHEMA homeostat FROM {}; REVOKE SELECT ON ann.docs FROM {}", reader_, reader_));
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kFailed);
    EXPECT_THAT(stalled(), HasSubstr("role \"" + reader_ + "\" may not read table ann.docs; GRANT SELECT ON it to that role"));
    db.exec(fmt::format("GRANT SELECT ON ann.docs TO {0}; REVOKE USAGE ON SCHEMA ann FROM {0}", reader_));
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kFailed);
    EXPECT_THAT(stalled(), HasSubstr("as it may not use schema ann; GRANT USAGE ON it to that role"));
    db.exec(fmt::format("GRANT USAGE ON SCHEMA ann TO {0}", reader_));
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kConverged);
}

// The rows of a target view are read the same way.
TEST_F(Reader, ATargetViewIsASourceToo) {
    as(ann_).exec(
        "CREATE FUNCTION ann.f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user LIKE 'trust_run%' THEN"
        " RAISE EXCEPTION 'it was called'; END IF; RETURN t; END $$;"
        "CREATE VIEW ann.tenants AS SELECT ann.f('mine') AS name, 'ann.docs' AS source, 'body' AS content, 'hashing' AS provider,"
        " 16 AS dimensions, 'ann.mine_v' AS target;");
    as(ann_).exec(fmt::format("GRANT SELECT ON ann.tenants TO homeostat_controller, {}", reader_));
    as(ann_).exec("INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'ann.tenants')");
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_THAT(db.value("SELECT message FROM homeostat.target_view_condition WHERE type = 'Ready'"),
                AllOf(HasSubstr("target view \"tenants\": function ann.f(text)"), Not(HasSubstr("it was called"))));
    const auto run = as_controller_.run_once(apart_);
    EXPECT_EQ(run.exit.code, kConverged) << run.output;
    EXPECT_THAT(served("ann.mine_v"), HasSubstr("Body 5"));
}

// A foreign table is read with the mapping of whoever reads it: the login that writes would show ann what it sees itself; one of
// its own shows her what that one may.
TEST_F(Reader, AForeignTableShowsWhatTheReaderMaySee) {
    db.exec(fmt::format(
        "CREATE EXTENSION postgres_fdw; DO $$ BEGIN EXECUTE format('CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw"
        " OPTIONS (host %L, dbname %L)', current_setting('unix_socket_directories'), current_database());"
        " EXECUTE format('ALTER SERVER loop OPTIONS (ADD port %L)', current_setting('port')); END $$;"
        "GRANT USAGE ON FOREIGN SERVER loop TO {0}, {1}, {2};"
        "CREATE USER MAPPING FOR {0} SERVER loop OPTIONS (user '{0}', password_required 'false');"
        "CREATE USER MAPPING FOR {1} SERVER loop OPTIONS (user '{1}', password_required 'false')",
        ann_, controller_, reader_));
    as(ann_).exec(
        "CREATE FOREIGN TABLE ann.secret (id int, body text) SERVER loop OPTIONS (schema_name 'public', table_name 'secret');"
        "CREATE FOREIGN TABLE ann.far (id int, body text) SERVER loop OPTIONS (schema_name 'ann', table_name 'docs')");
    as(ann_).exec(fmt::format("GRANT SELECT ON ann.secret, ann.far TO homeostat_controller, {}", reader_));
    // What she may not read there she cannot declare; that she could once is not looked at again where it is.
    EXPECT_THAT(refused(ann_, declaration("a", "ann.secret", "ann.a_v")), HasSubstr("permission denied for table secret"));
    db.exec(fmt::format("GRANT SELECT ON public.secret TO {}", ann_));
    as(ann_).exec(declaration("a", "ann.secret", "ann.a_v"));
    db.exec(fmt::format("REVOKE SELECT ON public.secret FROM {}", ann_));
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    EXPECT_THAT(stalled(), AllOf(HasSubstr("foreign table ann.secret is read with the user mapping of whoever reads"),
                                 HasSubstr("database.reader_url")));
    // Without a mapping of its own nothing is read for the reader, and with one what it may.
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kFailed);
    EXPECT_THAT(condition("a", "Ready", "message"), HasSubstr("user mapping"));
    db.exec(fmt::format("CREATE USER MAPPING FOR {0} SERVER loop OPTIONS (user '{0}', password_required 'false')", reader_));
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kFailed);
    EXPECT_THAT(condition("a", "Ready", "message"), HasSubstr("permission denied for table secret"));
    EXPECT_EQ(
        db.value("SELECT to_regclass('ann.a_v') IS NULL OR NOT EXISTS (SELECT FROM pg_class WHERE relname = 'p1_r1_document'"
                 " AND reltuples > 0)"),
        "t");
    as(ann_).exec("DELETE FROM homeostat.pipeline");
    as(ann_).exec(declaration("far", "ann.far", "ann.far_v"));
    const auto run = as_controller_.run_once(apart_);
    EXPECT_EQ(run.exit.code, kConverged) << run.output;
    EXPECT_EQ(served("ann.far_v"), "Body 1 Body 2 Body 3 Body 4 Body 5");
    db.exec("UPDATE ann.docs SET body = 'Far' WHERE id = 2");
    EXPECT_EQ(as_controller_.run_once(apart_).exit.code, kConverged);
    EXPECT_EQ(served("ann.far_v"), "Body 1 Far Body 3 Body 4 Body 5");
}

// Two who must not see each other's: each is read by a login that may read his tables and no others'.
class Readers : public Reader {
protected:
    void SetUp() override {
        Reader::SetUp();
        if (IsSkipped()) return;
        db.exec(
            fmt::format("REVOKE SELECT ON ann.docs FROM {0}; CREATE ROLE {1} LOGIN; CREATE ROLE {2} LOGIN; CREATE ROLE {3};"
                        "GRANT {3} TO {4}; REVOKE SELECT ON ann.docs, bob.docs FROM homeostat_controller",
                        reader_, of_ann_, of_bob_, team_, bob_));
        as(ann_).exec(fmt::format("GRANT USAGE ON SCHEMA ann TO {0}; GRANT SELECT ON ann.docs TO {0}", of_ann_));
        as(bob_).exec(fmt::format("GRANT USAGE ON SCHEMA bob TO {0}; GRANT SELECT ON bob.docs TO {0}", of_bob_));
    }
    void TearDown() override {
        for (const std::string& role : {of_ann_, of_bob_, team_})
            db.exec(fmt::format(
                "DO $$ BEGIN IF to_regrole('{0}') IS NOT NULL THEN DROP OWNED BY {0} CASCADE; DROP ROLE {0}; END IF; END $$",
                role));
        Reader::TearDown();
    }
    // Bob by a role that he is a member of.
    kit::Environment each() {
        return {{"HOMEOSTAT_DATABASE_READERS", fmt::format("{} {}; {} {}", ann_, db.url(of_ann_), team_, db.url(of_bob_))}};
    }
    // Shows in each text who read it.
    void show(const std::string& role, const std::string& schema, const std::string& to) {
        as(role).exec(
            fmt::format("CREATE FUNCTION {0}.who(t text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN t || ' by ' ||"
                        " current_user; END $$; CREATE VIEW {0}.shown AS SELECT id, {0}.who(body) AS body FROM {0}.docs;"
                        "GRANT SELECT ON {0}.shown TO {1}",
                        schema, to));
    }

    const std::string of_ann_ = "trust_read_ann_" + db.name();
    const std::string of_bob_ = "trust_read_bob_" + db.name();
    const std::string team_ = "trust_team_" + db.name();
};

TEST_F(Readers, EachDomainIsReadByItsOwn) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    show(ann_, "ann", of_ann_);
    show(bob_, "bob", of_bob_);
    as(ann_).exec(declaration("as", "ann.shown", "ann.as_v"));
    as(bob_).exec(declaration("bs", "bob.shown", "bob.bs_v"));
    kit::Process run = as_controller_.start({"run"}, each());
    for (const char* name : {"a", "b", "as", "bs"}) ASSERT_TRUE(comes_to(name, "Ready", "status", "True")) << run.output();
    EXPECT_THAT(served("ann.as_v"), AllOf(HasSubstr("Body 1 by " + of_ann_), Not(HasSubstr(of_bob_))));
    EXPECT_THAT(served("bob.bs_v"), AllOf(HasSubstr("Body 1 by " + of_bob_), Not(HasSubstr(of_ann_))));
    // Through the feed, and a deletion that it names.
    ASSERT_TRUE(comes_to("a", "ChangeFeed", "reason", "Active")) << condition("a", "ChangeFeed", "message");
    ASSERT_TRUE(comes_to("b", "ChangeFeed", "reason", "Active")) << condition("b", "ChangeFeed", "message");
    db.exec(
        "UPDATE ann.docs SET body = 'Mine' WHERE id = 2; DELETE FROM bob.docs WHERE id = 3; UPDATE bob.docs SET body = 'His'"
        " WHERE id = 1");
    EXPECT_TRUE(kit::eventually([&] { return served("ann.a_v") == "Body 1 Mine Body 3 Body 4 Body 5"; })) << served("ann.a_v");
    EXPECT_TRUE(kit::eventually([&] { return served("bob.b_v") == "His Body 2 Body 4 Body 5"; })) << served("bob.b_v");
    for (const auto& arguments : {kit::Arguments{"plan"}, {"validate"}, {"explain", "a", "1"}, {"search", "b", "his"}}) {
        const auto said = as_controller_.run(arguments, each());
        EXPECT_EQ(said.output.find("may not read"), std::string::npos) << arguments.front() << "\n" << said.output;
        EXPECT_LE(said.exit.code, 1) << arguments.front() << "\n" << said.output;
    }
    end(run);
    // By neither login was anything of the other's read: it has no right to.
    EXPECT_EQ(
        db.value(fmt::format("SELECT has_table_privilege('{}', 'bob.docs', 'SELECT') OR has_table_privilege('{}', 'ann.docs',"
                             " 'SELECT')",
                             of_ann_, of_bob_)),
        "f");
}

// A source over somebody else's table, granted to who declares it: the right is there, and the reader of his domain has it not.
TEST_F(Readers, NoneIsReadWithTheRightsOfAnother) {
    as(ann_).exec(fmt::format("GRANT USAGE ON SCHEMA ann TO {0}; GRANT SELECT ON ann.docs TO {0}", bob_));
    as(bob_).exec(fmt::format("GRANT USAGE, CREATE ON SCHEMA bob TO {}", ann_));
    as(bob_).exec(declaration("b", "ann.docs", "bob.b_v"));
    EXPECT_EQ(as_controller_.run_once(each()).exit.code, kFailed);
    EXPECT_THAT(condition("b", "Stalled", "message"), HasSubstr("role \"" + of_bob_ + "\" may not read table ann.docs"));
    // Who is given the pipeline brings his reader.
    db.exec(fmt::format("UPDATE homeostat.pipeline SET declared_by = '{}'", ann_));
    EXPECT_EQ(as_controller_.run_once(each()).exit.code, kConverged);
    db.exec(fmt::format("UPDATE homeostat.pipeline SET declared_by = '{}'", bob_));
    EXPECT_EQ(as_controller_.run_once(each()).exit.code, kFailed);
    // A superuser is a member of what he was made a member of.
    db.exec(fmt::format("UPDATE homeostat.pipeline SET declared_by = 'postgres'"));
    const auto alone = as_controller_.run_once(each());
    EXPECT_EQ(alone.exit.code, kFailed);
    EXPECT_THAT(condition("b", "Stalled", "message"), HasSubstr("role \"" + controller_ + "\" may not read table ann.docs"));
}

// Membership may change while it runs: the next pass reads by who fits then.
TEST_F(Readers, AChangeOfMembershipIsNoticed) {
    show(bob_, "bob", of_bob_ + ", " + of_ann_);
    as(bob_).exec(fmt::format("GRANT USAGE ON SCHEMA bob TO {0}; GRANT SELECT ON bob.docs TO {0}", of_ann_));
    as(bob_).exec(declaration("b", "bob.shown", "bob.b_v"));
    kit::Process run = as_controller_.start({"run"}, each());
    ASSERT_TRUE(comes_to("b", "Ready", "status", "True")) << run.output();
    EXPECT_THAT(served("bob.b_v"), HasSubstr("by " + of_bob_));
    db.exec(fmt::format("GRANT {} TO {}", ann_, bob_));  // the first that fits
    db.exec("UPDATE bob.docs SET body = body || '!'; UPDATE homeostat.pipeline SET reconcile_requested = 'now'");
    EXPECT_TRUE(kit::eventually([&] { return served("bob.b_v").find("Body 1! by " + of_ann_) != std::string::npos; }))
        << served("bob.b_v") << condition("b", "Ready", "message");
    end(run);
}

TEST_F(Readers, OneThatCannotLogInStallsNobodyElse) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    kit::Environment broken{{"HOMEOSTAT_DATABASE_READERS", fmt::format("nobody_at_all {}; {} {}; {} {}", db.url(of_ann_), ann_,
                                                                       db.url("trust_no_such"), team_, db.url(of_bob_))}};
    kit::Process run = as_controller_.start({"run"}, broken);
    EXPECT_TRUE(comes_to("b", "Ready", "status", "True")) << run.output();
    EXPECT_TRUE(comes_to("a", "Ready", "reason", "SourceUnusable")) << condition("a", "Ready", "message");
    EXPECT_THAT(
        condition("a", "Ready", "message"),
        AllOf(HasSubstr("the login that reads sources (database.readers, role \"" + ann_ + "\")"), HasSubstr("trust_no_such")));
    EXPECT_EQ(condition("b", "Ready", "status"), "True");
    db.exec("UPDATE bob.docs SET body = 'After' WHERE id = 1");
    EXPECT_TRUE(kit::eventually([&] { return served("bob.b_v") == "After Body 2 Body 3 Body 4 Body 5"; })) << served("bob.b_v");
    end(run);
    const std::string said = as_controller_.run({"doctor"}, broken).output;
    EXPECT_THAT(said, AllOf(HasSubstr("database.readers, role \"nobody_at_all\": there is no such role"),
                            HasSubstr("role \"trust_no_such\" does not exist"),
                            HasSubstr(fmt::format("role {} reads what role \"{}\" has declared", of_bob_, team_))));
    // A login that may write is refused for whom it would read.
    broken["HOMEOSTAT_DATABASE_READERS"] = fmt::format("{} {}; {} {}", ann_, db.url(controller_), team_, db.url(of_bob_));
    as_controller_.run_once(broken);
    EXPECT_THAT(condition("a", "Stalled", "message"), HasSubstr("it is the login that writes"));
    EXPECT_EQ(condition("b", "Ready", "status"), "True");
    // So is one whose reference names nothing; what it names is not shown.
    broken["HOMEOSTAT_DATABASE_READERS"] = fmt::format("{} env:NO_READER_HERE; {} env:OF_BOB", ann_, team_);
    broken["OF_BOB"] = db.url(of_bob_);
    as_controller_.run_once(broken);
    EXPECT_THAT(condition("a", "Stalled", "message"), HasSubstr("NO_READER_HERE"));
    EXPECT_EQ(condition("b", "Ready", "status"), "True");
}

// Where none fits: the one for everybody, or as before.
TEST_F(Readers, WhereNoneFitsTheLoginForAllReads) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(ann_).exec(fmt::format("GRANT SELECT ON ann.docs TO {}", reader_));
    const std::string list = fmt::format("{} {}", team_, db.url(of_bob_));
    EXPECT_EQ(as_controller_.run_once({{"HOMEOSTAT_DATABASE_READERS", list}, {"HOMEOSTAT_DATABASE_READER_URL", db.url(reader_)}})
                  .exit.code,
              kConverged);
    EXPECT_EQ(as_controller_.run_once({{"HOMEOSTAT_DATABASE_READERS", list}}).exit.code, kFailed);
    EXPECT_THAT(stalled(), HasSubstr("role \"" + controller_ + "\" may not read table ann.docs"));
}

// The rows of a target view, and the pipelines they declare, are its owner's.
TEST_F(Readers, ATargetViewIsReadByItsOwners) {
    as(bob_).exec(
        fmt::format("CREATE VIEW bob.tenants AS SELECT 'mine_' || current_user AS name, 'bob.docs' AS source, 'body' AS content,"
                    " 'hashing' AS provider, 16 AS dimensions, 'bob.mine_v' AS target;"
                    "GRANT SELECT ON bob.tenants TO {}",
                    of_bob_));
    as(bob_).exec("INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'bob.tenants')");
    // The controller writes the row for bob, who may read what it names, and reads nothing of it itself.
    ASSERT_EQ(db.value(fmt::format("SELECT has_any_column_privilege('{}', 'bob.docs', 'SELECT')", controller_)), "f");
    const auto run = as_controller_.run_once(each());
    EXPECT_EQ(run.exit.code, kConverged) << run.output;
    EXPECT_EQ(db.value("SELECT name FROM homeostat.pipeline"), "mine_" + of_bob_);
    EXPECT_THAT(served("bob.mine_v"), HasSubstr("Body 5"));
}

// What bob may not read nobody declares for him, whoever writes the row and whoever reads.
TEST_F(Readers, ATargetViewDeclaresNothingThatItsOwnerMayNotRead) {
    db.exec(fmt::format("GRANT SELECT ON public.secret TO {}, {}", of_bob_, controller_));
    as(bob_).exec(
        fmt::format("CREATE VIEW bob.tenants AS SELECT 'it' AS name, 'public.secret' AS source, 'body' AS content,"
                    " 'hashing' AS provider, 16 AS dimensions, 'bob.secret_v' AS target;"
                    "GRANT SELECT ON bob.tenants TO {}",
                    of_bob_));
    as(bob_).exec("INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'bob.tenants')");
    as_controller_.run_once(each());
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_THAT(db.value("SELECT refusal FROM homeostat.target_view_row"),
                HasSubstr(fmt::format("role \"{}\" may not read table public.secret; GRANT SELECT ON it first", bob_)));
    // A column that he may read does not show him the others.
    db.exec(fmt::format("GRANT SELECT (id, other) ON public.secret TO {}", bob_));
    as_controller_.run_once(each());
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_THAT(db.value("SELECT refusal FROM homeostat.target_view_row"),
                HasSubstr(fmt::format("role \"{}\" may not read column \"body\" of table public.secret", bob_)));
}

}  // namespace
}  // namespace homeostat
