// Relatives of the attacks of trust_pgtest.cpp, a table for each kind: nothing is read, shown, sent or taken over, and the
// sentence says of what and for whom.
#include <vector>

#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TrustRelatives : public TrustWorld {
protected:
    // Whatever of the table of secrets came anywhere.
    std::string leaked() {
        return db.value(R"sql(
            SELECT coalesce(string_agg(n.oid::regclass::text, ', '), '') FROM pg_class n WHERE n.relkind = 'r' AND n.relname ~ '_chunk$'
              AND n.relnamespace = 'homeostat_data'::regnamespace
              AND query_to_xml(format('SELECT FROM %s c WHERE c::text LIKE ''%%the secret%%''', n.oid::regclass), true, false, '')::text LIKE '%<row%')sql");
    }
};

// What the server tells of itself and what tells roles apart is shown as the login that reads may see it, and not as the
// declarer.
TEST_F(TrustRelatives, WhatTellsWhoLooksIsNotReadForAnother) {
    db.exec(
        "INSERT INTO secret SELECT i, 'the secret', 'x' FROM generate_series(2, 9) i; ANALYZE secret;"
        "CREATE VIEW public.hers AS SELECT id, body FROM secret WHERE has_table_privilege('public.secret', 'SELECT');"
        "CREATE VIEW public.role AS SELECT id, body FROM secret WHERE pg_has_role('homeostat_controller', 'USAGE');"
        "CREATE VIEW public.named AS SELECT id, body FROM secret WHERE current_user LIKE 'trust_run%';"
        "CREATE VIEW public.session AS SELECT id, body FROM secret WHERE session_user LIKE 'trust_run%';"
        "CREATE VIEW public.below AS SELECT n.id, n.body FROM (SELECT * FROM public.named) n;"
        "GRANT SELECT ON public.hers, public.role, public.named, public.session, public.below TO PUBLIC");
    const std::pair<std::string, std::string> views[] = {
        {"stats", "SELECT attname AS id, most_common_vals::text AS body FROM pg_stats WHERE tablename = 'secret'"},
        {"activity", "SELECT pid AS id, query AS body FROM pg_stat_activity"},
        {"called", "SELECT pid AS id, query AS body FROM pg_stat_get_activity(NULL)"},
        {"settings", "SELECT name AS id, setting AS body FROM pg_settings"},
        {"schema", "SELECT table_name AS id, table_schema || '' AS body FROM information_schema.tables"},
        {"who", "SELECT 1 AS id, current_user::text AS body"},
        {"who_else", "SELECT 1 AS id, CASE WHEN user = 'x' THEN '' ELSE current_role END AS body"},
        {"over", "SELECT id, body FROM public.hers"},
        {"in_a_subquery", "SELECT id, (SELECT max(most_common_vals::text) FROM pg_stats) AS body FROM bob.docs"},
        {"in_a_with",
         "WITH w AS (SELECT most_common_vals::text AS body FROM pg_stats) SELECT 1 AS id, max(body) AS body FROM w"}};
    for (const auto& [name, query] : views) {
        as(bob_).exec(fmt::format("CREATE VIEW bob.{0} AS {1}; GRANT SELECT ON bob.{0} TO homeostat_controller", name, query));
        as(bob_).exec(declaration(name, "bob." + name, "bob." + name + "_v"));
    }
    as(bob_).exec(
        "CREATE VIEW bob.asked WITH (security_invoker) AS SELECT concat(schemaname, tablename, attname) AS id, "
        "most_common_vals::text AS body FROM pg_stats;"
        "GRANT SELECT ON bob.asked TO homeostat_controller");
    as(bob_).exec(declaration("asked", "bob.asked", "bob.asked_v"));
    std::vector<std::string> names{"asked"};
    for (const std::string given : {"hers", "role", "named", "session", "below"}) {
        as(bob_).exec(declaration(given, "public." + given, "bob." + given + "_v"));
        names.push_back(given);
    }
    for (const auto& [name, query] : views) names.push_back(name);
    EXPECT_EQ(as_controller_.run_once().exit.code, kFailed);
    for (const std::string& name : names) {
        EXPECT_EQ(condition(name, "Stalled", "reason"), "RightMissing") << name;
        EXPECT_THAT(condition(name, "Stalled", "message"),
                    AllOf(HasSubstr("pipeline \"" + name + "\": view "), HasSubstr("to role \"" + bob_ + "\""),
                          HasSubstr("which role \"" + controller_ + "\" sees"), HasSubstr("source.trusted_owners")))
            << name;
        EXPECT_EQ(db.value("SELECT to_regclass('bob." + name + "_v') IS NULL"), "t") << name;
    }
    for (const std::string own :
         {"pg_catalog.pg_stats", "pg_stat_activity", "information_schema.tables", "pg_catalog.pg_class"}) {
        EXPECT_THAT(refused(bob_, declaration("own", own, "bob.own_v")), HasSubstr("pipeline \"own\": ")) << own;
        EXPECT_THAT(refused(bob_, declaration("own", own, "bob.own_v")), HasSubstr("is the server's own")) << own;
        EXPECT_THAT(refused(bob_, "INSERT INTO homeostat.target_view (name, relation) VALUES ('own', '" + own + "')"),
                    HasSubstr("is the server's own"))
            << own;
    }
    EXPECT_EQ(leaked(), "");
    // The same of the rows of a target view.
    as(bob_).exec(
        "CREATE VIEW bob.tenants AS SELECT 'named_' || current_user AS name, 'bob.docs' AS source, 'body' AS content, 'hashing' "
        "AS"
        " provider, 16 AS dimensions, 'bob.mine_v' AS target; GRANT SELECT ON bob.tenants TO homeostat_controller;"
        "INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'bob.tenants')");
    as_controller_.run_once();
    EXPECT_THAT(db.value("SELECT message FROM homeostat.target_view_condition WHERE type = 'Ready'"),
                HasSubstr("target view \"tenants\": view bob.tenants tells who looks"));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline WHERE target_view IS NOT NULL"), "0");
    // Who may have the controller's rights may see what it sees, and a superuser sees it all.
    as_controller_.run_once({{"HOMEOSTAT_SOURCE_TRUSTED_OWNERS", bob_}});
    EXPECT_EQ(served("bob.who_v"), controller_);
    db.exec("DELETE FROM homeostat.target_view; UPDATE homeostat.pipeline SET declared_by = 'postgres' WHERE name = 'named'");
    as_controller_.run_once();
    EXPECT_THAT(served("bob.named_v"), HasSubstr("the secret"));
}

// A policy that is accepted chooses for the declarer too, or nothing is read: whoever reads.
TEST_F(TrustRelatives, APolicyThatChoosesOthersForWhoReadsIsRefused) {
    const std::string reader = "trust_read_" + db.name();
    db.exec(fmt::format("CREATE ROLE {} LOGIN", reader));
    const std::string both = fmt::format("homeostat_declarer, {}, {}", controller_, reader);
    struct Case {
        std::string name;
        std::string policies;
        bool accepted;
    };
    const std::vector<Case> cases{
        {"apart", "CREATE POLICY p ON {0} TO homeostat_declarer USING (id < 2); CREATE POLICY q ON {0} TO {2}, {3} USING (true)",
         false},
        {"named", "CREATE POLICY p ON {0} USING (current_user <> '{1}')", false},
        {"asked", "CREATE POLICY p ON {0} USING (NOT pg_has_role('homeostat_declarer', 'USAGE'))", false},
        {"kept",
         "CREATE POLICY p ON {0} USING (true); CREATE POLICY q ON {0} AS RESTRICTIVE TO homeostat_declarer USING (id < 2)",
         false},
        {"no_policy", "CREATE POLICY p ON {0} TO {2}, {3} USING (true)", false},
        {"both", "CREATE POLICY p ON {0} TO {4} USING (id < 2)", true},
        {"less", "CREATE POLICY p ON {0} TO {4} USING (id < 2); CREATE POLICY q ON {0} TO homeostat_declarer USING (true)",
         true}};
    for (const Case& c : cases) {
        const std::string table = "public." + c.name;
        db.exec(
            fmt::format("CREATE TABLE {0} (id int PRIMARY KEY, body text); INSERT INTO {0} VALUES (1, 'Mine'), (2, 'the secret');"
                        "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; GRANT SELECT ON {0} TO {1}",
                        table, both));
        db.exec(fmt::format(fmt::runtime(c.policies), table, bob_, controller_, reader, both));
        as(bob_).exec(declaration(c.name, table, "bob." + c.name + "_v", ", row_security=, 'Accept'"));
    }
    for (const bool read_apart : {false, true}) {
        as_controller_.run_once(read_apart ? kit::Environment{{"HOMEOSTAT_DATABASE_READER_URL", db.url(reader)}}
                                           : kit::Environment{});
        for (const Case& c : cases) {
            const std::string said = condition(c.name, "Stalled", "message");
            if (c.accepted) {
                EXPECT_EQ(condition(c.name, "Synced"), "True") << c.name << said;
                EXPECT_EQ(served("bob." + c.name + "_v"), "Mine") << c.name;
            } else {
                EXPECT_THAT(said, AllOf(HasSubstr("policy \""), HasSubstr("table public." + c.name), HasSubstr(bob_))) << c.name;
            }
        }
        EXPECT_EQ(leaked(), "");
    }
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", reader));
}

// Who may name a uid may name another's, and is shown, or takes up, what that one left.
TEST_F(TrustRelatives, NobodyChoosesAUid) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline");
    as(bob_).exec("CREATE TABLE bob.tenants (name text, source text, content text, provider text, dimensions int, target text)");
    const std::string pipeline =
        "INSERT INTO homeostat.pipeline (uid, name, source, key, content, provider, dimensions, target) OVERRIDING SYSTEM VALUE "
        "VALUES ({}, 'thief', 'bob.docs', 'id', 'body', 'hashing', 16, 'bob.thief_v')";
    const std::string view = "INSERT INTO homeostat.target_view (uid, name, relation) VALUES ({}, 'thief', 'bob.tenants')";
    const std::string provider_row =
        "INSERT INTO homeostat.provider (uid, name, endpoint, model, dimensions) OVERRIDING SYSTEM VALUE VALUES ({}, 'thief', "
        "'http://127.0.0.1:9', 'm', 16)";
    const auto nobody_gets = [&](const std::string& named) {
        for (const std::string& sql : {pipeline, view, provider_row})
            EXPECT_THAT(refused(bob_, fmt::format(fmt::runtime(sql), named)),
                        AllOf(HasSubstr(" \"thief\": "), HasSubstr("uid is drawn by the database")))
                << sql << named;
    };
    for (const std::string& named :
         {uid, std::string("-1"), std::string("9000000000"), std::string("(SELECT max(uid) + 1 FROM homeostat.pipeline)")})
        nobody_gets(named);
    as(ann_).exec("DELETE FROM homeostat.pipeline");
    as_controller_.run_once();
    ASSERT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    nobody_gets(uid);
    EXPECT_EQ(as(bob_).value("SELECT count(*) FROM homeostat.own_event WHERE uid = " + uid), "0");
    // As it is declared in all ordinary ways.
    as(bob_).exec(
        "INSERT INTO homeostat.target_view (name, relation) SELECT 'v' || i, 'bob.tenants' FROM generate_series(1, 5) i ORDER BY "
        "i "
        "DESC; INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('p1', 'http://127.0.0.1:9', 'm', 16), "
        "('p2', 'http://127.0.0.1:9', 'm', 16)");
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
}

TEST_F(TrustRelatives, NoNameHidesOrForgesALine) {
    as(bob_).exec("CREATE TABLE bob.tenants (name text, source text, content text, provider text, dimensions int, target text)");
    for (const std::string letter : {"\\n", "\\r", "\\033[31m", "\\u0085", "\\u00ad", "\\u061c", "\\u200b", "\\u200f", "\\u2028",
                                     "\\u202e", "\\u2066", "\\ufeff", "\\U000e0041"}) {
        const std::string name = "E'a" + letter + "b'";
        for (const std::string& sql :
             {"INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target) VALUES (" + name +
                  ", 'bob.docs', 'id', 'body', 'hashing', 16, 'bob.b_v')",
              "INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES (" + name +
                  ", 'http://127.0.0.1:9', 'm', 16)",
              "INSERT INTO homeostat.target_view (name, relation) VALUES (" + name + ", 'bob.tenants')"})
            EXPECT_THAT(refused(bob_, sql), HasSubstr("\"a")) << sql;
    }
    EXPECT_EQ(db.value("SELECT (SELECT count(*) FROM homeostat.pipeline) + (SELECT count(*) FROM homeostat.target_view)"), "0");
    as(bob_).exec(declaration("Größe 文書 \"x\" 👍", "bob.docs", "bob.b_v"));
    // What else people write is shown as one line.
    as(bob_).exec(
        "UPDATE homeostat.pipeline SET suspend = true, suspend_reason = E'why\\nforged line\\033[31m\\u202e', suspended_by = "
        "E'root\\nforged line', labels = '{\"a\": \"x\\u001b[31m\\nforged line\"}', annotations = '{\"a\": \"x\\u001b[31m\"}';"
        "INSERT INTO homeostat.target_view (name, relation, suspend, suspend_reason) VALUES ('v', 'bob.tenants', true, "
        "E'why\\nforged "
        "line\\033[31m')");
    for (const kit::Arguments& arguments : {kit::Arguments{"describe", "pipeline", "Größe 文書 \"x\" 👍"},
                                            {"describe", "targetview", "v"},
                                            {"plan"},
                                            {"get", "pipelines"},
                                            {"status"},
                                            {"doctor"}}) {
        const std::string said = as_controller_.run(arguments).output;
        EXPECT_THAT(said, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\u202e")), Not(HasSubstr("\nforged line"))))
            << arguments[0];
    }
}

// A secret is bound to an origin: behind one address, another Host is somebody else.
TEST_F(TrustRelatives, NoHeaderLeadsARequestElsewhere) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    as(bob_).exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, credential) VALUES ('his', '{}', 'm', "
                    "16, 'secret:k')",
                    endpoint.url()));
    const std::vector<std::string> headers{R"({"Host": "evil.example"})",         R"({"hOST": "evil.example"})",
                                           R"({"Content-Length": "3"})",          R"({"Transfer-Encoding": "chunked"})",
                                           R"({"Connection": "upgrade"})",        R"({"Upgrade": "h2c"})",
                                           R"({"Expect": "100-continue"})",       R"({"X-Forwarded-Host": "evil.example"})",
                                           R"({"X-Original-URL": "/elsewhere"})", R"({"Proxy-Connection": "x"})",
                                           R"({"Trailer": "Authorization"})"};
    for (const std::string& h : headers)
        EXPECT_THAT(refused(bob_, "UPDATE homeostat.provider SET headers = '" + h + "' WHERE name = 'his'"),
                    AllOf(HasSubstr("provider \"his\": header \""), HasSubstr("homeostat's own to write")))
            << h;
    for (const std::string bad :
         {"{\"X-A\": \"a\\r\\nHost: evil\"}", "{\"X-A\\r\\nHost\": \"evil\"}", "{\"X-A\": \"a\\u000bb\"}", "{\"Host \": \"x\"}"})
        EXPECT_THAT(refused(bob_, "UPDATE homeostat.provider SET headers = '" + bad + "' WHERE name = 'his'"),
                    HasSubstr("not a legal HTTP header"))
            << bad;
    // As a version before has let it in.
    provider = "his";
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    for (const std::string& h : headers) {
        db.exec(
            "ALTER TABLE homeostat.provider DISABLE TRIGGER check_provider_headers; UPDATE homeostat.provider SET headers = '" +
            h + "' WHERE name = 'his'; ALTER TABLE homeostat.provider ENABLE TRIGGER check_provider_headers");
        as_controller_.run_once(
            {{"KEY", "hush-hush"}, {"HOMEOSTAT_SECRETS", "k env:KEY " + endpoint.url().substr(0, endpoint.url().rfind('/'))}});
        EXPECT_THAT(condition("b", "Ready", "message") + condition("b", "Stalled", "message"),
                    HasSubstr("homeostat's own to write"))
            << h;
    }
    EXPECT_EQ(endpoint.calls(), 0U);
}

// Whose rights count is whom it is declared for: by way of a target view the controller writes, and a DBA may edit any row.
TEST_F(TrustRelatives, NoTriggersWhereTheDeclarerMayMakeNone) {
    db.exec(fmt::format("GRANT SELECT ON public.secret TO {}; GRANT TRIGGER ON public.secret TO homeostat_controller", bob_));
    const std::string from = R"([{"table": "public.secret", "key": {"id": "id"}}])";
    const std::string wrong = fmt::format(
        "capture_from names table public.secret, on which role {0} may not make triggers; GRANT "
        "TRIGGER ON public.secret TO {0}",
        bob_);
    as(bob_).exec(
        "CREATE VIEW bob.shown AS SELECT id, body FROM public.secret; GRANT SELECT ON bob.shown TO homeostat_controller;"
        "CREATE TABLE bob.tenants (name text, source text, key text, content text, provider text, dimensions int, target text, "
        "capture_from jsonb); GRANT SELECT ON bob.tenants TO homeostat_controller;"
        "INSERT INTO bob.tenants VALUES ('tenant', 'bob.shown', 'id', 'body', 'hashing', 16, 'bob.t_v', '" +
        from + "'); INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'bob.tenants')");
    as_controller_.run_once();
    EXPECT_THAT(db.value("SELECT refusal FROM homeostat.target_view_row"), HasSubstr(wrong));
    as(bob_).exec(declaration("b", "bob.shown", "bob.b_v"));
    const std::string update = "UPDATE homeostat.pipeline SET capture_from = '" + from + "' WHERE name = 'b'";
    EXPECT_THAT(refused(bob_, update), HasSubstr(wrong));
    EXPECT_THAT(refused("postgres", update), HasSubstr(wrong)) << "nor does a superuser's edit";
    EXPECT_THAT(refused(controller_, update), HasSubstr(wrong));
    // Nor is what one may have given to one who may not.
    db.exec(fmt::format("GRANT {} TO {}; GRANT TRIGGER, SELECT ON public.secret TO {}; GRANT CREATE, USAGE ON SCHEMA bob TO {}",
                        bob_, ann_, ann_, ann_));
    as(ann_).exec("UPDATE homeostat.pipeline SET declared_by = current_user WHERE name = 'b'");
    db.exec("GRANT USAGE ON SCHEMA bob TO PUBLIC; GRANT SELECT ON bob.shown TO " + ann_);
    as(ann_).exec(update);
    EXPECT_THAT(refused(ann_, "UPDATE homeostat.pipeline SET declared_by = '" + bob_ + "' WHERE name = 'b'"), HasSubstr(wrong));
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'public.secret'::regclass AND NOT tgisinternal"), "0");
}

// Names are compared as text, which must not depend on the session of whoever declares.
TEST_F(TrustRelatives, NoSettingOfADeclarersSessionMakesAnotherNameOfOne) {
    as(ann_).exec("CREATE TABLE ann.more AS SELECT * FROM ann.docs; ALTER TABLE ann.more ADD PRIMARY KEY (id)");
    const std::string taken = declaration("second", "ann.more", "ann.a_v");
    for (const char* setting : {"SET quote_all_identifiers = on", "SET standard_conforming_strings = off",
                                "SET transform_null_equals = on", "SET bytea_output = 'escape'"}) {
        kit::Sql first = as(ann_);
        first.exec(setting);
        first.exec(declaration("first", "ann.docs", "ann.a_v"));
        EXPECT_EQ(db.value("SELECT target FROM homeostat.pipeline WHERE name = 'first'"), "ann.a_v") << setting;
        EXPECT_THAT(refused(ann_, taken), HasSubstr("ann.a_v")) << setting;
        EXPECT_THAT(refused(ann_, fmt::format("{}; {}", setting, taken)), HasSubstr("ann.a_v")) << setting;
        EXPECT_THAT(refused(ann_, fmt::format("{}; INSERT INTO homeostat.target_view (name, relation) VALUES ('t',"
                                              " 'homeostat.pipeline')",
                                              setting)),
                    Not(HasSubstr("let through")))
            << setting;
        db.exec("DELETE FROM homeostat.pipeline WHERE name = 'first'");
        ASSERT_TRUE(kit::eventually([&] {
            as_controller_.run_once();
            return db.value("SELECT count(*) FROM homeostat.pipeline") == "0";
        })) << setting;
    }
}

// Who names a provider is shown how it is, and not what it said of another's documents: endpoints quote what they refuse.
TEST_F(TrustRelatives, WhatAProviderQuotesIsShownToWhoSentIt) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    as(ann_).exec(fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('hers', '{}', 'm', 16)",
                              endpoint.url()));
    provider = "hers";
    as(ann_).exec("UPDATE ann.docs SET body = 'The patient Smith has the measles ' || id");
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    as(bob_).exec("UPDATE homeostat.pipeline SET suspend = true WHERE name = 'b'");
    endpoint.always(
        {.status = 429,
         .body =
             R"({"error": {"message": "not while reading [The patient Smith has the measles 1]", "code": "insufficient_quota"}})"});
    as_controller_.run_once();
    const std::string shown = as(bob_).value(
        "SELECT concat((SELECT string_agg(s::text, ' ') FROM homeostat.own_provider_status s), (SELECT string_agg(c::text, ' ') "
        "FROM"
        " homeostat.own_condition c), (SELECT string_agg(e::text, ' ') FROM homeostat.own_event e), (SELECT string_agg(w::text, "
        "' ')"
        " FROM homeostat.waiting w), (SELECT string_agg(w::text, ' ') FROM homeostat.pipelines w), (SELECT string_agg(r::text, ' "
        "')"
        " FROM homeostat.replica r))");
    EXPECT_THAT(shown, AllOf(HasSubstr("not while reading"), Not(HasSubstr("patient Smith"))));
    EXPECT_THAT(condition("a", "Ready", "message"), HasSubstr("patient Smith")) << "who sent it may read what came of it";
}

// Who may suspend it may go back to a revision, stop a fill and drop one; nobody else may.
TEST_F(TrustRelatives, OnlyWhoMayActForItAsksForItsRevisions) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    const kit::Program bob{db.url(bob_)};
    for (const kit::Arguments& action : {kit::Arguments{"activate", "1"}, {"drop", "1"}}) {
        kit::Arguments all{"revisions", "a"};
        all.insert(all.end(), action.begin(), action.end());
        EXPECT_EQ(bob.run(all).exit.code, 2);
    }
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.pipeline SET revision_pin = 1 WHERE name = 'a'"),
                HasSubstr("it was declared by role"));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.pipeline SET revision_drop = 1 WHERE name = 'a'"),
                HasSubstr("it was declared by role"));
    as(ann_).exec("UPDATE homeostat.pipeline SET revision_pin = 1, revision_pinned_by = 'root' WHERE name = 'a'");
    EXPECT_EQ(db.value("SELECT revision_pinned_by FROM homeostat.pipeline"), ann_);
    const kit::Program ann{db.url(ann_)};
    EXPECT_THAT(ann.run({"revisions", "a"}).output, HasSubstr("Pinned: revision 1, by " + ann_));
    EXPECT_EQ(ann.run({"resume", "a"}).exit.code, 0);
    EXPECT_EQ(db.value("SELECT revision_pin IS NULL AND revision_pinned_by IS NULL FROM homeostat.pipeline"), "t");
}

}  // namespace
}  // namespace homeostat
