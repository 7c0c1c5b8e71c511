// `doctor` on servers that are well and servers that are not: each fault is found, and its fix, carried out, mends it.
#include <nlohmann/json.hpp>

#include "controller/cli/checks/doctor_checks.hpp"
#include "tests/integration/cli_case.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/process.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CliDoctor : public CliCase {
protected:
    // The check of a subject that is worst; null where there is none.
    static json of(const json& checks, const std::string& subject) {
        json found;
        for (const json& c : checks) {
            if (c["subject"] == subject && (found.is_null() || c["health"] != "ok")) found = c;
        }
        return found;
    }
    json examine(int code) {
        const Answer a = run({"doctor", "-o", "json"});
        EXPECT_EQ(a.code, code) << a.out << a.err;
        return json::parse(a.out);
    }
    // The local model is not on every machine, and used by nobody here.
    void without_local() { db.exec("DELETE FROM homeostat.provider WHERE name = 'local'"); }
};

TEST_F(CliDoctor, AllIsWellOnAFreshDatabase) {
    without_local();
    declare_articles(3);
    const json checks = examine(0);
    for (const char* subject : {"connection", "latency", "clock", "connections", "extension", "vacuum", "schema", "rights",
                                "sources", "provider hashing", "notifications", "memory"}) {
        EXPECT_EQ(of(checks, subject)["health"], "ok") << subject << checks.dump(1);
    }
    EXPECT_THAT(ends(0, {"doctor"}), AllOf(HasSubstr("SUBJECT"), HasSubstr("ok  connection"), HasSubstr("timeline 1")));
}

// Who may declare may lock what others have declared: he is named, and nothing is asked that would wait for him.
TEST_F(CliDoctor, WhoLocksWhatIsDeclaredIsNamed) {
    without_local();
    declare_articles(3);
    kit::Sql holder(db.url());
    holder.exec("SET application_name = 'bob'; BEGIN; SELECT FROM homeostat.pipeline FOR UPDATE");
    const std::string old =
        "SELECT clock_timestamp() - xact_start > '6 seconds' FROM pg_stat_activity WHERE application_name = 'bob'";
    ASSERT_TRUE(kit::eventually([&] { return db.value(old) == "t"; }));
    const json rows = of(examine(1), "locks");
    EXPECT_EQ(rows["health"], "warn");
    EXPECT_THAT(rows["found"].get<std::string>(),
                AllOf(HasSubstr("(bob, role postgres), whose transaction began"), HasSubstr("holds rows on homeostat.pipeline")));
    EXPECT_THAT(rows["fix"].get<std::string>(), HasSubstr("ALTER ROLE postgres SET idle_in_transaction_session_timeout"));
    holder.exec("LOCK TABLE homeostat.provider IN ACCESS EXCLUSIVE MODE");
    const json all = of(examine(2), "locks");
    EXPECT_EQ(all["health"], "fail");
    EXPECT_THAT(all["found"].get<std::string>(), HasSubstr("holds a lock on homeostat.pipeline, homeostat.provider"));
    holder.exec("ROLLBACK");
    EXPECT_EQ(of(examine(0), "locks")["health"], "ok");
}

TEST_F(CliDoctor, NoServerAndNoSchema) {
    url = "host=/no/such/folder";
    const json nothing = examine(2);
    EXPECT_EQ(of(nothing, "connection")["health"], "fail");
    EXPECT_THAT(of(nothing, "connection")["fix"].get<std::string>(), HasSubstr("--database URL"));
    url.clear();
    db.exec("DROP SCHEMA homeostat CASCADE; DROP SCHEMA homeostat_data CASCADE");
    EXPECT_EQ(of(examine(2), "schema")["fix"], "homeostat migrate up");
    ends(0, {"migrate", "up"});
    without_local();
    examine(0);
}

TEST_F(CliDoctor, MissingRightsAreNamedAndTheFixMendsThem) {
    without_local();
    declare_articles(3);
    const std::string role = "bare_" + db.name();
    db.exec("CREATE ROLE \"" + role + "\" LOGIN");
    url = db.url(role);
    EXPECT_EQ(of(examine(2), "schema")["fix"], "GRANT homeostat_controller to the role that runs homeostat");
    db.exec("GRANT USAGE ON SCHEMA homeostat TO \"" + role + "\"; GRANT SELECT ON homeostat.migration TO \"" + role + "\"");
    EXPECT_THAT(of(examine(2), "rights")["found"].get<std::string>(), HasSubstr("this role lacks"));
    db.exec("GRANT homeostat_controller TO \"" + role + "\"");
    const json checks = examine(2);
    EXPECT_EQ(of(checks, "rights"), json()) << checks.dump(1);
    const std::string fix = [&] {
        for (const json& c : checks) {
            if (c["found"].get<std::string>().find("CREATE in schema public") != std::string::npos)
                return c["fix"].get<std::string>();
        }
        return std::string();
    }();
    EXPECT_EQ(fix, "GRANT CREATE ON SCHEMA public TO " + role);
    EXPECT_THAT(of(checks, "pipeline articles")["found"].get<std::string>(), HasSubstr("may not read table public.articles"));
    db.exec(fix);
    db.exec("GRANT SELECT ON articles TO \"" + role + "\"");
    examine(0);
    db.exec("DROP OWNED BY \"" + role + "\"; DROP ROLE \"" + role + "\"");
}

// As after a restore into a cluster without them: what they were granted is gone, and comes back as it was.
TEST_F(CliDoctor, RolesThatAreMadeAgainHaveTheRightsTheyHad) {
    const std::string rights =
        "SELECT string_agg(line, E'\n' ORDER BY line) FROM ("
        " SELECT c.oid::regclass || ' ' || a.grantee::regrole || ' ' || a.privilege_type AS line FROM pg_class c,"
        "  aclexplode(c.relacl) a WHERE c.relnamespace = 'homeostat'::regnamespace AND c.relname !~ '_[0-9]{4}'"
        " UNION ALL SELECT t.attrelid::regclass || '.' || t.attname || ' ' || a.grantee::regrole || ' ' || a.privilege_type"
        "  FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a"
        "  WHERE c.relnamespace = 'homeostat'::regnamespace"
        " UNION ALL SELECT p.oid::regprocedure || ' ' || a.grantee::regrole || ' ' || a.privilege_type FROM pg_proc p,"
        "  aclexplode(p.proacl) a WHERE p.pronamespace = 'homeostat'::regnamespace AND a.grantee <> 0"
        " UNION ALL SELECT n.nspname || ' ' || a.grantee::regrole || ' ' || a.privilege_type FROM pg_namespace n,"
        "  aclexplode(n.nspacl) a WHERE n.nspname LIKE 'homeostat%') l WHERE line ~ ' homeostat_(controller|declarer) '";
    const std::string granted = db.value(rights);
    for (const char* role : {"homeostat_owner", "homeostat_controller", "homeostat_declarer"}) {
        const std::string from = std::string(" FROM ") + role + ";";
        db.exec("REVOKE ALL ON ALL TABLES IN SCHEMA homeostat" + from + "REVOKE ALL ON ALL SEQUENCES IN SCHEMA homeostat" + from +
                "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA homeostat" + from + "REVOKE ALL ON SCHEMA homeostat, homeostat_data" +
                from);
    }
    ASSERT_NE(db.value(rights), granted);
    ends(0, {"migrate", "roles"});
    EXPECT_EQ(db.value(rights), granted);
    ends(0, {"migrate", "roles"});
    EXPECT_EQ(db.value(rights), granted);
}

// A login that owns what was made cannot leave.
TEST_F(CliDoctor, OwnersOfWhatWasMade) {
    without_local();
    declare_articles(3);
    ends(0, {"run", "--once"});
    EXPECT_EQ(of(examine(0), "owners")["health"], "ok");
    const std::string role = "Left " + db.name();
    db.exec("CREATE ROLE \"" + role + "\"; ALTER TABLE homeostat_data.p1_r1_document OWNER TO \"" + role + "\"");
    const json found = of(examine(1), "owners");
    EXPECT_EQ(found["health"], "warn");
    EXPECT_THAT(found["found"].get<std::string>(), AllOf(HasSubstr("1 object "), HasSubstr(role), HasSubstr("p1_r1_document")));
    db.exec(found["fix"].get<std::string>());
    EXPECT_EQ(of(examine(0), "owners")["health"], "ok");
    db.exec("DROP ROLE \"" + role + "\"");
}

TEST_F(CliDoctor, AProviderThatDoesNotAnswerAsDeclared) {
    without_local();
    kit::FakeEndpoint endpoint({.dimensions = 8});
    db.exec("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('p', '" + endpoint.url() + "', 'm', 16)");
    const json unused = examine(1);
    EXPECT_EQ(of(unused, "provider p")["health"], "warn");
    EXPECT_THAT(of(unused, "provider p")["found"].get<std::string>(), HasSubstr("used by no pipeline"));
    declare_articles(1);
    db.exec("UPDATE homeostat.pipeline SET provider = 'p'");
    const json used = examine(2);
    EXPECT_EQ(of(used, "provider p")["health"], "fail");
    EXPECT_THAT(of(used, "provider p")["fix"].get<std::string>(), HasSubstr("check model and dimensions"));
    db.exec("UPDATE homeostat.pipeline SET dimensions = 8");
    EXPECT_EQ(of(examine(0), "provider p")["health"], "ok");
    db.exec("UPDATE homeostat.provider SET timeout = '2 seconds' WHERE name = 'p'");
    const json hurried = of(examine(1), "provider p");
    EXPECT_EQ(hurried["health"], "warn");
    EXPECT_THAT(hurried["found"].get<std::string>(), HasSubstr("its timeout leaves 20 ms for each of the 100 texts"));
    EXPECT_THAT(hurried["fix"].get<std::string>(), HasSubstr("a max_batch of 20"));
    db.exec("UPDATE homeostat.provider SET timeout = '1 minute' WHERE name = 'p'");
    db.exec(
        "UPDATE homeostat.provider SET request = '{\"input_type\": \"passage\"}', query_request = '{\"input_type\": \"query\"}' "
        "WHERE name = 'p'");
    EXPECT_EQ(of(examine(0), "provider p")["health"], "ok");
    EXPECT_THAT(endpoint.requests().back().http.body, HasSubstr("passage"));
    endpoint.always({.status = 401});
    EXPECT_THAT(of(examine(2), "provider p")["fix"].get<std::string>(), HasSubstr("valid credential"));
}

TEST_F(CliDoctor, TheSandboxIsLookedAtWhereAProviderIsAProgram) {
    without_local();
    EXPECT_EQ(of(examine(0), "sandbox"), json());
    db.exec(
        "INSERT INTO homeostat.provider (name, kind, command, model, dimensions) VALUES ('mine', 'exec', '{/bin/false}', 'm', "
        "16)");
    const Answer a = run({"doctor", "-o", "json"});
    const json found = of(json::parse(a.out), "sandbox");
    EXPECT_THAT(found["found"].get<std::string>(), HasSubstr("seccomp, limits, no new privileges"));
    EXPECT_EQ(found["health"] == "ok", found["found"].get<std::string>().find("not here") == std::string::npos) << found;
    EXPECT_EQ(found["health"] == "ok", !found.contains("fix")) << found;
    EXPECT_THAT(ends(0, {"describe", "provider", "mine"}), AllOf(HasSubstr("Sandbox on this machine: seccomp"),
                                                                 HasSubstr("Quarantined: no"), HasSubstr("Last calls: none")));
}

TEST(DoctorSandbox, SaysWhatIsMissingAndWhatWouldBringIt) {
    const Check all = judge_sandbox({true, true, true, true});
    EXPECT_EQ(all.health, CheckHealth::ok);
    EXPECT_EQ(all.fix, "");
    const Check none = judge_sandbox({});
    EXPECT_EQ(none.health, CheckHealth::fail);
    EXPECT_THAT(none.fix, HasSubstr("seccomp"));
    const Check weak = judge_sandbox({true, false, false, false});
    EXPECT_EQ(weak.health, CheckHealth::warn);
    EXPECT_THAT(weak.fix, AllOf(HasSubstr("user.max_user_namespaces"), HasSubstr("Linux 5.13"), Not(HasSubstr("tmpfs"))));
    EXPECT_THAT(judge_sandbox({true, true, true, false}).fix, HasSubstr("tmpfs"));
}

TEST_F(CliDoctor, ASourceThatIsGoneAndADatabaseThatIsReadOnly) {
    without_local();
    declare_articles(1);
    db.exec("ALTER TABLE articles RENAME TO elsewhere");
    EXPECT_THAT(of(examine(2), "pipeline articles")["found"].get<std::string>(), HasSubstr("its source public.articles is gone"));
    db.exec("ALTER TABLE elsewhere RENAME TO articles");
    db.exec("ALTER DATABASE \"" + db.name() + "\" SET default_transaction_read_only = on");
    EXPECT_EQ(of(examine(2), "connection")["health"], "fail");
}

}  // namespace
}  // namespace homeostat
