// Pipelines declared by the rows of a relation, with the real program: rows that appear, change and vanish, the brakes,
// approvals, and everything that a row, a name or a relation can have wrong with it.
#include <csignal>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class TargetViews : public World {
protected:
    // A table of documents, and one of tenants whose rows declare pipelines over it.
    void make(int tenants, const std::string& on_removal = "Suspend") {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 3) i;"
                        "CREATE TABLE tenants (name text, source text DEFAULT 'docs', content text DEFAULT 'body',"
                        " provider text DEFAULT 'hashing', dimensions int DEFAULT 16, target text, chunk_size int,"
                        " index_method text DEFAULT 'none');"
                        "INSERT INTO tenants (name, target) SELECT 't' || i, 't' || i || '_v' FROM generate_series(1, {}) i;"
                        "INSERT INTO homeostat.target_view (name, relation, on_removal, interval)"
                        " VALUES ('tenants', 'tenants', '{}', '100 milliseconds')",
                        tenants, on_removal));
    }
    std::string of_view(const std::string& type, const std::string& column = "status") {
        return db.value(fmt::format(
            "SELECT coalesce((SELECT c.{} FROM homeostat.target_view_condition c JOIN homeostat.target_view v USING (uid)"
            " WHERE v.name = 'tenants' AND c.type = '{}'), 'none')",
            column, type));
    }
    std::string living() {
        return db.value(
            "SELECT coalesce(string_agg(name || CASE WHEN suspend THEN '-' ELSE '' END, ' ' ORDER BY uid), '')"
            " FROM homeostat.pipeline WHERE deletion_requested_at IS NULL");
    }
    std::string plan() { return db.value("SELECT plan FROM homeostat.target_views WHERE name = 'tenants'"); }
    std::string command(const kit::Arguments& arguments, int expected = 0) {
        const kit::Program::Outcome outcome = homeostat.run(arguments);
        EXPECT_EQ(outcome.exit.code, expected) << outcome.output;
        return outcome.output;
    }
    std::string refused(const std::string& sql) {
        try {
            db.exec(sql);
        } catch (const std::exception& e) {
            return e.what();
        }
        return "not refused";
    }
};

TEST_F(TargetViews, RowsAppearAndChange) {
    make(2);
    run_once(kConverged);
    EXPECT_EQ(living(), "t1 t2");
    EXPECT_EQ(db.value("SELECT count(*) FROM t2_v"), "3");
    EXPECT_EQ(of_view("Ready"), "True");
    db.exec("UPDATE tenants SET chunk_size = 77 WHERE name = 't1'; INSERT INTO tenants (name, target) VALUES ('t3', 't3_v')");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT string_agg(chunk_size::text || '/' || generation, ' ' ORDER BY name) FROM homeostat.pipeline"),
              "77/2 400/1 400/1");
    EXPECT_EQ(db.value("SELECT count(*) FROM t3_v"), "3");
    db.exec("ALTER TABLE tenants DROP COLUMN chunk_size");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT DISTINCT chunk_size FROM homeostat.pipeline"), "400") << "what no column says is the default";
}

TEST_F(TargetViews, ThreeHundredRowsAreThreeHundredConvergedPipelinesInOneRun) {
    make(300);
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current' AND documents = 3"), "300");
}

TEST_F(TargetViews, ARowIsAConvergedPipelineOfARunningController) {
    make(1);
    db.exec("UPDATE homeostat.target_view SET interval = '1 second'");
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_LOOP_POLL", "1s"}});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'", "1")) << run.output();
    db.exec("INSERT INTO tenants (name, target) VALUES ('new', 'new_v')");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'", "2")) << run.output();
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
}

TEST_F(TargetViews, ALookAtRowsThatDidNotChangeWritesNothing) {
    make(50);
    run_once(kConverged);
    const auto state = [&] {
        return db.value(
            "SELECT (SELECT string_agg(xmin::text, ',' ORDER BY name) FROM homeostat.target_view_row)"
            " || (SELECT string_agg(xmin::text, ',') FROM homeostat.target_view_status)"
            " || (SELECT string_agg(xmin::text, ',' ORDER BY type) FROM homeostat.target_view_condition)"
            " || (SELECT string_agg(xmin::text, ',') FROM homeostat.target_view)"
            " || (SELECT string_agg(xmin::text, ',' ORDER BY name) FROM homeostat.pipeline)");
    };
    const std::string before = state();
    kit::Process run = homeostat.start({"run"});
    // Looks are counted by the server: each is one scan of the tenants.
    const auto scans = [&] {
        db.exec("SELECT pg_stat_clear_snapshot()");
        return number("SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'tenants'::regclass");
    };
    const std::int64_t seen = scans();
    ASSERT_TRUE(kit::eventually([&] { return scans() >= seen + 5; })) << run.output();
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
    EXPECT_EQ(state(), before);
}

TEST_F(TargetViews, AVanishedRowSuspendsAndItsReturnResumes) {
    make(20);
    run_once(kConverged);
    db.exec("DELETE FROM tenants WHERE name = 't7'");
    run_once(kDriftLeft);  // a suspended pipeline is not as declared
    EXPECT_EQ(db.value("SELECT name || ': ' || suspend_reason FROM homeostat.pipeline WHERE suspend"),
              "t7: its row is no longer in public.tenants (target view \"tenants\")");
    EXPECT_EQ(db.value("SELECT count(*) FROM t7_v"), "3") << "nothing is lost";
    EXPECT_EQ(db.value("SELECT pipelines FROM homeostat.target_views"), "19");
    db.exec("INSERT INTO tenants (name, target, chunk_size) VALUES ('t7', 't7_v', 33)");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT suspend::text || chunk_size FROM homeostat.pipeline WHERE name = 't7'"), "false33");
}

TEST_F(TargetViews, AReturnDoesNotResumeWhatAPersonSuspended) {
    make(20);
    run_once(kConverged);
    command({"suspend", "t7", "--reason", "mine"});
    db.exec("DELETE FROM tenants WHERE name = 't7'");
    run_once(kDriftLeft);
    db.exec("INSERT INTO tenants (name, target) VALUES ('t7', 't7_v')");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT suspend_reason FROM homeostat.pipeline WHERE name = 't7'"), "mine");
}

TEST_F(TargetViews, AVanishedRowDeletesOrLetsGoAsDeclared) {
    make(20, "Delete");
    run_once(kConverged);
    db.exec("DELETE FROM tenants WHERE name = 't7'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline WHERE name = 't7'"), "0");
    db.exec("UPDATE homeostat.target_view SET on_removal = 'Orphan'; DELETE FROM tenants WHERE name = 't8'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT target_view IS NULL AND NOT suspend FROM homeostat.pipeline WHERE name = 't8'"), "t");
    db.exec("UPDATE homeostat.pipeline SET chunk_size = 50 WHERE name = 't8'");  // a person's now
    db.exec("INSERT INTO tenants (name, target) VALUES ('t8', 't8_v')");
    run_once(kDriftLeft);
    EXPECT_THAT(of_view("NamesTaken", "message"), HasSubstr("\"t8\"")) << "and never taken back";
    EXPECT_EQ(db.value("SELECT chunk_size FROM homeostat.pipeline WHERE name = 't8'"), "50");
}

TEST_F(TargetViews, AnEmptyRelationRemovesNothing) {
    make(3, "Delete");
    run_once(kConverged);
    db.exec("TRUNCATE tenants");
    run_once(kDriftLeft);
    EXPECT_EQ(living(), "t1 t2 t3");
    EXPECT_EQ(of_view("RemovalBlocked", "reason"), "RelationEmpty");
    EXPECT_EQ(of_view("Ready"), "False");
    db.exec("INSERT INTO tenants (name, target) SELECT 't' || i, 't' || i || '_v' FROM generate_series(1, 3) i");
    run_once(kConverged);
    EXPECT_EQ(of_view("RemovalBlocked"), "False");
    EXPECT_EQ(living(), "t1 t2 t3");
}

TEST_F(TargetViews, HalfOfTheRowsAndATenthAreHeldAndApprovalReleasesExactlyThatSet) {
    make(20, "Delete");
    db.exec("UPDATE homeostat.target_view SET max_removal_ratio = 1");
    run_once(kConverged);
    db.exec("DELETE FROM tenants WHERE substr(name, 2)::int > 9");
    run_once(kDriftLeft);
    EXPECT_EQ(of_view("RemovalBlocked", "reason"), "RelationShrank");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "20");
    db.exec(
        "INSERT INTO tenants (name, target) SELECT 't' || i, 't' || i || '_v' FROM generate_series(10, 17) i;"
        "UPDATE homeostat.target_view SET max_removal_ratio = 0.1");
    run_once(kDriftLeft);
    EXPECT_EQ(of_view("RemovalBlocked", "reason"), "RemovalLimit") << "three of twenty are more than a tenth";
    const std::string first = plan();
    db.exec("DELETE FROM tenants WHERE name = 't1'; INSERT INTO tenants (name, target) VALUES ('t18', 't18_v')");
    command({"approve", "tenants", first});
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "20") << "another set is another plan";
    EXPECT_NE(plan(), first);
    EXPECT_EQ(db.value("SELECT approval IS NULL FROM homeostat.target_view"), "t");
    EXPECT_THAT(command({"approve", "targetview/tenants", first}, 2), HasSubstr("is not the plan that waits; that is " + plan()));
    EXPECT_EQ(command({"approve", "tenants", plan()}), "targetview/tenants: plan " + plan() + " approved\n");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT string_agg(name, ' ') FROM tenants t WHERE NOT EXISTS (SELECT FROM homeostat.pipeline p WHERE "
                       "p.name = t.name)"),
              "");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "17");
    EXPECT_EQ(of_view("RemovalBlocked"), "False");
}

TEST_F(TargetViews, AnUnreadableRelationIsUnknownAndChangesNothing) {
    make(3, "Delete");
    run_once(kConverged);
    db.exec("ALTER TABLE tenants RENAME TO elsewhere");
    run_once(kFailed);
    EXPECT_EQ(living(), "t1 t2 t3");
    EXPECT_EQ(of_view("Ready"), "Unknown");
    EXPECT_EQ(of_view("Ready", "reason"), "RelationUnreadable");
    EXPECT_EQ(db.value("SELECT rows IS NULL FROM homeostat.target_views"), "t");
    db.exec(
        "CREATE VIEW tenants AS SELECT name, source, content, provider, dimensions, target, 1 / (length(name) - 2) AS chunk_size"
        " FROM elsewhere");
    run_once(kFailed);
    EXPECT_THAT(of_view("Ready", "message"), HasSubstr("division by zero"));
    db.exec(
        "CREATE OR REPLACE VIEW tenants AS SELECT name, source, content, provider, dimensions, target, 44 AS chunk_size FROM "
        "elsewhere");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT DISTINCT chunk_size FROM homeostat.pipeline"), "44");
}

TEST_F(TargetViews, ANameThatSomebodyElseDeclaredIsLeftAlone) {
    make(2);
    declare("t1", "docs", "content, chunk_size", "'body', 123");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT chunk_size || coalesce(target_view::text, '') FROM homeostat.pipeline WHERE name = 't1'"), "123");
    EXPECT_THAT(of_view("NamesTaken", "message"), HasSubstr("\"t1\""));
    EXPECT_EQ(db.value("SELECT count(*) FROM t2_v"), "3");
    db.exec("DELETE FROM homeostat.pipeline WHERE name = 't1'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT chunk_size FROM homeostat.pipeline WHERE name = 't1'"), "400");
}

TEST_F(TargetViews, RefusedRowsDoNotStopTheOthersAndSayWhy) {
    make(20);
    db.exec(
        "UPDATE tenants SET source = 'doks' WHERE name = 't3'; UPDATE tenants SET content = 'boddy' WHERE name = 't9';"
        "UPDATE tenants SET source = NULL WHERE name = 't11'; UPDATE tenants SET name = NULL WHERE name = 't12';"
        "INSERT INTO tenants (name, target) VALUES ('t13', 'other_v')");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'"), "15");
    const std::string why = of_view("RowsRefused", "message");
    EXPECT_THAT(why,
                AllOf(HasSubstr("pipeline \"t3\": relation doks does not exist (did you mean \"docs\"?)"),
                      HasSubstr("pipeline \"t9\": content column \"boddy\" is not in table public.docs (did you mean \"body\"?)"),
                      HasSubstr("pipeline \"t11\": its row in public.tenants has no source"), HasSubstr("has no name"),
                      HasSubstr("pipeline \"t13\": more than one row of public.tenants has this name")));
    EXPECT_THAT(command({"describe", "tv", "tenants"}), HasSubstr("did you mean \"body\"?"));
    db.exec(
        "DELETE FROM tenants WHERE name IN ('t11', 't13') OR name IS NULL; UPDATE tenants SET source = 'docs', content = 'body'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "17");
    // A pipeline whose row becomes wrong stays as it was.
    db.exec("UPDATE tenants SET content = 'boddy' WHERE name = 't1'");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT content || suspend FROM homeostat.pipeline WHERE name = 't1'"), "bodyfalse");
}

TEST_F(TargetViews, RowsMayRestOnEachOtherInAnyOrder) {
    make(1);
    db.exec(
        "ALTER TABLE tenants ADD COLUMN depends_on text;"
        "INSERT INTO tenants (name, target, depends_on) VALUES ('a', 'a_v', 'b'), ('b', 'b_v', 'c'), ('c', 'c_v', NULL)");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'"), "4");
}

TEST_F(TargetViews, PeopleCannotEditWhatARowDeclares) {
    make(1);
    run_once(kConverged);
    EXPECT_THAT(refused("UPDATE homeostat.pipeline SET chunk_size = 5"),
                HasSubstr("pipeline \"t1\": target view \"tenants\" declares it; edit its row in public.tenants instead"));
    EXPECT_THAT(refused("UPDATE homeostat.pipeline SET target_view = NULL"), HasSubstr("written by the controller only"));
    EXPECT_THAT(refused("INSERT INTO homeostat.pipeline (name, source, content, provider, target, target_view)"
                        " SELECT 'x', 'docs', 'body', 'hashing', 'x_v', uid FROM homeostat.target_view"),
                HasSubstr("written by the controller only"));
    command({"suspend", "t1"});
    command({"resume", "t1"});
    EXPECT_EQ(db.value("SELECT generation FROM homeostat.pipeline"), "1");
    db.exec("DELETE FROM homeostat.pipeline");
    run_once(kConverged);
    EXPECT_EQ(living(), "t1") << "what a row declares is declared again";
}

TEST_F(TargetViews, ADeclarerGetsNoFurtherByARowThanByItsOwnRights) {
    make(0);
    db.exec(
        "CREATE TABLE secret (id int PRIMARY KEY, body text);"
        "DROP ROLE IF EXISTS tv_alice; CREATE ROLE tv_alice LOGIN; GRANT homeostat_declarer TO tv_alice; GRANT ALL ON tenants, "
        "docs TO "
        "tv_alice; GRANT ALL ON SCHEMA public TO tv_alice");
    kit::Sql alice(db.url("tv_alice"));
    db.exec("DELETE FROM homeostat.target_view");
    alice.exec("INSERT INTO tenants (name, source, target) VALUES ('a', 'docs', 'a_v'), ('b', 'secret', 'b_v')");
    run_once(kConverged);
    alice.exec("INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'tenants')");
    run_once(kDriftLeft);
    EXPECT_EQ(living(), "a");
    EXPECT_THAT(of_view("RowsRefused", "message"),
                HasSubstr("pipeline \"b\": role \"tv_alice\" may not read table public.secret; GRANT SELECT ON it first"));
    EXPECT_THAT([&] { alice.exec("SET homeostat.target_view = '1'; UPDATE homeostat.pipeline SET chunk_size = 5"); },
                ::testing::ThrowsMessage<std::runtime_error>(HasSubstr("declares it")));
    db.exec("DROP OWNED BY tv_alice; DROP ROLE tv_alice");
}

TEST_F(TargetViews, TheControllersRoleIsEnough) {
    make(20, "Delete");
    db.exec(
        "DROP ROLE IF EXISTS tv_run; CREATE ROLE tv_run LOGIN; GRANT homeostat_controller TO tv_run; GRANT SELECT ON docs TO "
        "tv_run;"
        "GRANT USAGE, CREATE ON SCHEMA public TO tv_run");
    const kit::Program as_controller(db.url("tv_run"));
    EXPECT_EQ(as_controller.run_once().exit.code, kFailed);
    EXPECT_EQ(of_view("Ready", "reason"), "RightMissing");
    db.exec("GRANT SELECT ON tenants TO tv_run");
    const kit::Program::Outcome declared = as_controller.run_once();
    EXPECT_EQ(declared.exit.code, kConverged) << declared.output;
    db.exec("DELETE FROM tenants WHERE name = 't1'; UPDATE tenants SET chunk_size = 9 WHERE name = 't2'");
    const kit::Program::Outcome changed = as_controller.run_once();
    EXPECT_EQ(changed.exit.code, kConverged) << changed.output;
    EXPECT_EQ(db.value("SELECT count(*) || '/' || max(generation) FROM homeostat.pipeline"), "19/2");
    db.exec("DELETE FROM homeostat.target_view");
    const kit::Program::Outcome deleted = as_controller.run_once();
    EXPECT_EQ(deleted.exit.code, kConverged) << deleted.output;
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    db.exec("DROP OWNED BY tv_run CASCADE; DROP ROLE tv_run");
}

TEST_F(TargetViews, NamesMayBeAnything) {
    db.exec(
        "CREATE SCHEMA \"odd; DROP SCHEMA\"; CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'x');"
        "CREATE TABLE \"odd; DROP SCHEMA\".\"ten\"\"ants'{}%\" (name text, source text, content text, provider text, target text,"
        " dimensions int, \"weird \"\" column\" int);"
        "INSERT INTO \"odd; DROP SCHEMA\".\"ten\"\"ants'{}%\" VALUES"
        " ('a\"b; --', 'docs', 'body', 'hashing', '\"v\"\"1\"', 16, 1), ('c'',{}\\', 'docs', 'body', 'hashing', 'v2', 16, 1),"
        " ('select', 'docs', 'body', 'hashing', 'v3', 16, 1);"
        "INSERT INTO homeostat.target_view (name, relation, interval) VALUES"
        " ('t''\"%s{}', '\"odd; DROP SCHEMA\".\"ten\"\"ants''{}%\"', '100 milliseconds')");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'"), "3");
    db.exec("DELETE FROM \"odd; DROP SCHEMA\".\"ten\"\"ants'{}%\" WHERE target = 'v2'");
    run_once(kDriftLeft);
    EXPECT_EQ(db.value("SELECT name FROM homeostat.pipeline WHERE suspend"), "c',{}\\");
    EXPECT_THAT(command({"get", "tv", "-o", "yaml"}), HasSubstr("ColumnsIgnored"));
}

TEST_F(TargetViews, DeletingTheTargetViewDoesWithItsPipelinesWhatItSays) {
    for (const std::string policy : {"Suspend", "Delete", "Orphan"}) {
        kit::Database fresh;
        SCOPED_TRACE(policy);
        const kit::Program program(fresh.url());
        fresh.exec(fmt::format(
            "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'x');"
            "CREATE TABLE tenants AS SELECT 't' || i AS name, 'docs' AS source, 'body' AS content, 'hashing' AS provider,"
            " 't' || i || '_v' AS target, 16 AS dimensions FROM generate_series(1, 5) i;"
            "INSERT INTO homeostat.target_view (name, relation, on_removal) VALUES ('tenants', 'tenants', '{}')",
            policy));
        ASSERT_EQ(program.run_once().exit.code, kConverged);
        EXPECT_EQ(program.run({"delete", "targetview", "tenants"}).output, "targetview/tenants is being deleted\n");
        EXPECT_EQ(fresh.value("SELECT count(*) FROM homeostat.target_view"), "1") << "until the controller has done it";
        EXPECT_EQ(program.run_once().exit.code, policy == "Suspend" ? kDriftLeft : kConverged);
        EXPECT_EQ(fresh.value("SELECT count(*) FROM homeostat.target_view"), "0");
        EXPECT_EQ(fresh.value("SELECT count(*) FROM homeostat.target_view_row"), "0");
        EXPECT_EQ(fresh.value("SELECT count(*) || '/' || count(*) FILTER (WHERE suspend) || '/' || count(target_view) FROM "
                              "homeostat.pipeline"),
                  policy == "Delete"    ? "0/0/0"
                  : policy == "Suspend" ? "5/5/0"
                                        : "5/0/0");
        EXPECT_EQ(fresh.value("SELECT count(*) FROM t1_v"), "1") << "vectors go only where a pipeline's deletion_policy says so";
    }
}

TEST_F(TargetViews, OneReplicaLooksAndAnotherTakesOver) {
    make(3);
    kit::Process first = homeostat.start({"run"}, {{"HOMEOSTAT_REPLICA_NAME", "first"}});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'", "3")) << first.output();
    kit::Process second = homeostat.start({"run"}, {{"HOMEOSTAT_REPLICA_NAME", "second"}});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.replica", "2")) << second.output();
    const std::string holder = "SELECT holder FROM homeostat.lease WHERE resource LIKE 'target_view/%'";
    EXPECT_EQ(db.value(holder), "first");
    first.signal(SIGKILL);
    ASSERT_TRUE(first.wait(10s).has_value());
    db.exec("INSERT INTO tenants (name, target) VALUES ('t4', 't4_v')");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'", "4")) << second.output();
    EXPECT_EQ(db.value(holder), "second");
    second.signal(SIGTERM);
    EXPECT_EQ(second.wait(40s).value_or(kit::Exit{}).code, 0) << second.output();
}

TEST_F(TargetViews, ASuspendedTargetViewIsNotLookedAt) {
    make(2);
    EXPECT_EQ(command({"suspend", "targetview/tenants", "--reason", "not yet"}), "targetview/tenants suspended: not yet\n");
    EXPECT_EQ(command({"suspend", "targetview/tenants"}), "targetview/tenants suspended\n");
    EXPECT_EQ(db.value("SELECT suspend_reason FROM homeostat.target_view"), "not yet") << "said once, it stays";
    run_once(kDriftLeft);
    EXPECT_EQ(living(), "");
    EXPECT_EQ(of_view("Ready", "message"), "not yet");
    command({"resume", "targetview/tenants"});
    run_once(kConverged);
    EXPECT_EQ(living(), "t1 t2");
}

TEST_F(TargetViews, ManifestsGoBothWays) {
    make(1);
    db.exec("UPDATE homeostat.target_view SET labels = '{\"a\": \"1\"}', max_removal_ratio = 0.25");
    run_once(kConverged);
    const std::string before = db.value("SELECT xmin || ' ' || generation FROM homeostat.target_view");
    const std::string file = ::testing::TempDir() + "/homeostat_target_view_" + std::to_string(::getpid()) + ".yaml";
    for (const char* form : {"yaml", "json"}) {
        FILE* out = std::fopen(file.c_str(), "w");
        ASSERT_NE(out, nullptr);
        std::fputs(command({"get", "targetviews", "-o", form}).c_str(), out);
        std::fclose(out);
        EXPECT_EQ(command({"apply", "-f", file}), "targetview/tenants unchanged\n");
    }
    EXPECT_EQ(db.value("SELECT xmin || ' ' || generation FROM homeostat.target_view"), before);
    std::remove(file.c_str());
    EXPECT_THAT(command({"get", "tv"}), AllOf(HasSubstr("NAME"), HasSubstr("tenants  True   Declared  1     1")));
    EXPECT_THAT(command({"get", "tv", "-o", "wide"}), HasSubstr("public.tenants"));
    EXPECT_THAT(command({"describe", "targetview", "tenants"}),
                AllOf(HasSubstr("onRemoval: Suspend"), HasSubstr("Rows refused: none")));
}

TEST_F(TargetViews, WhatIsWrongIsRefusedWhenItIsWritten) {
    make(1);
    const auto declaring = [&](const std::string& columns) {
        db.exec("DROP TABLE IF EXISTS r; CREATE TABLE r (" + columns + ")");
        return refused("INSERT INTO homeostat.target_view (name, relation) VALUES ('x', 'r')");
    };
    EXPECT_THAT(
        declaring("nam text, source text, provider text, target text"),
        HasSubstr(
            "target view \"x\": table public.r has no column \"name\", which every pipeline needs (did you mean \"nam\"?)"));
    EXPECT_THAT(declaring("name text, source text, provider text, target text, chunk_size text"),
                HasSubstr("column \"chunk_size\" of table public.r is text; a pipeline needs integer there"));
    EXPECT_THAT(declaring("name varchar(20), source name, provider text, target text, labels text"),
                HasSubstr("column \"labels\" of table public.r is text; a pipeline needs jsonb there"));
    EXPECT_EQ(declaring("name varchar(20), source regclass, provider text, target name, content text[], dimensions smallint"),
              "not refused");
    EXPECT_THAT(refused("INSERT INTO homeostat.target_view (name, relation) VALUES ('y', 'tenant')"),
                HasSubstr("target view \"y\": relation tenant does not exist (did you mean \"tenants\"?)"));
    EXPECT_THAT(refused("UPDATE homeostat.target_view SET on_removal = 'delete'"), HasSubstr("(did you mean \"Delete\"?)"));
    EXPECT_THAT(refused("UPDATE homeostat.target_view SET interval = '1 ms'"), HasSubstr("it must be 100 milliseconds to 1 day"));
    EXPECT_THAT(refused("UPDATE homeostat.target_view SET name = 'z'"), HasSubstr("keeps its name"));
    EXPECT_THAT(refused("INSERT INTO homeostat.target_view (name, relation) VALUES ('y', 'homeostat.pipeline')"),
                HasSubstr("belongs to homeostat itself"));
}

}  // namespace
}  // namespace homeostat
