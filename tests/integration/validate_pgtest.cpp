// `validate` on real tables and views: it names what is wrong, and what it proposes mends it.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Validate : public CliCase {
protected:
    void declare(const std::string& source, const std::string& columns, const std::string& values) {
        db.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, provider, dimensions, target, {}) VALUES ('p', '{}',"
                        " 'hashing', 16, 'p_embeddings', {})",
                        columns, source, values));
    }
    // A slice of 100 makes a few thousand rows many.
    json validate(int code) {
        const Answer a = run({"validate", "p", "-o", "json", "--set", "sweep.slice=100"});
        EXPECT_EQ(a.code, code) << a.out << a.err;
        json j = json::parse(a.out, nullptr, false);
        EXPECT_EQ(j["summary"]["exitCode"], code);
        return j;
    }
    static json remark(const json& report, const std::string& code) {
        for (const json& r : report["findings"]) {
            if (r["code"] == code) return r;
        }
        return nullptr;
    }
    static std::string sentence(const json& report, const std::string& code) {
        const json r = remark(report, code);
        return r.is_null() ? "" : r["sentence"].get<std::string>();
    }
    static json column(const json& report, const std::string& name) {
        for (const json& c : report["columns"]) {
            if (c["name"] == name) return c;
        }
        return nullptr;
    }
    static json table(const json& report, const std::string& name) {
        for (const json& t : report["tables"]) {
            if (t["name"] == name) return t;
        }
        return nullptr;
    }
    // Runs what is proposed as it stands, but for what brings something up to date that was only now made.
    void carry_out(const json& remark) {
        ASSERT_FALSE(remark.is_null());
        ASSERT_FALSE(remark["proposal"].empty());
        for (const json& line : remark["proposal"]) db.exec(line.get<std::string>());
    }
    static json base(const std::string& table, const std::string& column) {
        return {{"kind", "base"}, {"columns", {{{"table", table}, {"column", column}}}}};
    }

    void make_tables(const std::string& key = "PRIMARY KEY") {
        db.exec(
            fmt::format("CREATE TABLE authors (id int PRIMARY KEY, name text);"
                        "CREATE TABLE articles (id int {}, title text NOT NULL, author int, updated_at timestamptz);"
                        "CREATE TABLE bodies (article_id int, part text);"
                        "INSERT INTO authors SELECT i, 'name ' || i FROM generate_series(1, 20) i;"
                        "INSERT INTO articles SELECT i, 'title ' || i, i % 20 + 1, now() FROM generate_series(1, 3000) i;"
                        "INSERT INTO bodies SELECT i, 'body ' || i FROM generate_series(1, 3000) i;"
                        "ANALYZE authors, articles, bodies;",
                        key));
    }
};

TEST_F(Validate, ATableWithAPrimaryKeyHasNothingToSay) {
    make_tables();
    declare("articles", "content, metadata", "'title', 'author'");
    const json r = validate(0);
    EXPECT_THAT(r["findings"], IsEmpty());
    EXPECT_EQ(r["source"]["kind"], "table");
    EXPECT_EQ(r["source"]["estimatedRows"], 3000);
    EXPECT_EQ(r["source"]["version"]["kind"], "xmin");
    EXPECT_TRUE(r["source"]["key"]["primary"]);
    EXPECT_EQ(column(r, "title")["origin"], base("public.articles", "title"));
    EXPECT_FALSE(column(r, "title")["nullable"]);
    EXPECT_TRUE(table(r, "public.articles")["mayTrigger"]);
    EXPECT_EQ(r["statements"].size(), 4);
    EXPECT_THAT(ends(0, {"validate", "p"}),
                AllOf(HasSubstr("key id (primary key)"), HasSubstr("p: 0 errors, 0 warnings, 0 notes")));
}

TEST_F(Validate, AMissingIndexIsProposedAndMendsTheSweep) {
    make_tables("NOT NULL");
    db.exec("CREATE VIEW v AS SELECT id AS key, title AS body, updated_at FROM articles WHERE title <> ''");
    declare("v", "key, content, version_column", "'key', 'body', 'updated_at'");
    const std::string before = fingerprint();
    const json slow = validate(1);
    EXPECT_EQ(fingerprint(), before);
    EXPECT_THAT(sentence(slow, "SlowSweep"), AllOf(HasSubstr("first page sorts"), HasSubstr("about 30 times")));
    EXPECT_THAT(sentence(slow, "SlowLookUp"), HasSubstr("reads all 3000 rows of public.articles"));
    EXPECT_EQ(remark(slow, "SlowSweep")["proposal"], json({"CREATE INDEX CONCURRENTLY ON public.articles (id);"}));
    carry_out(remark(slow, "SlowSweep"));
    const json mended = validate(0);
    EXPECT_TRUE(remark(mended, "SlowSweep").is_null()) << mended;
    EXPECT_TRUE(remark(mended, "SlowLookUp").is_null()) << mended;
    EXPECT_EQ(mended["source"]["version"]["column"], "updated_at");
}

TEST_F(Validate, WhatASmallSourceLacksIsOnlyANote) {
    make_tables("NOT NULL");
    declare("articles", "key, content", "'id', 'title'");
    const Answer a = run({"validate", "p", "-o", "json"});  // 3,000 rows are less than a slice of 20,000
    EXPECT_EQ(a.code, 0) << a.out;
    const json r = json::parse(a.out);
    EXPECT_EQ(remark(r, "SweepWithoutIndex")["severity"], "note");
    carry_out(remark(r, "SweepWithoutIndex"));
    EXPECT_THAT(json::parse(ends(0, {"validate", "p", "-o", "json"}))["findings"], IsEmpty());
    EXPECT_THAT(validate(0)["findings"], IsEmpty());
}

TEST_F(Validate, AJoinIsFollowedToItsTablesAndItsJoinColumnIsIndexed) {
    make_tables();
    db.exec(
        "CREATE VIEW v AS SELECT a.id, a.title, b.part || '!' AS body, u.name FROM articles a JOIN bodies b ON b.article_id = "
        "a.id"
        " LEFT JOIN authors u ON u.id = a.author");
    declare("v", "key, content, metadata", "'id', 'title, body', 'name'");
    const json r = validate(1);
    EXPECT_EQ(column(r, "id")["origin"], base("public.articles", "id"));
    EXPECT_FALSE(column(r, "id")["nullable"]);
    EXPECT_EQ(column(r, "body")["origin"]["kind"], "computed");
    EXPECT_EQ(column(r, "body")["origin"]["columns"][0]["column"], "part");
    EXPECT_EQ(column(r, "name")["origin"], base("public.authors", "name"));
    EXPECT_EQ(r["captureFrom"], json::parse(R"([{"table": "public.articles", "key": {"id": "id"}},
                                               {"table": "public.bodies", "key": {"id": "article_id"}}])"));
    EXPECT_THAT(sentence(r, "CaptureMarksOnly"), AllOf(HasSubstr("public.authors"), HasSubstr("Expose its key (id)")));
    EXPECT_EQ(remark(r, "CaptureMapping")["proposal"], json({"captureFrom:", "  - table: public.articles", "    key: {id: id}",
                                                             "  - table: public.bodies", "    key: {id: article_id}"}));
    EXPECT_EQ(remark(r, "VersionByHash")["severity"], "warning");
    EXPECT_EQ(remark(r, "SlowSweep")["proposal"], json({"CREATE INDEX CONCURRENTLY ON public.bodies (article_id);"}));
    carry_out(remark(r, "SlowSweep"));
    const json mended = validate(1);
    EXPECT_TRUE(remark(mended, "SlowSweep").is_null()) << mended;
    EXPECT_TRUE(remark(mended, "SlowLookUp").is_null()) << mended;
}

// The version that is proposed for a join changes when any of its rows does, and a pipeline may name it.
TEST_F(Validate, AVersionMadeOfTheRowsXminsEndsTheWarning) {
    make_tables();
    db.exec(
        "CREATE INDEX ON bodies (article_id);"
        "CREATE VIEW v AS SELECT a.id, a.title, b.part FROM articles a JOIN bodies b ON b.article_id = a.id");
    declare("v", "key, content", "'id', 'title, part'");
    EXPECT_THAT(sentence(validate(1), "VersionByHash"), HasSubstr("concat_ws(':', a.xmin, b.xmin) AS row_version"));
    db.exec(
        "CREATE OR REPLACE VIEW v AS SELECT a.id, a.title, b.part, concat_ws(':', a.xmin, b.xmin) AS row_version"
        " FROM articles a JOIN bodies b ON b.article_id = a.id;"
        "UPDATE homeostat.pipeline SET version_column = 'row_version'");
    EXPECT_TRUE(remark(validate(0), "VersionByHash").is_null());
    const std::string version = db.value("SELECT row_version FROM v WHERE id = 7");
    db.exec("UPDATE bodies SET part = 'edited' WHERE article_id = 7");
    EXPECT_NE(db.value("SELECT row_version FROM v WHERE id = 7"), version);
}

TEST_F(Validate, AViewOnAViewIsFollowedToTheEnd) {
    make_tables();
    db.exec(
        "CREATE INDEX ON bodies (article_id);"
        "CREATE VIEW inner_view AS SELECT a.id AS number, a.title, b.part FROM articles a JOIN bodies b ON b.article_id = a.id;"
        "CREATE VIEW v AS WITH w AS (SELECT number, title FROM inner_view) SELECT w.number AS k, upper(w.title) AS title,"
        " (SELECT u.name FROM authors u WHERE u.id = w.number LIMIT 1) AS who FROM w;");
    declare("v", "key, content, metadata", "'k', 'title', 'who'");
    const json r = validate(1);
    EXPECT_EQ(column(r, "k")["origin"], base("public.articles", "id"));
    EXPECT_EQ(column(r, "title")["origin"]["columns"][0], json::parse(R"({"table": "public.articles", "column": "title"})"));
    EXPECT_EQ(column(r, "who")["origin"]["columns"][0], json::parse(R"({"table": "public.authors", "column": "name"})"));
    // A LIMIT inside what is compared with the key from outside stays among the rows of one key.
    EXPECT_EQ(r["captureFrom"].size(), 3) << r["captureFrom"];
    EXPECT_THAT(sentence(r, "VersionByHash"), Not(HasSubstr("xmin")));  // none of the row's own says when who changes
    // PostgreSQL keeps a query that has a WITH to itself, so its rows cannot come in the order of an index.
    EXPECT_THAT(sentence(r, "SlowSweep"),
                HasSubstr("there is WITH between the view's rows and the tables': write it as a subquery"));
    db.exec(
        "CREATE OR REPLACE VIEW v AS SELECT w.number AS k, upper(w.title) AS title,"
        " (SELECT u.name FROM authors u WHERE u.id = w.number LIMIT 1) AS who FROM (SELECT number, title FROM inner_view) w");
    const json rewritten = validate(1);
    EXPECT_EQ(rewritten["captureFrom"], r["captureFrom"]);
    EXPECT_TRUE(remark(rewritten, "SlowSweep").is_null()) << rewritten;
}

TEST_F(Validate, ATableReadTwiceOrBehindALimitNamesNoDocument) {
    make_tables();
    db.exec(
        "CREATE VIEW v AS SELECT a.id, b.title || ' after ' || coalesce(p.title, '') AS body FROM articles a"
        " JOIN articles b ON b.id = a.id LEFT JOIN articles p ON p.id = a.author");
    declare("v", "key, content", "'id', 'body'");
    EXPECT_FALSE(table(validate(1), "public.articles")["namesDocuments"]);
    db.exec("DROP VIEW v; CREATE VIEW v AS SELECT id, title AS body FROM articles ORDER BY updated_at DESC LIMIT 500");
    const json limited = validate(1);
    EXPECT_FALSE(table(limited, "public.articles")["namesDocuments"]);
    EXPECT_THAT(sentence(limited, "CaptureMarksOnly"), HasSubstr("LIMIT lets a change of one row reach other documents"));
}

TEST_F(Validate, AnAggregateIsMaterialisedAndThenSwept) {
    make_tables();
    db.exec(
        "CREATE VIEW v AS SELECT a.id, string_agg(b.part, ' ') AS body FROM articles a JOIN bodies b ON b.article_id = a.id"
        " GROUP BY a.id");
    declare("v", "key, content", "'id', 'body'");
    const json slow = validate(1);
    EXPECT_THAT(sentence(slow, "SlowSweep"), HasSubstr("there is GROUP BY between"));
    EXPECT_EQ(slow["captureFrom"].size(), 2);
    carry_out(remark(slow, "SlowSweep"));
    db.exec("ANALYZE v_documents; UPDATE homeostat.pipeline SET source = 'v_documents'");
    const json mended = validate(0);
    EXPECT_EQ(mended["source"]["kind"], "materialised view");
    EXPECT_TRUE(remark(mended, "RefreshRewrites").is_null());
    EXPECT_THAT(sentence(mended, "CaptureByRefresh"), HasSubstr("public.v_documents"));
}

TEST_F(Validate, AUnionHasSeveralOrigins) {
    make_tables();
    db.exec("CREATE VIEW v AS SELECT id, title FROM articles UNION SELECT article_id + 10000, part FROM bodies");
    declare("v", "key, content", "'id', 'title'");
    const json r = validate(1);
    EXPECT_EQ(column(r, "title")["origin"]["kind"], "several");
    EXPECT_EQ(column(r, "title")["origin"]["columns"].size(), 2);
    EXPECT_EQ(column(r, "id")["origin"]["kind"], "computed");
    // Of the branch that passes its key on a change names its document, of the other it does not.
    EXPECT_EQ(r["captureFrom"], json::parse(R"([{"table": "public.articles", "key": {"id": "id"}}])"));
    EXPECT_THAT(remark(r, "SlowSweep")["proposal"][0].get<std::string>(),
                HasSubstr("CREATE MATERIALIZED VIEW public.v_documents AS SELECT id, title FROM public.v;"));
}

TEST_F(Validate, UnionAllGoesByAnIndexOfEachBranch) {
    make_tables("NOT NULL");
    db.exec("CREATE VIEW v AS SELECT id, title FROM articles UNION ALL SELECT article_id, part FROM bodies");
    declare("v", "content, key", "'title', 'id, title'");
    const json slow = validate(1);
    EXPECT_EQ(remark(slow, "SlowSweep")["proposal"], json({"CREATE INDEX CONCURRENTLY ON public.articles (id, title);",
                                                           "CREATE INDEX CONCURRENTLY ON public.bodies (article_id, part);"}));
    carry_out(remark(slow, "SlowSweep"));
    const json mended = validate(1);
    EXPECT_TRUE(remark(mended, "SlowSweep").is_null()) << mended;
    EXPECT_TRUE(remark(mended, "SlowLookUp").is_null()) << mended;
}

TEST_F(Validate, AMaterialisedViewWantsAUniqueIndex) {
    make_tables();
    db.exec("CREATE MATERIALIZED VIEW m AS SELECT id, title FROM articles; ANALYZE m");
    declare("m", "key, content", "'id', 'title'");
    const json without = validate(1);
    EXPECT_EQ(remark(without, "RefreshRewrites")["proposal"], json({"CREATE UNIQUE INDEX CONCURRENTLY ON public.m (id);"}));
    EXPECT_EQ(remark(without, "SlowSweep")["proposal"], remark(without, "RefreshRewrites")["proposal"]);
    carry_out(remark(without, "RefreshRewrites"));
    db.exec("REFRESH MATERIALIZED VIEW CONCURRENTLY m");
    const json with = validate(0);
    EXPECT_TRUE(remark(with, "SlowSweep").is_null()) << with;
}

TEST_F(Validate, PartitionsAreIndexedOneByOneAndThenTogether) {
    db.exec(
        "CREATE TABLE src (region text, id int NOT NULL, body text) PARTITION BY LIST (region);"
        "CREATE TABLE src_eu PARTITION OF src FOR VALUES IN ('eu') PARTITION BY RANGE (id);"
        "CREATE TABLE src_eu_low PARTITION OF src_eu FOR VALUES FROM (MINVALUE) TO (1000);"
        "CREATE TABLE \"src EU rest\" PARTITION OF src_eu DEFAULT; CREATE TABLE src_rest PARTITION OF src DEFAULT;"
        "INSERT INTO src SELECT CASE WHEN i % 3 = 0 THEN 'us' ELSE 'eu' END, i, 'Body ' || i FROM generate_series(1, 3000) i;"
        "ANALYZE src;");
    declare("src", "key, content", "'id', 'body'");
    const json slow = validate(1);
    EXPECT_EQ(slow["source"]["kind"], "partitioned table");
    EXPECT_THAT(sentence(slow, "SlowSweep"), HasSubstr("rows of public.src (Seq Scan)"));
    EXPECT_EQ(
        remark(slow, "SlowSweep")["proposal"],
        json({"CREATE INDEX CONCURRENTLY ON public.\"src EU rest\" (id);", "CREATE INDEX CONCURRENTLY ON public.src_eu_low (id);",
              "CREATE INDEX CONCURRENTLY ON public.src_rest (id);", "CREATE INDEX ON public.src (id);"}));
    carry_out(remark(slow, "SlowSweep"));
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname LIKE 'src%'"), "5");
    EXPECT_TRUE(remark(validate(0), "SlowSweep").is_null());
}

TEST_F(Validate, AForeignTableIsSaidToBeElsewhere) {
    db.exec(
        "CREATE EXTENSION postgres_fdw; CREATE TABLE base (id int PRIMARY KEY, body text);"
        "INSERT INTO base SELECT i, 'Body ' || i FROM generate_series(1, 300) i;"
        "DO $$ BEGIN EXECUTE format('CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, dbname %L)',"
        " split_part(current_setting('unix_socket_directories'), ',', 1), current_database()); END $$;"
        "CREATE USER MAPPING FOR postgres SERVER loop OPTIONS (user 'postgres', password_required 'false');"
        "CREATE FOREIGN TABLE src (id int, body text) SERVER loop OPTIONS (table_name 'base');");
    db.exec("ANALYZE src");
    declare("src", "key, content", "'id', 'body'");
    const json r = validate(1);
    EXPECT_EQ(r["source"]["version"]["kind"], "hash");
    EXPECT_THAT(sentence(r, "ForeignSource"), AllOf(HasSubstr("no xmin"), HasSubstr("paced sweeps")));
    EXPECT_THAT(sentence(r, "VersionByHash"), HasSubstr("every sweep reads every text"));
    EXPECT_THAT(r["captureFrom"], IsEmpty());
    EXPECT_EQ(r["sample"]["rows"], 300);
}

TEST_F(Validate, HostileNamesComeOutWholeAndTheirProposalRuns) {
    const std::string schema = R"sql("Robert'); DROP SCHEMA homeostat; --")sql";
    const std::string table = schema + R"sql(."sel{ect"" $1 :relid (x) 文書")sql";
    const std::string view = schema + R"sql(."v:""iew $2")sql";
    const std::string body = R"sql(":varno {1} \ (b)")sql";
    db.exec("CREATE SCHEMA " + schema + "; CREATE TABLE " + table + R"sql(("select" int NOT NULL, )sql" + body +
            R"sql( text, "a.b""c" text); INSERT INTO )sql" + table +
            " SELECT i, 'k' || i, 'Body ' || i FROM generate_series(1, 3000) i; CREATE VIEW " + view +
            R"sql( AS SELECT "select" AS ":resno 7", )sql" + body + R"sql(, "a.b""c" FROM )sql" + table + "; ANALYZE " + table);
    declare(R"sql("Robert''); DROP SCHEMA homeostat; --"."v:""iew $2")sql", "key, content, metadata",
            "'\":resno 7\"', '" + body + R"sql(', '"a.b""c"')sql");
    const json slow = validate(1);
    EXPECT_EQ(column(slow, ":resno 7")["origin"], base(table, "select"));
    EXPECT_EQ(column(slow, R"sql(:varno {1} \ (b))sql")["origin"], base(table, R"sql(:varno {1} \ (b))sql"));
    EXPECT_EQ(slow["captureFrom"][0]["key"][":resno 7"], "select");
    carry_out(remark(slow, "SlowSweep"));
    EXPECT_TRUE(remark(validate(1), "SlowSweep").is_null());
    EXPECT_THAT(ends(0, {"validate", "p"}), HasSubstr("key: {\":resno 7\": select}"));
}

TEST_F(Validate, AColumnThatIsGoneIsErrorWithTheNearestName) {
    make_tables();
    db.exec("CREATE VIEW v AS SELECT id, title AS body, author FROM articles");
    declare("v", "key, content, metadata", "'id', 'body', 'author'");
    db.exec("DROP VIEW v; CREATE VIEW v AS SELECT id, title AS boddy FROM articles");
    const json r = validate(2);
    EXPECT_EQ(sentence(r, "ColumnMissing"),
              "pipeline \"p\": content column \"body\" is not in view public.v (did you mean \"boddy\"?)");
    EXPECT_EQ(r["summary"]["errors"], 2);
    EXPECT_THAT(ends(2, {"validate", "p"}), HasSubstr("p: 2 errors, 0 warnings, 0 notes: it cannot work like this.\n"));
    db.exec("DROP VIEW v");
    EXPECT_THAT(sentence(validate(2), "SourceGone"), HasSubstr("public.v is gone"));
}

TEST_F(Validate, KeysThatRepeatOrAreNull) {
    db.exec(
        "CREATE TABLE src (id int, body text); INSERT INTO src SELECT i, CASE WHEN i > 60 THEN 'text' END FROM "
        "generate_series(1, 80) i;"
        "ANALYZE src;");
    declare("src", "key, content, documents", "'id', 'body', 500");
    db.exec("UPDATE src SET id = NULL WHERE id = 1");
    const json null = validate(1);
    EXPECT_THAT(sentence(null, "KeyNull"), HasSubstr("1 of 80 rows"));
    EXPECT_THAT(sentence(null, "ContentEmpty"), HasSubstr("60 of 80 rows"));
    EXPECT_THAT(sentence(null, "SourceShort"), HasSubstr("500 documents are declared"));
    EXPECT_THAT(remark(null, "KeyUnproven")["proposal"][0].get<std::string>(),
                HasSubstr("CREATE UNIQUE INDEX CONCURRENTLY ON public.src (id)"));
    db.exec("INSERT INTO src VALUES (2, 'twice')");
    EXPECT_THAT(sentence(validate(2), "KeyRepeated"), HasSubstr("1 of 81 rows"));
}

TEST_F(Validate, WithoutRightsItSaysWhichAndTheGrantMends) {
    make_tables();
    db.exec("CREATE VIEW v AS SELECT id, title FROM articles");
    declare("v", "key, content", "'id', 'title'");
    const std::string role = "bare_" + db.name();
    db.exec(fmt::format("CREATE ROLE \"{0}\" LOGIN; GRANT homeostat_controller TO \"{0}\"; REVOKE ALL ON v FROM PUBLIC", role));
    url = db.url(role);
    const json refused = validate(2);
    EXPECT_THAT(sentence(refused, "NoRight"), HasSubstr(fmt::format("role \"{}\" may not read view public.v", role)));
    carry_out(remark(refused, "NoRight"));
    const json mended = validate(1);  // what is left is that a view has no version
    EXPECT_TRUE(remark(mended, "NoRight").is_null());
    EXPECT_THAT(sentence(mended, "CaptureRight"), HasSubstr("may not create triggers on public.articles (owner postgres)"));
    carry_out(remark(mended, "CaptureRight"));
    EXPECT_TRUE(table(validate(1), "public.articles")["mayTrigger"]);
    url.clear();
    db.exec(fmt::format("DROP OWNED BY \"{0}\"; DROP ROLE \"{0}\"", role));
}

TEST_F(Validate, WhoDoesNotRunItIsToldWhatWhoRunsItLacks) {
    make_tables();
    declare("articles", "key, content", "'id', 'title'");
    const std::string role = "asks_" + db.name();
    db.exec(
        fmt::format("CREATE ROLE \"{0}\" LOGIN; GRANT homeostat_declarer TO \"{0}\"; GRANT SELECT ON articles TO \"{0}\"", role));
    url = db.url(role);
    json report = validate(2);
    EXPECT_EQ(sentence(report, "JudgedFor"), "rights are judged for role \"homeostat_controller\", which runs homeostat");
    EXPECT_THAT(sentence(report, "NoRight"),
                HasSubstr("role \"homeostat_controller\", which runs homeostat, lacks SELECT on public.articles"));
    EXPECT_THAT(sentence(report, "CaptureRight"), HasSubstr("role \"homeostat_controller\" may not create triggers"));
    for (int i = 0; i < 3 && !remark(report, "NoRight").is_null(); ++i) {
        carry_out(remark(report, "NoRight"));
        report = validate(remark(report, "NoRight")["proposal"][0].get<std::string>().starts_with("GRANT USAGE, CREATE") ? 0 : 2);
    }
    carry_out(remark(report, "CaptureRight"));
    EXPECT_TRUE(table(validate(0), "public.articles")["mayTrigger"]);
    // A right that who asks lacks, and nobody needs.
    db.exec(fmt::format("REVOKE SELECT ON articles FROM \"{}\"", role));
    report = validate(1);
    EXPECT_THAT(sentence(report, "NotLooked"), HasSubstr(fmt::format("role \"{}\" may not read table public.articles", role)));
    EXPECT_TRUE(remark(report, "NoRight").is_null());
    url.clear();
    db.exec(fmt::format("DROP OWNED BY \"{0}\"; DROP ROLE \"{0}\"", role));
}

TEST_F(Validate, AViewThatFailsWhenReadIsSaidNotToBeLookedAt) {
    make_tables();
    db.exec("CREATE VIEW v AS SELECT id, title, (1 / (author - 1))::text AS share FROM articles");
    declare("v", "key, content", "'id', 'title, share'");
    EXPECT_THAT(sentence(validate(1), "NotSampled"), HasSubstr("division by zero"));
}

TEST_F(Validate, AManifestIsValidatedWithoutBeingDeclared) {
    make_tables();
    const std::string file = ::testing::TempDir() + "/validate_" + db.name() + ".yaml";
    std::ofstream(file) << "apiVersion: homeostat.dev/v1\nkind: Pipeline\nmetadata:\n  name: p\nspec:\n  source: articles\n"
                           "  content: [title]\n  provider: hashing\n  target: p_embeddings\n";
    const std::string before = fingerprint();
    const json reports = json::parse(ends(0, {"validate", "-f", file, "-o", "json"}));
    ASSERT_EQ(reports.size(), 1);
    EXPECT_EQ(reports[0]["source"]["name"], "public.articles");
    EXPECT_EQ(fingerprint(), before);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    std::ofstream(file) << "apiVersion: homeostat.dev/v1\nkind: Pipeline\nmetadata:\n  name: p\nspec:\n  source: articles\n"
                           "  content: [titel]\n  provider: hashing\n  target: p_embeddings\n";
    EXPECT_THAT(refused({"validate", "-f", file}), AllOf(HasSubstr(file), HasSubstr("did you mean \"title\"?")));
    EXPECT_THAT(refused({"validate", "p", "-f", file}), HasSubstr("not both"));
    EXPECT_THAT(refused({"validate", "q"}), HasSubstr("pipeline \"q\" does not exist"));
}

}  // namespace
}  // namespace homeostat
