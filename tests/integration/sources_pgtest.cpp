// Every kind of source and of key: filled, edited, healed, and compared with what SQL itself says the documents are.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

struct SourceCase {
    std::string name;
    std::string set_up;      // makes the source with 120 documents
    std::string columns;     // of the declaration, beside name, source, provider, dimensions and target
    std::string values;
    std::string wanted;      // (key, content) as SQL sees it
    std::string edit;        // three deletions, some edits, some inserts
    std::string source = "src";
};

std::ostream& operator<<(std::ostream& out, const SourceCase& c) { return out << c.name; }

// A table with a key of `type`, whose i-th value is `value`.
SourceCase keyed(const std::string& name, const std::string& type, const std::string& value, const std::string& before = "") {
    return {name,
            before + fmt::format("CREATE TABLE src (k {} PRIMARY KEY, n int UNIQUE, body text);"
                                 "INSERT INTO src SELECT {}, i, 'Body of ' || i FROM generate_series(1, 120) i;",
                                 type, value),
            "content",
            "'body'",
            "SELECT k::text, body FROM src",
            fmt::format("DELETE FROM src WHERE n IN (1, 60, 120); UPDATE src SET body = 'Edited ' || n WHERE n % 10 = 5;"
                        "INSERT INTO src SELECT {}, i, 'Came later ' || i FROM generate_series(121, 130) i;",
                        value)};
}

class Sources : public World, public ::testing::WithParamInterface<SourceCase> {};

TEST_P(Sources, AreFilledAndHealed) {
    const SourceCase& c = GetParam();
    db.exec(c.set_up);
    declare("p", c.source, c.columns, c.values);
    run_once(kConverged);
    expect_converged("p", c.wanted);
    EXPECT_EQ(db.value("SELECT documents FROM homeostat.pipelines"), "120");
    db.exec(c.edit);
    run_once(kConverged);
    expect_converged("p", c.wanted);
    const auto idle = run_once(kConverged);
    EXPECT_EQ(db.value("SELECT planned FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "0") << idle.output;
}

const SourceCase kPartitioned{
    "PartitionedInSeveralLevels",
    "CREATE TABLE src (region text, id int, body text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);"
    "CREATE TABLE src_eu PARTITION OF src FOR VALUES IN ('eu') PARTITION BY RANGE (id);"
    "CREATE TABLE src_eu_low PARTITION OF src_eu FOR VALUES FROM (MINVALUE) TO (50);"
    "CREATE TABLE src_eu_rest PARTITION OF src_eu DEFAULT;"
    "CREATE TABLE src_us PARTITION OF src FOR VALUES IN ('us');"
    "CREATE TABLE src_rest PARTITION OF src DEFAULT;"
    "INSERT INTO src SELECT (ARRAY['eu','us','asia'])[i % 3 + 1], i, 'Body ' || i FROM generate_series(1, 120) i;",
    "content", "'body'", "SELECT concat_ws('|', region, id), body FROM src",
    // An update of the partition key moves the row to another partition, which is another document.
    "DELETE FROM src WHERE id IN (1, 60, 120); UPDATE src SET body = 'Edited ' || id WHERE id % 10 = 5; UPDATE src SET region = "
    "'mars' WHERE id = 30;"
    "INSERT INTO src VALUES ('eu', 1000, 'new'), ('asia', 1001, 'new');"
    "CREATE TABLE src_moon PARTITION OF src FOR VALUES IN ('moon'); INSERT INTO src VALUES ('moon', 5, 'attached under way');"};

const SourceCase kView{"View",
                       "CREATE TABLE base (id int PRIMARY KEY, body text, hidden bool NOT NULL DEFAULT false);"
                       "INSERT INTO base SELECT i, 'Body ' || i, i > 120 FROM generate_series(1, 150) i; CREATE VIEW src AS "
                       "SELECT id, upper(body) AS body FROM base WHERE NOT hidden;",
                       "key, content",
                       "'id', 'body'",
                       "SELECT id::text, body FROM src",
                       "UPDATE base SET hidden = true WHERE id IN (1, 60, 120); UPDATE base SET hidden = false WHERE id > 140; "
                       "UPDATE base SET body = 'Edited ' || id WHERE id % 10 = 5;"};

const SourceCase kMaterialised{
    "MaterialisedView",
    "CREATE TABLE base (id int PRIMARY KEY, body text); INSERT INTO base SELECT i, 'Body ' || i FROM generate_series(1, 120) i;"
    "CREATE MATERIALIZED VIEW src AS SELECT id, body FROM base; CREATE UNIQUE INDEX ON src (id);",
    "key, content",
    "'id', 'body'",
    "SELECT id::text, body FROM src",
    "DELETE FROM base WHERE id IN (1, 60, 120); UPDATE base SET body = 'Edited ' || id WHERE id % 10 = 5; INSERT INTO base "
    "VALUES (500, 'new');"
    "REFRESH MATERIALIZED VIEW CONCURRENTLY src;"};

const SourceCase kForeign{
    "ForeignTable",
    "CREATE EXTENSION postgres_fdw; CREATE TABLE base (id int PRIMARY KEY, body text);"
    "INSERT INTO base SELECT i, 'Body ' || i FROM generate_series(1, 120) i;"
    "DO $$ BEGIN EXECUTE format('CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, dbname %L)',"
    " split_part(current_setting('unix_socket_directories'), ',', 1), current_database()); END $$;"
    "CREATE USER MAPPING FOR postgres SERVER loop OPTIONS (user 'postgres', password_required 'false');"
    "CREATE FOREIGN TABLE src (id int, body text) SERVER loop OPTIONS (table_name 'base');",
    "key, content",
    "'id', 'body'",
    "SELECT id::text, body FROM base",
    "DELETE FROM base WHERE id IN (1, 60, 120); UPDATE base SET body = 'Edited ' || id WHERE id % 10 = 5; INSERT INTO base "
    "VALUES (500, 'new');"};

const SourceCase kVersioned{"VersionColumn",
                            "CREATE TABLE base (id int PRIMARY KEY, body text, version int NOT NULL DEFAULT 1); INSERT INTO base "
                            "SELECT i, 'Body ' || i FROM generate_series(1, 120) i;"
                            "CREATE VIEW src AS SELECT * FROM base;",
                            "key, content, version_column",
                            "'id', 'body', 'version'",
                            "SELECT id::text, body FROM src",
                            "DELETE FROM base WHERE id IN (1, 60, 120); UPDATE base SET body = 'Edited ' || id, version = "
                            "version + 1 WHERE id % 10 = 5; INSERT INTO base VALUES (500, 'new');"};

const SourceCase kTemplate{
    "TemplateOverColumnsOfManyTypes",
    "CREATE TABLE src (id int PRIMARY KEY, title text, price numeric, tags text[], born date, extra jsonb);"
    "INSERT INTO src SELECT i, CASE WHEN i % 7 > 0 THEN 'Title ' || i END, i / 4.0, ARRAY['a', 'b' || i], '2026-01-01'::date + "
    "i, jsonb_build_object('i', i)"
    " FROM generate_series(1, 120) i;",
    "template, metadata",
    "'{title} costs {price} {{sic}}: {tags}, born {born}, {extra}', 'price, born'",
    "SELECT id::text, concat(title, ' costs ', price, ' {sic}: ', tags, ', born ', born, ', ', extra) FROM src",
    "DELETE FROM src WHERE id IN (1, 60, 120); UPDATE src SET price = price + 1 WHERE id % 10 = 5; UPDATE src SET extra = NULL "
    "WHERE id = 7; INSERT INTO src (id, title) VALUES (500, 'new');"};

const SourceCase kJoined{"ContentOfSeveralColumns",
                         "CREATE TABLE src (id int PRIMARY KEY, title text, body text, note text);"
                         "INSERT INTO src SELECT i, 'Title ' || i, CASE WHEN i % 5 > 0 THEN 'Body ' || i END, CASE WHEN i % 3 = "
                         "0 THEN '' ELSE 'Note' END FROM generate_series(1, 120) i;",
                         "content",
                         "'title, body, note'",
                         "SELECT id::text, concat_ws(E'\\n\\n', nullif(title, ''), nullif(body, ''), nullif(note, '')) FROM src",
                         "DELETE FROM src WHERE id IN (1, 60, 120); UPDATE src SET note = 'Other' WHERE id % 10 = 5; INSERT INTO "
                         "src (id) VALUES (500);"};

// Everything that can be named is named as badly as PostgreSQL allows.
const SourceCase kHostile{
    "HostileIdentifiers",
    R"(CREATE SCHEMA "Robert'); DROP SCHEMA homeostat; --";
       CREATE TABLE "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s" (
         "select" int, "a""b;c" text, "sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr" text, "m'eta $2" text, "größe, {y}" int,
         PRIMARY KEY ("select", "a""b;c"));
       INSERT INTO "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s"
       SELECT i, 'k''"; ' || i, 'Body ''; DROP TABLE x; -- ' || i, 'meta', i FROM generate_series(1, 120) i;)",
    "content, metadata",
    R"('"sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr"', '"m''eta $2", "größe, {y}"')",
    R"(SELECT concat_ws('|', "select", "a""b;c"), "sixty_three_bytes_sixty_three_bytes_sixty_three_bytes_sixty_thr"
       FROM "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s")",
    R"(UPDATE "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s" SET "größe, {y}" = -1 WHERE "select" % 10 = 5;
       DELETE FROM "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s" WHERE "select" IN (1, 60, 120);
       INSERT INTO "Robert'); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s" VALUES (500, '\', 'new', NULL, NULL);)",
    R"("Robert''); DROP SCHEMA homeostat; --"."select ""quoted"" $1 {x} ünïcödé 文書 %s")"};

const std::vector<SourceCase> kCases{
    keyed("IntKey", "int", "i - 50"),
    keyed("BigintKey", "bigint", "(i - 50) * 100000000000"),
    keyed("UuidKey", "uuid", "md5(i::text)::uuid"),
    keyed("TextKeyCollationC", "text COLLATE \"C\"", "chr(64 + i) || 'ä'"),
    keyed("TextKeyCollationIcu", "text COLLATE \"de-x-icu\"", "(ARRAY['ä','A','z','ß','Ö','-','é'])[i % 7 + 1] || (i / 7)"),
    keyed("TextKeyCollationIgnoringCase", "text COLLATE anycase", "CASE WHEN i % 2 = 0 THEN 'KEY' ELSE 'key' END || i",
          "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"),
    keyed("TimestampKey", "timestamptz", "'2026-10-25 00:00+00'::timestamptz + i * interval '10 minutes 0.000001 seconds'"),
    keyed("NumericKey", "numeric", "i / 7.0 - 5"),
    keyed("DateKey", "date",
          "CASE i WHEN 3 THEN '-infinity'::date WHEN 4 THEN 'infinity' WHEN 5 THEN '4712-01-01 BC' ELSE '2026-01-01'::date + i "
          "END"),
    keyed("EnumKey", "mood", "('m' || i)::mood",
          "DO $$ BEGIN EXECUTE (SELECT format('CREATE TYPE mood AS ENUM (%s)', string_agg(quote_literal('m' || i), ',' ORDER BY "
          "i DESC)) FROM generate_series(1, 130) i); END $$;"),
    keyed("DomainKey", "slug", "('slug-' || i)::slug", "CREATE DOMAIN slug AS text CHECK (value ~ '^[a-z0-9-]+$');"),
    keyed("LtreeKey", "ltree", "('a.b' || i)::ltree", "CREATE EXTENSION ltree;"),
    keyed("HstoreKeyInAnotherSchema", "ext.hstore", "ext.hstore('k', i::text)",
          "CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext;"),
    keyed("DomainOverCubeKey", "place", "cube(i)::place", "CREATE EXTENSION cube; CREATE DOMAIN place AS cube;"),
    keyed("CitextKeyInAnotherSchema", "ext.citext", "(CASE WHEN i % 2 = 0 THEN 'KEY' ELSE 'key' END || i)::ext.citext",
          "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;"),
    {"CompositeKeyOfThree",
     "CREATE TABLE src (a text, b date, c int, n int, body text, PRIMARY KEY (a, b, c));"
     "INSERT INTO src SELECT chr(97 + i % 3), '2026-01-01'::date + i % 5, i, i, 'Body ' || i FROM generate_series(1, 120) i;",
     "content", "'body'", "SELECT concat_ws('|', a, b, c), body FROM src",
     "DELETE FROM src WHERE n IN (1, 60, 120); UPDATE src SET body = 'Edited' WHERE n % 10 = 5; UPDATE src SET b = b + 100 WHERE "
     "n = 33; INSERT INTO src VALUES ('q', '2027-01-01', 0, 500, 'new');"},
    kPartitioned,
    kView,
    kMaterialised,
    kForeign,
    kVersioned,
    kTemplate,
    kJoined,
    kHostile};

INSTANTIATE_TEST_SUITE_P(Kind, Sources, ::testing::ValuesIn(kCases), [](const auto& tested) { return tested.param.name; });

class DeclaredCount : public World {
protected:
    void SetUp() override {
        db.exec(
            "CREATE TABLE src (id int PRIMARY KEY, body text, tag text);"
            "INSERT INTO src SELECT i, 'Body ' || i, 'x' FROM generate_series(1, 100) i");
    }
};

TEST_F(DeclaredCount, LoweredMakesExcessAndRaisedMakesMissing) {
    declare("p", "src", "content, documents, max_prune_ratio", "'body', 80, 1");
    run_once(kConverged);
    expect_converged("p", "SELECT id::text, body FROM src WHERE id <= 80");
    db.exec("UPDATE homeostat.pipeline SET documents = 30");
    run_once(kConverged);
    expect_converged("p", "SELECT id::text, body FROM src WHERE id <= 30");
    db.exec("UPDATE homeostat.pipeline SET documents = 90");
    run_once(kConverged);
    expect_converged("p", "SELECT id::text, body FROM src WHERE id <= 90");
    db.exec("UPDATE homeostat.pipeline SET documents = 0");
    run_once(kDriftLeft);  // to nothing is not done without being asked twice
    EXPECT_EQ(condition("p", "PruneBlocked"), "True");
}

TEST_F(DeclaredCount, OfWhichTheSourceFallsShortIsAConditionAndNotDrift) {
    declare("p", "src", "content, documents", "'body', 500");
    run_once(kConverged);
    EXPECT_EQ(condition("p", "SourceShort"), "True");
    EXPECT_THAT(condition("p", "SourceShort", "message"),
                ::testing::HasSubstr("500 documents are declared and the source has 100"));
    EXPECT_EQ(condition("p", "Ready"), "True");
    EXPECT_EQ(kit::drift_of(db, "p"), "");
    db.exec("INSERT INTO src SELECT i, 'More ' || i FROM generate_series(101, 600) i");
    run_once(kConverged);
    expect_converged("p", "SELECT id::text, body FROM src WHERE id <= 500");
}

TEST_F(DeclaredCount, MetadataThatMovesIsCarriedWithoutEmbedding) {
    declare("p", "src", "content, metadata", "'body', 'tag'");
    run_once(kConverged);
    const std::int64_t before = embedded();
    db.exec("UPDATE src SET tag = 'moved' WHERE id <= 10; UPDATE src SET tag = NULL WHERE id = 11");
    run_once(kConverged);
    EXPECT_EQ(embedded(), before);
    EXPECT_EQ(
        db.value(
            "SELECT string_agg(id || ':' || coalesce(tag, '-'), ' ' ORDER BY id) FROM p_embeddings WHERE id BETWEEN 10 AND 12"),
        "10:moved 11:- 12:x");
    // Another column, of a type of its own, joins later.
    db.exec("ALTER TABLE src ADD COLUMN price numeric(8,2) DEFAULT 1.5; UPDATE homeostat.pipeline SET metadata = 'tag, price'");
    run_once(kConverged);
    EXPECT_EQ(embedded(), before);
    EXPECT_EQ(db.value("SELECT count(*) FROM p_embeddings WHERE price = 1.50"), "100");
}

TEST_F(DeclaredCount, RowsWithoutAKeyAreToldAndLeftOut) {
    db.exec("CREATE VIEW v AS SELECT CASE WHEN id > 95 THEN NULL ELSE id END AS id, body FROM src");
    declare("p", "v", "key, content", "'id', 'body'");
    run_once(kConverged);
    EXPECT_EQ(condition("p", "RowsWithoutKey"), "True");
    EXPECT_EQ(db.value("SELECT count(*) FROM p_embeddings"), "95");
}

// An order alone is not enough: of a vector PostgreSQL finds the equal one by no hash and no merge.
TEST_F(DeclaredCount, AKeyByWhichTablesDoNotJoinIsRefusedWithASentence) {
    db.exec("CREATE TABLE places (id public.vector(2) PRIMARY KEY, body text); INSERT INTO places VALUES ('[1,2]', 'x')");
    declare("p", "places", "content", "'body'");
    run_once(kFailed);
    EXPECT_EQ(condition("p", "Ready", "reason"), "SpecInvalid");
    EXPECT_THAT(condition("p", "Ready", "message"),
                ::testing::HasSubstr("key column \"id\" has the type public.vector, by which PostgreSQL cannot join two tables"));
}

TEST_F(DeclaredCount, AKeyThatNamesTwoRowsIsRefusedWithASentence) {
    db.exec(
        "CREATE TABLE base (id int, body text); INSERT INTO base SELECT i, 'x' FROM generate_series(1, 20) i; CREATE VIEW v AS "
        "SELECT * FROM base");
    declare("p", "v", "key, content", "'id', 'body'");
    run_once(kConverged);
    db.exec("INSERT INTO base VALUES (7, 'twice')");
    const auto failed = run_once(kFailed);
    EXPECT_EQ(condition("p", "Ready", "reason"), "AmbiguousKey");
    EXPECT_THAT(condition("p", "Ready", "message"),
                ::testing::HasSubstr("more than one row of view public.v has the same key (id)"));
    EXPECT_EQ(db.value("SELECT count(*) FROM p_embeddings"), "20");
}

}  // namespace
}  // namespace homeostat
