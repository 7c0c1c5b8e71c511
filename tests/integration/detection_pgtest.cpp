// What is there to be found is found, what is not is not paid for: each source as it is, and each thing that decides its texts.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;

class Detection : public World {
protected:
    std::int64_t planned() { return number("SELECT planned FROM homeostat.run_history ORDER BY id DESC LIMIT 1"); }
    std::string reason(const std::string& type) { return condition("docs", type, "reason"); }
};

// ---- what a text depends on ----

TEST_F(Detection, NoSettingOfTheEnvironmentOrTheDatabaseChangesATextOrARow) {
    db.exec(
        "CREATE TABLE base (id int PRIMARY KEY, at timestamptz, span interval, ratio float8, small real, raw bytea, price money,"
        " doc xml, words text[]);"
        "INSERT INTO base SELECT i, '2026-03-01 22:30+00'::timestamptz + i * interval '7 hours', i * interval '1 day 3 hours',"
        " 1 / (i + 2.0::float8), 1 / (i + 2.0::float4), decode(md5(i::text), 'hex'), i::money, xmlelement(name a, i),"
        " ARRAY['a', NULL, i::text] FROM generate_series(1, 60) i;"
        "CREATE VIEW docs AS SELECT id, concat_ws(' ', at, span, ratio, small, raw, price, doc, words, at::date, to_char(at,"
        " 'TMDay HH24'), query_to_xml('SELECT 1', true, true, '')) AS body FROM base");
    declare("docs", "docs", "key, content", "'id', 'body'");
    run_once(kConverged);
    ASSERT_EQ(planned(), 60);
    run_once(kConverged,
             {{"PGTZ", "Asia/Kathmandu"},
              {"PGDATESTYLE", "SQL, DMY"},
              {"PGOPTIONS", "-c extra_float_digits=-5 -c IntervalStyle=iso_8601 -c bytea_output=escape -c xmlbinary=hex"}});
    EXPECT_EQ(planned(), 0);
    db.exec(
        fmt::format("ALTER DATABASE {0} SET timezone = 'America/Lima'; ALTER DATABASE {0} SET datestyle = 'German';"
                    "ALTER DATABASE {0} SET default_transaction_isolation = 'serializable';"
                    "ALTER DATABASE {0} SET xmloption = 'document'",
                    db.name()));
    run_once(kConverged);
    EXPECT_EQ(planned(), 0);
    // A key's text is the same as well.
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

// ---- names and keys ----

// Whatever our statements and functions call their own things.
TEST_F(Detection, ASourcesColumnsMayHaveAnyName) {
    const std::vector<std::string> names{"d",
                                         "s",
                                         "w",
                                         "c",
                                         "r",
                                         "t",
                                         "i",
                                         "m",
                                         "g",
                                         "j",
                                         "n",
                                         "o",
                                         "f",
                                         "key",
                                         "k1",
                                         "m0",
                                         "m1",
                                         "key_1",
                                         "number",
                                         "document",
                                         "documents",
                                         "document_id",
                                         "content",
                                         "version",
                                         "present",
                                         "bytes",
                                         "kept",
                                         "hash",
                                         "chunks",
                                         "expected",
                                         "homeostat_version",
                                         "homeostat_hash",
                                         "homeostat_room",
                                         "homeostat_asleep",
                                         "homeostat_named",
                                         "homeostat_id",
                                         "homeostat_m0",
                                         "homeostat_present",
                                         "new",
                                         "old",
                                         "new_rows",
                                         "old_rows",
                                         "change",
                                         "uid",
                                         "found",
                                         "tg_op",
                                         "select",
                                         "user",
                                         "limit",
                                         "text",
                                         "now",
                                         "gone",
                                         "moved",
                                         "taken",
                                         "age",
                                         "write_token",
                                         "run_id",
                                         "source_version",
                                         "content_hash",
                                         "meta_1",
                                         "a\"b",
                                         "Ä ö",
                                         "$homeostat$"};
    std::string columns;
    for (const std::string& name : names) {
        std::string quoted = name;
        if (const auto at = quoted.find('"'); at != std::string::npos) quoted.insert(at, "\"");
        columns += fmt::format(", \"{}\" text NOT NULL DEFAULT 'x'", quoted);
    }
    db.exec(
        fmt::format("CREATE TABLE docs (id int PRIMARY KEY{}); INSERT INTO docs (id) SELECT generate_series(1, 40)", columns));
    db.exec("ALTER TABLE docs ALTER d DROP DEFAULT; UPDATE docs SET d = 'Body of ' || id, s = 'S ' || id, w = 'W ' || id");
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, provider, dimensions, target, content, metadata, drift_interval, "
        "sweep_interval,"
        " max_prune_ratio) SELECT 'docs', 'docs', 'hashing', 16, 'public.docs_embeddings', '{d,s,c,content}',"
        " array_agg(attname::text ORDER BY attnum), '1 day', '30 days', 1 FROM pg_attribute WHERE attrelid = 'docs'::regclass "
        "AND attnum > 1"
        " AND attname <> ALL ('{d,s,c,content}')");
    run_once(kConverged);
    db.exec(
        "UPDATE docs SET d = 'Edited ' || id WHERE id <= 5; UPDATE docs SET w = 'moved' WHERE id = 7; DELETE FROM docs WHERE id "
        "= 9");
    run_once(kConverged);
    const std::string wanted = "SELECT id::text, concat_ws(E'\\n\\n', d, s, c, content) FROM docs";
    expect_converged("docs", wanted);
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'", "1"))
        << run.output();
    db.exec(
        "UPDATE docs SET d = 'Again ' || id WHERE id <= 15; UPDATE docs SET w = 'moved again' WHERE id = 17; DELETE FROM docs "
        "WHERE id = 19;"
        "INSERT INTO docs (id, d) VALUES (50, 'new'); UPDATE docs SET id = 60 WHERE id = 20");
    EXPECT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", wanted).empty(); })) << run.output();
    EXPECT_TRUE(eventually_is("SELECT w FROM docs_embeddings WHERE id = 17", "moved again"));
    end(run);
}

TEST_F(Detection, AKeyThatWasWidenedKeepsItsVectors) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, "
        "40) i");
    declare("docs", "docs", "content, drift_interval, sweep_interval, max_prune_ratio", "'body', '1 day', '30 days', 1");
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'", "1"))
        << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history", "t")) << run.output();
    const std::int64_t before = embedded();
    // No writer may fail for it, however soon it comes.
    db.exec(
        "ALTER TABLE docs ALTER id TYPE bigint; INSERT INTO docs VALUES (5000000000, 'large'); UPDATE docs SET id = 6000000000 "
        "WHERE id = 7");
    EXPECT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", "SELECT id::text, body FROM docs").empty(); }))
        << run.output();
    EXPECT_EQ(db.value("SELECT pg_typeof(id)::text FROM docs_embeddings LIMIT 1"), "bigint");
    EXPECT_LE(embedded(), before + 2);
    EXPECT_EQ(db.value("SELECT max(revision) FROM homeostat.revision"), "1");
    end(run);
}

struct KeyTypeCase {
    std::string name;
    std::string type;
    std::string value;
    std::string alter;  // ALTER TABLE docs …
    bool kept = true;   // its vectors
};
std::ostream& operator<<(std::ostream& out, const KeyTypeCase& c) { return out << c.name; }
class KeyTypes : public Detection, public ::testing::WithParamInterface<KeyTypeCase> {};

TEST_P(KeyTypes, MayChange) {
    const KeyTypeCase& c = GetParam();
    db.exec(
        fmt::format("CREATE TABLE docs (k {} PRIMARY KEY, n int, body text); INSERT INTO docs SELECT {}, i, 'Body of ' || i"
                    " FROM generate_series(1, 40) i",
                    c.type, c.value));
    declare("docs", "docs", "content, max_prune_ratio, prune", "'body', 1, 'Auto'");
    run_once(kConverged);
    db.exec("UPDATE docs SET body = 'Edited ' || n WHERE n <= 3");  // what is in the journal has the old type
    run_once(kConverged);
    const std::int64_t before = embedded();
    db.exec("ALTER TABLE docs " + c.alter);
    db.exec("UPDATE docs SET body = 'Again ' || n WHERE n <= 5");
    run_once(kConverged);
    expect_converged("docs", "SELECT k::text, body FROM docs");
    if (c.kept) {
        EXPECT_EQ(embedded(), before + 5);
    }
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "40");
    run_once(kConverged);
    EXPECT_EQ(planned(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    , KeyTypes,
    ::testing::Values(KeyTypeCase{"SmallintToBigint", "smallint", "i", "ALTER k TYPE bigint"},
                      KeyTypeCase{"VarcharToText", "varchar(10)", "'k' || i", "ALTER k TYPE text"},
                      KeyTypeCase{"VarcharGrows", "varchar(10)", "'k' || i", "ALTER k TYPE varchar(200)"},
                      KeyTypeCase{"IntToText", "int", "i", "ALTER k TYPE text"},
                      KeyTypeCase{"IntToNumeric", "int", "i", "ALTER k TYPE numeric"},
                      KeyTypeCase{"TextToInt", "text", "i::text", "ALTER k TYPE int USING k::int"},
                      KeyTypeCase{"CollationChanges", "text", "'k' || i", "ALTER k TYPE text COLLATE \"C\""},
                      KeyTypeCase{"TextToUuid", "text", "md5(i::text)", "ALTER k TYPE uuid USING k::uuid"},
                      KeyTypeCase{"IntToUuid", "int", "i", "ALTER k TYPE uuid USING md5(k::text)::uuid", false},
                      KeyTypeCase{"TextToIntOfItsOwn", "text", "'k' || i", "ALTER k TYPE int USING substr(k, 2)::int", false}),
    [](const auto& c) { return c.param.name; });

// As long as an index of the source takes them.
TEST_F(Detection, KeysAndVersionsMayBeLong) {
    db.exec(
        "CREATE FUNCTION noise(n int, i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT left(string_agg(md5(i || ':' || "
        "x), ''), n)"
        " FROM generate_series(1, n / 32 + 1) x $$;"
        "CREATE TABLE docs (k text PRIMARY KEY, n int, body text, version text);"
        "INSERT INTO docs SELECT noise(2680, i), i, 'Body of ' || i, noise(3000, 1000 + i) FROM generate_series(1, 20) i;"
        "INSERT INTO docs SELECT repeat('k' || i, 3000), i, 'Compresses ' || i, 'v' FROM generate_series(21, 30) i");
    declare("docs", "docs", "content, version_column, max_prune_ratio", "'body', 'version', 1");
    run_once(kConverged);
    expect_converged("docs", "SELECT k, body FROM docs");
    db.exec(
        "UPDATE docs SET body = 'Edited ' || n, version = noise(3000, 2000 + n) WHERE n <= 5; DELETE FROM docs WHERE n = 9;"
        "UPDATE docs SET version = noise(3500, n) WHERE n = 12");
    run_once(kConverged);
    expect_converged("docs", "SELECT k, body FROM docs");
    run_once(kConverged);
    EXPECT_EQ(planned(), 0);
}

// ---- what is compared ----

TEST_F(Detection, ARunOnceComparesVersionsUntilItIsToldToLookDeeply) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, "
        "40) i");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    const kit::Tables t = kit::tables_of(db, "docs");
    db.exec(fmt::format("UPDATE {} SET content_hash = sha256('other') WHERE key_1 = 7", t.document));
    run_once(kConverged);
    EXPECT_EQ(planned(), 0);
    EXPECT_EQ(db.value("SELECT deep FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "f");
    EXPECT_EQ(homeostat.run({"run", "--once", "--deep"}).exit.code, kConverged);
    EXPECT_EQ(planned(), 1);
    EXPECT_EQ(homeostat.run({"run", "--deep"}).exit.code, kFailed) << "without --once nothing is meant by it";
    db.exec("UPDATE homeostat.pipeline_status SET last_deep_sweep_at = last_deep_sweep_at - interval '30 days'");
    db.exec(fmt::format("UPDATE {} SET content_hash = sha256('other') WHERE key_1 = 9", t.document));
    run_once(kConverged);
    EXPECT_EQ(planned(), 1) << "a deep sweep was due";
}

// Numbers of transactions mean nothing in another cluster: a row there may have, by chance, the version of another text.
TEST_F(Detection, AfterARestoreIntoAnotherClusterContentsAreCompared) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, "
        "40) i");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    run_once(kConverged);
    const kit::Tables t = kit::tables_of(db, "docs");
    db.exec(
        fmt::format("UPDATE docs SET body = 'Edited ' || id WHERE id <= 5; UPDATE {} d SET source_version = s.xmin FROM docs s"
                    " WHERE s.id = d.key_1",
                    t.document));
    run_once(kConverged);
    ASSERT_EQ(planned(), 0) << "the case is none";
    db.exec("UPDATE homeostat.pipeline_status SET compared_under = replace(compared_under, left(compared_under, 4), '1234')");
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM docs");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT deep FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), "f");
}

TEST_F(Detection, AViewThatWasReplacedIsComparedWhateverItsVersionsSay) {
    db.exec(
        "CREATE TABLE base (id int PRIMARY KEY, body text, version int NOT NULL DEFAULT 1);"
        "INSERT INTO base SELECT i, 'Body of ' || i FROM generate_series(1, 40) i;"
        "CREATE FUNCTION shown(body text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(body)';"
        "CREATE VIEW inner_docs AS SELECT * FROM base; CREATE VIEW docs AS SELECT id, body, version FROM inner_docs");
    declare("docs", "docs", "key, content, version_column", "'id', 'body', 'version'");
    run_once(kConverged);
    run_once(kConverged);
    db.exec("CREATE OR REPLACE VIEW docs AS SELECT id, shown(body) AS body, version FROM inner_docs");
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM docs");
    db.exec("CREATE OR REPLACE FUNCTION shown(body text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(body)'");
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM docs");
    db.exec("CREATE OR REPLACE VIEW inner_docs AS SELECT id, body || '!' AS body, version FROM base");
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM docs");
    run_once(kConverged);
    EXPECT_EQ(planned(), 0);
}

// ---- what never reads the same twice ----

struct UnsteadyCase {
    std::string name;
    std::string body;
    std::string columns = "key, content";
    std::string values = "'id', 'body'";
};
std::ostream& operator<<(std::ostream& out, const UnsteadyCase& c) { return out << c.name; }
class UnsteadySources : public Detection, public ::testing::WithParamInterface<UnsteadyCase> {};

TEST_P(UnsteadySources, AreToldAndPaidForOnce) {
    const UnsteadyCase& c = GetParam();
    db.exec(
        fmt::format("CREATE TABLE base (id int PRIMARY KEY, body text, version int NOT NULL DEFAULT 1);"
                    "INSERT INTO base SELECT i, 'Body of ' || i FROM generate_series(1, 20) i;"
                    "CREATE VIEW docs AS SELECT id, CASE WHEN id <= 5 THEN {} ELSE body END AS body, version FROM base",
                    c.body));
    declare("docs", "docs", c.columns, c.values);
    run_once(kDriftLeft);
    // Texts that are the same are embedded once.
    const std::int64_t first = embedded();
    EXPECT_GT(first, 15);
    EXPECT_LE(first, 20);
    EXPECT_EQ(condition("docs", "SourceUnsteady"), "True");
    EXPECT_THAT(condition("docs", "SourceUnsteady", "message"), HasSubstr("5 documents"));
    EXPECT_EQ(condition("docs", "Synced"), "False");
    db.exec("UPDATE base SET body = 'Edited ' || id WHERE id IN (10, 11)");
    run_once(kDriftLeft);
    run_once(kDriftLeft);
    EXPECT_EQ(embedded(), first + 2) << "an edit is healed, the rest is not paid again";
    db.exec("CREATE OR REPLACE VIEW docs AS SELECT id, body, version FROM base");
    run_once(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM docs");
    EXPECT_EQ(embedded(), first + 7);
    EXPECT_EQ(condition("docs", "SourceUnsteady"), "False");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.unsteady"), "0");
}

INSTANTIATE_TEST_SUITE_P(, UnsteadySources,
                         ::testing::Values(UnsteadyCase{"Random", "random()::text"}, UnsteadyCase{"Now", "now()::text"},
                                           UnsteadyCase{"ClockTimestamp", "clock_timestamp()::text"},
                                           UnsteadyCase{"Uuid", "gen_random_uuid()::text"},
                                           UnsteadyCase{"Transaction", "txid_current_snapshot()::text || random()"}),
                         [](const auto& c) { return c.param.name; });

TEST_F(Detection, MetadataThatIsNeverTheSameEndsARunToo) {
    db.exec(
        "CREATE TABLE base (id int PRIMARY KEY, body text); INSERT INTO base SELECT i, 'Body of ' || i FROM generate_series(1, "
        "20) i;"
        "CREATE VIEW docs AS SELECT id, body, random() AS weight FROM base");
    declare("docs", "docs", "key, content, metadata", "'id', 'body', 'weight'");
    run_once(kDriftLeft);
    EXPECT_EQ(embedded(), 20);
    EXPECT_EQ(condition("docs", "SourceUnsteady"), "True");
}

// ---- policies ----

class Policies : public Detection {
protected:
    Policies() : role_("reader_" + db.name()) {
        db.exec(fmt::format(
            "CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE SCHEMA serve; GRANT USAGE, CREATE ON SCHEMA serve TO {0};"
            "CREATE TABLE base (id int PRIMARY KEY, body text, hidden bool NOT NULL DEFAULT false);"
            "INSERT INTO base SELECT i, 'Body of ' || i, i <= 5 FROM generate_series(1, 100) i; GRANT SELECT, TRIGGER ON base TO "
            "{0};"
            "CREATE VIEW docs AS SELECT * FROM base; GRANT SELECT ON docs TO {0};"
            "CREATE POLICY chosen ON base FOR SELECT USING (NOT hidden)",
            role_));
        reader_ = kit::Program(db.url(role_));
    }
    void TearDown() override { db.exec(fmt::format("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", role_)); }
    void declare_for_reader(const std::string& source, const std::string& columns = "", const std::string& values = "") {
        db.exec(fmt::format(
            "INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target, max_prune_ratio{})"
            " VALUES ('docs', '{}', 'id', 'body', 'hashing', 16, 'serve.docs_embeddings', 1{})",
            columns, source, values));
    }
    void expect_refused() {
        const auto refused = reader_.run_once();
        EXPECT_EQ(refused.exit.code, kFailed) << refused.output;
        EXPECT_THAT(refused.output, HasSubstr("hides rows of table public.base"));
        EXPECT_EQ(reason("Ready"), "SourceFiltered");
        EXPECT_EQ(condition("docs", "Ready"), "Unknown");
        EXPECT_EQ(condition("docs", "SourceFiltered"), "True");
        EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings"), 100);
    }

    const std::string role_;
    kit::Program reader_{""};
};

TEST_F(Policies, APolicyThatHidesRowsIsAnErrorAndNoDeletion) {
    declare_for_reader("base");
    ASSERT_EQ(reader_.run_once().exit.code, kConverged);
    db.exec("ALTER TABLE base ENABLE ROW LEVEL SECURITY");
    expect_refused();
    db.exec(fmt::format("ALTER ROLE {} BYPASSRLS", role_));
    ASSERT_EQ(reader_.run_once().exit.code, kConverged);
    EXPECT_EQ(condition("docs", "SourceFiltered"), "False");
    EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings"), 100);
}

TEST_F(Policies, OfAViewItIsItsOwnerOrItsReaderWhoMustSeeEverything) {
    declare_for_reader("docs");
    ASSERT_EQ(reader_.run_once().exit.code, kConverged);
    db.exec("ALTER TABLE base ENABLE ROW LEVEL SECURITY");
    EXPECT_EQ(reader_.run_once().exit.code, kConverged) << "its owner sees everything";
    db.exec("ALTER VIEW docs SET (security_invoker = true)");
    expect_refused();
}

TEST_F(Policies, APolicyThatIsMeantToChooseChooses) {
    declare_for_reader("base", ", row_security", ", 'Accept'");
    ASSERT_EQ(reader_.run_once().exit.code, kConverged);
    EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings"), 100);
    db.exec("ALTER TABLE base ENABLE ROW LEVEL SECURITY");
    reader_.run_once();
    EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings"), 95);
    EXPECT_EQ(condition("docs", "SourceFiltered"), "True");
    db.exec("ALTER POLICY chosen ON base USING (id > 50)");
    reader_.run_once();
    EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings"), 50);
    EXPECT_EQ(condition("docs", "Synced"), "True");
    // The text of what it shows is read as it is compared.
    db.exec("UPDATE base SET body = 'Edited' WHERE id IN (7, 77)");
    reader_.run_once();
    EXPECT_EQ(number("SELECT count(*) FROM serve.docs_embeddings WHERE chunk_text = 'Edited'"), 1);
}

}  // namespace
}  // namespace homeostat
