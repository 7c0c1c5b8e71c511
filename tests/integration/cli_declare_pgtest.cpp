// The command line against a real database, as a person uses it: arguments in, text and exit code out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "controller/cli/cli.hpp"
#include "controller/cli/manifest/manifest_schema.hpp"
#include "controller/config/config_values.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Answer {
    int code;
    std::string out;
    std::string err;
};

class CliDeclare : public ::testing::Test {
protected:
    Answer run(std::vector<std::string> arguments, const std::string& input = "") {
        std::istringstream in(input);
        std::ostringstream out;
        std::ostringstream err;
        ConfigSources sources;
        sources.default_file = "/no/such/file";
        sources.environment = {{"HOMEOSTAT_DATABASE_URL", db.url()}, {"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", "true"}};
        const int code = run_cli(arguments, CliStreams{in, out, err}, sources);
        return {code, out.str(), err.str()};
    }
    std::string good(std::vector<std::string> arguments, const std::string& input = "") {
        const Answer a = run(std::move(arguments), input);
        EXPECT_EQ(a.code, 0) << a.err;
        return a.out;
    }
    std::string bad(std::vector<std::string> arguments, const std::string& input = "") {
        const Answer a = run(std::move(arguments), input);
        EXPECT_EQ(a.code, 2) << a.out;
        EXPECT_THAT(a.err, StartsWith("homeostat: "));
        return a.err;
    }
    void make_articles() { db.exec("CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text)"); }

    static std::string manifest(const std::string& name, const std::string& more = "") {
        return "apiVersion: homeostat.dev/v1\nkind: Pipeline\nmetadata: {name: " + name +
               "}\nspec:\n  source: articles\n  content: [title, body]\n  provider: hashing\n  target: " + name + "_v\n" + more;
    }

    kit::Database db;
};

TEST_F(CliDeclare, ApplySaysWhatItDidAndASecondTimeDoesNothing) {
    make_articles();
    EXPECT_EQ(good({"apply", "-f", "-", "--dry-run"}, manifest("a")), "pipeline/a created (dry run)\n");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_EQ(good({"apply", "-f", "-"}, manifest("a")), "pipeline/a created\n");
    EXPECT_EQ(good({"apply", "-f", "-"}, manifest("a")), "pipeline/a unchanged\n");
    EXPECT_EQ(good({"apply", "-f", "-"}, manifest("a", "  chunkSize: 100\n")), "pipeline/a configured\n");
    EXPECT_EQ(db.value("SELECT generation FROM homeostat.pipeline"), "2");
}

TEST_F(CliDeclare, AHalfBadSetChangesNothing) {
    make_articles();
    const std::string said = bad({"apply", "-f", "-"}, manifest("a") + "---\n" + manifest("b", "  key: ide\n"));
    EXPECT_THAT(
        said,
        AllOf(HasSubstr("homeostat: stdin:10: pipeline \"b\": key column \"ide\" is not in table public.articles (did you mean "
                        "\"id\"?)\n"),
              HasSubstr("nothing was changed"), Not(HasSubstr("CONTEXT")), Not(HasSubstr("PL/pgSQL"))));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
}

TEST_F(CliDeclare, WhatGetPrintsCanBeAppliedAndChangesNothing) {
    db.exec(
        "CREATE TABLE \"Odd, \"\"table\"\"\" (\"the Key\" int, k2 text, \"Body: #1\" text, meta jsonb, PRIMARY KEY (k2, \"the "
        "Key\"))");
    db.exec(
        R"(INSERT INTO homeostat.pipeline (name, source, content, metadata, provider, target, labels, documents, max_staleness,
                   deep_interval, completeness, priority)
               VALUES ('yes', '"Odd, ""table"""', '"Body: #1"', 'meta', 'hashing', '"Odd view"', '{"a": "12", "b": "no"}', 5,
                   '1 day 1 second', '24:00:00', 0.123456789, -7),
                      ('12', '"Odd, ""table"""', 'k2', NULL, 'local', 'other', '{}', NULL, NULL, '1 mon', 1, 0))");
    db.exec("CREATE TABLE base (id int PRIMARY KEY, t text); CREATE VIEW shown AS SELECT id AS k, t FROM base");
    db.exec(R"(INSERT INTO homeostat.pipeline (name, source, key, content, provider, target, capture_from)
               VALUES ('zz', 'shown', 'k', 't', 'hashing', 'z_v', '[{"table": "base", "key": {}}]'))");
    const auto state = [&] { return db.query("SELECT uid, generation, xmin FROM homeostat.pipeline ORDER BY uid"); };
    const auto before = state();
    for (const char* form : {"yaml", "json"}) {
        const std::string text = good({"get", "-o", form}) + (form == std::string("yaml") ? "---\n" : "");
        EXPECT_EQ(good({"apply", "-f", "-"}, text), "pipeline/12 unchanged\npipeline/yes unchanged\npipeline/zz unchanged\n")
            << text;
        const std::string providers = good({"get", "providers", "-o", form});
        EXPECT_EQ(good({"apply", "-f", "-"}, providers), "provider/hashing unchanged\nprovider/local unchanged\n") << providers;
    }
    EXPECT_EQ(state(), before);
}

TEST_F(CliDeclare, TheDefaultsOfTheSchemaAreThoseOfTheDatabase) {
    make_articles();
    db.exec("CREATE TABLE rows (name text, source text, provider text, target text)");
    good({"apply", "-f", "-"},
         manifest("a") +
             "---\napiVersion: homeostat.dev/v1\nkind: Provider\nmetadata: {name: p}\nspec: {kind: openai, endpoint: "
             "http://localhost}\n"
             "---\napiVersion: homeostat.dev/v1\nkind: TargetView\nmetadata: {name: v}\nspec: {relation: rows}\n");
    for (const auto& [kind, table] : {std::pair{ResourceKind::pipeline, "homeostat.pipeline"},
                                      {ResourceKind::provider, "homeostat.provider"},
                                      {ResourceKind::target_view, "homeostat.target_view"}}) {
        for (const ManifestField& f : manifest_fields(kind)) {
            const std::string name = kind == ResourceKind::pipeline ? "a" : kind == ResourceKind::provider ? "p" : "v";
            const std::string of = std::string(" FROM ") + table + " WHERE name = '" + name + "'";
            if (f.fallback.empty()) continue;
            std::string wanted = f.fallback;
            if (f.type == "duration") {
                wanted = "\"" + std::to_string(parse_duration(wanted.substr(1, wanted.size() - 2))->count()) + " milliseconds\"";
                wanted = "to_jsonb('" + wanted.substr(1, wanted.size() - 2) + "'::interval)";
            } else {
                wanted = "'" + wanted + "'::jsonb";
            }
            EXPECT_EQ(db.value("SELECT to_jsonb(" + f.column + ") = " + wanted + of), "t") << f.column << " " << wanted;
        }
    }
}

TEST_F(CliDeclare, GetShowsALineForEachAndNothingIsNoError) {
    const Answer none = run({"get"});
    EXPECT_EQ(none.code, 0);
    EXPECT_THAT(none.err, HasSubstr("no pipelines are declared"));
    make_articles();
    good({"apply", "-f", "-"}, manifest("a") + "---\n" + manifest("b"));
    good({"suspend", "b", "--reason", "why not", "--for", "2h"});
    EXPECT_THAT(good({"get", "pipelines"}), AllOf(HasSubstr("NAME  READY"), HasSubstr("a     Unknown  NotObserved  -      0/?"),
                                                  HasSubstr("Suspended"), Not(HasSubstr("\x1b"))));
    EXPECT_THAT(good({"get", "pl", "a", "-o", "wide"}), AllOf(HasSubstr("public.articles"), Not(HasSubstr("Suspended"))));
    EXPECT_THAT(good({"get", "providers"}), HasSubstr("hashing"));
    EXPECT_THAT(good({"get", "pl", "b", "-o", "yaml"}), AllOf(HasSubstr("suspended: why not"), HasSubstr("name: b")));
    EXPECT_THAT(bad({"get", "providers", "hasing"}), HasSubstr("provider \"hasing\" does not exist (did you mean \"hashing\"?)"));
    EXPECT_THAT(bad({"get", "pipeline", "-o", "yml"}), HasSubstr("-o yml is not known; it is table, wide, json, yaml, name"));
    EXPECT_THAT(bad({"get", "pipelnes"}),
                HasSubstr("\"pipelnes\" is neither a kind of object nor a pipeline (did you mean \"pipelines\"?)"));
}

TEST_F(CliDeclare, DescribeShowsEverything) {
    make_articles();
    good({"apply", "-f", "-"}, manifest("a", "  chunkSize: 77\n"));
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline");
    db.exec("INSERT INTO homeostat.pipeline_status (uid, observed_generation, documents) VALUES (" + uid + ", 1, 3);" +
            "INSERT INTO homeostat.condition (uid, type, status, reason, message, observed_generation) VALUES (" + uid +
            ", 'Ready', 'False', 'Drifted', 'two are missing', 1);" +
            "INSERT INTO homeostat.event (uid, type, reason, message) VALUES (" + uid + ", 'Warning', 'Slow', E'line\\x1b[2J');" +
            "INSERT INTO homeostat.dead_letter (uid, revision, key, content_hash, class, strategy, message, attempts) VALUES (" +
            uid + ", 1, '{17}', '\\x00', 'content', 'bisect', 'refused', 5)");
    const std::string said = good({"describe", "pipeline", "a"});
    EXPECT_THAT(said,
                AllOf(HasSubstr("Pipeline a (uid"), HasSubstr("chunkSize: 77"), HasSubstr("two are missing"), HasSubstr("Slow"),
                      HasSubstr("17   content  5         refused"), HasSubstr("Runs: none"), Not(HasSubstr("\x1b"))));
    EXPECT_THAT(good({"describe", "provider", "hashing"}),
                AllOf(HasSubstr("Provider hashing"), HasSubstr("Health: not used yet")));
    EXPECT_THAT(good({"describe", "pipeline", "a", "-o", "json"}), HasSubstr("\"reason\": \"Drifted\""));
    EXPECT_THAT(bad({"describe", "pipeline", "b"}), HasSubstr("does not exist"));
}

TEST_F(CliDeclare, DescribeShowsWhatReplicasLastDid) {
    make_articles();
    good({"apply", "-f", "-"}, manifest("a"));
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline");
    db.exec("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, pool) VALUES ('p', 'http://p', 'm', 16, 'x')");
    // One replica whose clock is far off and which fell silent two minutes ago, one that is not readable, one that is alive.
    db.exec(
        "INSERT INTO homeostat.replica (id, host, pid, version, schema_version, heartbeat_at, snapshot) VALUES ('far', 'h', 1, "
        "'v', 1, "
        "clock_timestamp() - interval '150 s', jsonb_build_object('at', 5000000, 'calls', jsonb_build_array("
        " jsonb_build_object('at', 4990000, 'provider', 'p', 'model', 'm', 'texts', 77, 'seconds', 1.5, 'outcome', 'timeout')))),"
        "('odd', 'h', 1, 'v', 1, clock_timestamp(), '{\"at\": 1, \"calls\": 7, \"batches\": [7]}'),"
        "('near', 'h', 1, 'v', 1, clock_timestamp(), jsonb_build_object('at', 1000, 'calls', (SELECT "
        "jsonb_agg(jsonb_build_object("
        " 'at', i, 'provider', CASE WHEN i % 2 = 0 THEN 'p' ELSE 'other' END, 'model', 'm', 'texts', i, 'seconds', 0.25,"
        " 'outcome', 'ok')) FROM generate_series(1, 18) i), 'selections', jsonb_build_array(jsonb_build_object('at', 900, "
        "'model', "
        "'m', 'chosen', 'spare', 'insteadOf', 'p')), 'batches', jsonb_build_array(jsonb_build_object('at', 900, 'batch', 42, "
        "'pipeline', " +
        uid +
        ", 'documents', 9, 'seconds', 0.5, 'outcome', 'done'), jsonb_build_object('at', 900, 'batch', 43, 'pipeline', -5,"
        " 'documents', 9, 'seconds', 0.5, 'outcome', 'done'))))");
    const std::string said = good({"describe", "provider", "p"});
    EXPECT_THAT(said, AllOf(HasSubstr("Last calls:"), HasSubstr("far      m      77     1.500 s  timeout"),
                            HasSubstr("near     m      18     0.250 s  ok"), Not(HasSubstr("m      17 ")), HasSubstr("2m"),
                            HasSubstr("Last selections:"), HasSubstr("spare   p")));
    const std::string pipeline = good({"describe", "pipeline", "a"});
    EXPECT_THAT(pipeline, AllOf(HasSubstr("Last batches:"), HasSubstr("near     42     9          0.500 s  done"),
                                Not(HasSubstr("43     9"))));
    // Ten at most, the newest.
    db.exec(
        "UPDATE homeostat.replica SET snapshot = jsonb_set(snapshot, '{calls}', (SELECT jsonb_agg(jsonb_build_object('at', i,"
        " 'provider', 'p', 'model', 'm', 'texts', i, 'seconds', 0.25, 'outcome', 'ok')) FROM generate_series(1, 900) i))"
        " WHERE id = 'near'");
    const std::string many = good({"describe", "provider", "p"});
    EXPECT_THAT(many,
                AllOf(HasSubstr("m      900 "), HasSubstr("m      891 "), Not(HasSubstr("m      890 ")), Not(HasSubstr("far"))));
    EXPECT_THAT(good({"describe", "provider", "hashing"}),
                AllOf(HasSubstr("Last calls: none"), HasSubstr("Breakers and caches, by replica: none"),
                      Not(HasSubstr("Caches had")), Not(HasSubstr("selections"))));
}

TEST_F(CliDeclare, DescribeShowsWhatBreakersAndCachesHaveDone) {
    db.exec("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('p', 'http://p', 'm', 16)");
    // Two that tell of it, one of a version that did not, one that is not readable.
    const auto lane = [](const char* breaker, int texts, int found) {
        return fmt::format(
            R"({{"provider":"p","model":"m","breaker":"{}","breakerCalls":{{"succeeded":1200,"failed":7,"rejected":3,"opened":2}},)"
            R"("cache":{{"texts":{},"found":{},"savedTokens":500000}}}})",
            breaker, texts, found);
    };
    for (const auto& [id, said] : {std::pair<std::string, std::string>{"one", lane("open", 2'000, 500)},
                                   {"two", lane("closed", 0, 0)},
                                   {"old", R"({"provider":"p","model":"m","breaker":"closed"})"},
                                   {"odd", R"({"provider":"p","breakerCalls":7,"cache":[]})"}}) {
        db.exec(
            fmt::format("INSERT INTO homeostat.replica (id, host, pid, version, schema_version, heartbeat_at, snapshot) VALUES "
                        "('{}', 'h', 1, 'v',"
                        " 1, clock_timestamp(), '{{\"at\": 1, \"providers\": [{}]}}')",
                        id, said));
    }
    std::string text = good({"describe", "provider", "p"});
    EXPECT_THAT(text,
                AllOf(HasSubstr("one      m      open     1,200      7       3         2       25 %    500          500,000"),
                      HasSubstr("two      m      closed   1,200      7       3         2       -       0            500,000"),
                      Not(HasSubstr("old      m")),
                      HasSubstr("Caches had 500 of 2,000 texts (25 %), which saved 1,000,000 tokens, since the replicas")));
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 0.25 WHERE name = 'p'");
    EXPECT_THAT(good({"describe", "provider", "p"}), HasSubstr("1,000,000 tokens (0.25 at the provider's price), since"));
}

TEST_F(CliDeclare, ControlVerbs) {
    make_articles();
    good({"apply", "-f", "-"}, manifest("a") + "---\n" + manifest("b", "  dependsOn: [a]\n"));
    EXPECT_EQ(good({"suspend", "a", "b"}), "pipeline/a suspended\npipeline/b suspended\n");
    EXPECT_EQ(good({"resume", "a", "b"}), "pipeline/a resumed\npipeline/b resumed\n");
    EXPECT_THAT(good({"reconcile", "a"}), StartsWith("pipeline/a will be reconciled (request "));
    EXPECT_THAT(bad({"approve", "a", "17"}), HasSubstr("pipeline \"a\": nothing of it waits for approval"));
    db.exec(
        "INSERT INTO homeostat.pipeline_status (uid, blocked_prunes, blocked_plan) SELECT uid, 3, '17' FROM homeostat.pipeline"
        " WHERE name = 'a'");
    EXPECT_THAT(bad({"approve", "a", "18"}), HasSubstr("18 is not the plan that waits for approval; that is 17"));
    EXPECT_EQ(good({"approve", "a", "17"}), "pipeline/a: plan 17 approved\n");
    EXPECT_THAT(bad({"suspend", "a", "--for", "soon"}), HasSubstr("--for soon is not a duration"));
    const Answer half = run({"reconcile", "c", "a"});
    EXPECT_EQ(half.code, 2);
    EXPECT_THAT(half.out, HasSubstr("pipeline/a")) << "one wrong name does not hide the others";
    EXPECT_THAT(bad({"delete", "provider", "hashing"}), HasSubstr("is used by pipeline \"a\", \"b\""));
    EXPECT_EQ(good({"delete", "-f", "-"}, manifest("a") + "---\n" + manifest("b", "  dependsOn: [a]\n")),
              "pipeline/b is being deleted\npipeline/a is being deleted\n");
    EXPECT_THAT(bad({"delete", "pipeline", "a"}), HasSubstr("does not exist"));
    EXPECT_EQ(good({"delete", "pipeline", "a", "--ignore-not-found"}), "");
}

TEST_F(CliDeclare, UsageErrorsAreSentencesAndExitWithTwo) {
    EXPECT_EQ(bad({"aply"}), "homeostat: \"aply\" is not a command (did you mean \"apply\"?); see homeostat --help\n");
    EXPECT_EQ(bad({}), "homeostat: say what to do; see homeostat --help\n");
    EXPECT_THAT(bad({"apply"}), HasSubstr("see homeostat apply --help"));
    EXPECT_THAT(bad({"get", "--wide"}), HasSubstr("see homeostat get --help"));
    EXPECT_THAT(bad({"get", "--set", "lease.tll=1s"}),
                HasSubstr("flag: \"lease.tll\" is not a setting (did you mean \"lease.ttl\"?)"));
    EXPECT_THAT(bad({"get", "--set", "x"}), HasSubstr("--set x: write NAME=VALUE"));
    EXPECT_THAT(bad({"get", "--database", "host=/no/such/folder"}), HasSubstr("/no/such/folder"));
    const Answer help = run({"--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr("apply"), HasSubstr("Exit codes: 0 done")));
    EXPECT_EQ(run({"apply", "--help"}).code, 0);
    EXPECT_THAT(good({"version"}), StartsWith("homeostat 0."));
    EXPECT_EQ(good({"--version"}), good({"version"}));
}

TEST_F(CliDeclare, ConfigExplainsWhereValuesComeFrom) {
    EXPECT_THAT(good({"config", "--explain", "--set", "lease.ttl=20s", "--profile", "staging"}),
                AllOf(HasSubstr("lease.ttl"), HasSubstr("20s"), HasSubstr("profile staging"),
                      HasSubstr("environment HOMEOSTAT_DATABASE_URL")));
    EXPECT_THAT(good({"config", "-o", "json"}), HasSubstr("\"origin\": \"environment HOMEOSTAT_DATABASE_URL\""));
    EXPECT_THAT(good({"config", "-o", "yaml"}), HasSubstr("lease.ttl:\n  value: 15s\n  origin: default\n"));
    EXPECT_EQ(good({"config", "--markdown"}), settings_markdown());
    EXPECT_THAT(bad({"config", "--set", "lease.ttl=6s"}), HasSubstr("lease.renew (5s) must be at most half of lease.ttl (6s)"));
}

class CliMigrate : public CliDeclare {
protected:
    CliMigrate() { db.exec("DROP SCHEMA homeostat CASCADE; DROP SCHEMA homeostat_data CASCADE"); }
};

TEST_F(CliMigrate, UpAndDownAndWhereItStands) {
    EXPECT_THAT(bad({"get"}), HasSubstr("run homeostat migrate up"));
    EXPECT_THAT(good({"migrate", "up"}), HasSubstr("migrations applied; the schema is at "));
    EXPECT_THAT(good({"migrate", "up"}), StartsWith("0 migrations applied"));
    EXPECT_THAT(good({"migrate", "status"}), AllOf(HasSubstr("0001    declared"), Not(HasSubstr("  no\n"))));
    EXPECT_THAT(bad({"migrate", "down", "--to", "0"}), HasSubstr("--yes"));
    EXPECT_THAT(good({"migrate", "down", "--to", "0", "--yes"}), HasSubstr("taken back; the schema is at 0"));
    EXPECT_THAT(good({"migrate", "status"}), HasSubstr("no\n"));
    EXPECT_THAT(good({"migrate", "up", "--to", "1"}), StartsWith("1 migration applied; the schema is at 1"));
    EXPECT_THAT(bad({"migrate"}), HasSubstr("see homeostat migrate --help"));
}

}  // namespace
}  // namespace homeostat
