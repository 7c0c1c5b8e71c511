// What changes what a row says and leaves its version as it was: columns that changed places, a type whose values are called
// otherwise, another table under the same name. And keys that are NULL, partitions that bring their rows, rows that are
// elsewhere.
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

struct Unversioned {
    std::string name;
    std::string columns;  // of the table, beside its key; its content is the column `body`
    std::string rows;     // a SELECT of them
    std::string ddl;
    std::string says = "body::text";  // what a row says afterwards
    std::string before = "";          // what is made first
};
std::ostream& operator<<(std::ostream& out, const Unversioned& c) { return out << c.name; }

class UnversionedChange : public FeedWhole, public ::testing::WithParamInterface<Unversioned> {};

TEST_P(UnversionedChange, IsFollowed) {
    const Unversioned& c = GetParam();
    db.exec(c.before);
    db.exec(fmt::format("CREATE TABLE docs (id int PRIMARY KEY, {}); INSERT INTO docs SELECT i, {} FROM generate_series(1, 20) i",
                        c.columns, c.rows));
    declare_docs(", key", ", 'id'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::string wanted = fmt::format("SELECT id, {} AS body FROM docs", c.says);
    ASSERT_TRUE(follows(wanted)) << run.output();
    db.exec(c.ddl);
    EXPECT_TRUE(follows(wanted)) << run.output();
    // Once, and not at every look from then on.
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0"));
    const std::int64_t paid = embedded();
    reconcile();
    EXPECT_EQ(embedded(), paid);
    end(run);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, UnversionedChange,
    ::testing::Values(
        Unversioned{"AValueOfAnEnumRenamed", "body mood", "'sad'", "ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'", "body::text",
                    "CREATE TYPE mood AS ENUM ('sad', 'glad')"},
        Unversioned{"AValueOfAnEnumInADomain", "body feeling", "'sad'", "ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'",
                    "body::text", "CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN feeling AS mood"},
        Unversioned{"AnEnumInAnArray", "body mood[]", "'{sad}'", "ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'", "body::text",
                    "CREATE TYPE mood AS ENUM ('sad')"},
        Unversioned{"AColumnOfARowWithinTheRow", "body pair", "ROW('a', 'b')::pair", "ALTER TYPE pair DROP ATTRIBUTE x",
                    "body::text", "CREATE TYPE pair AS (x text, y text)"},
        Unversioned{
            "ColumnsThatChangedNames", "body text, other text", "'one ' || i, 'two ' || i",
            "BEGIN; ALTER TABLE docs RENAME body TO x; ALTER TABLE docs RENAME other TO body; ALTER TABLE docs RENAME x TO "
            "other; COMMIT"},
        Unversioned{"AColumnMadeAnewWithADefault", "body text", "'one ' || i",
                    "BEGIN; ALTER TABLE docs DROP body; ALTER TABLE docs ADD body text DEFAULT 'two'; COMMIT"},
        Unversioned{
            "KeysThatChangedNames", "body text, k int NOT NULL UNIQUE", "'one ' || i, 100 - i",
            "BEGIN; ALTER TABLE docs RENAME id TO x; ALTER TABLE docs RENAME k TO id; ALTER TABLE docs RENAME x TO k; COMMIT"},
        Unversioned{"AnotherTableOfThatName", "body text", "'one ' || i",
                    "BEGIN; ALTER TABLE docs RENAME TO old_docs; CREATE TABLE docs (id int PRIMARY KEY, body text);"
                    "INSERT INTO docs SELECT i, 'two ' || i FROM generate_series(1, 20) i; COMMIT"}),
    [](const auto& c) { return c.param.name; });

class Odd : public FeedWhole {};

// Both tables were filled by one transaction: their rows have the same versions.
TEST_F(Odd, ATableThatIsSwappedForOneOfTheSameTransactionIsFollowed) {
    db.exec(
        "BEGIN; CREATE TABLE docs (id int PRIMARY KEY, body text); CREATE TABLE next (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, 'one ' || i FROM generate_series(1, 20) i;"
        "INSERT INTO next SELECT i, 'two ' || i FROM generate_series(1, 20) i; COMMIT");
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("BEGIN; ALTER TABLE docs RENAME TO gone; ALTER TABLE next RENAME TO docs; COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// A revision that is only kept is compared by nobody: when it is served again its versions prove nothing.
TEST_F(Odd, ARevisionThatIsGoneBackToIsComparedByItsContents) {
    db.exec(
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE docs (id int PRIMARY KEY, body mood);"
        "INSERT INTO docs SELECT i, 'sad' FROM generate_series(1, 20) i");
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("UPDATE homeostat.pipeline SET dimensions = 32");
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(revision), 0) FROM homeostat.revision WHERE state = 'served'", "2"));
    db.exec("ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'");
    const std::string wanted = "SELECT id, body::text AS body FROM docs";
    ASSERT_TRUE(follows(wanted)) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0"));
    ASSERT_EQ(homeostat.run({"revisions", "docs", "activate", "1"}).exit.code, 0);
    EXPECT_TRUE(follows(wanted)) << run.output();
    end(run);
}

// What concerns no document is not looked at deeply for.
TEST_F(Odd, AColumnThatNobodyReadsChangesNothing) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::string deep = "SELECT last_deep_sweep_at FROM homeostat.pipeline_status";
    const std::string before = db.value(deep);
    const std::int64_t sweeps_before = sweeps();
    db.exec("ALTER TABLE docs ADD more text DEFAULT 'x'");
    ASSERT_TRUE(kit::eventually([&] { return sweeps() > sweeps_before; }, std::chrono::seconds(30))) << run.output();
    EXPECT_EQ(db.value(deep), before);
    end(run);
}

// Whoever alters a domain of his is not stopped by a column of ours.
TEST_F(Odd, ADomainOfTheUsersMayBeAltered) {
    db.exec(
        "CREATE DOMAIN label AS text; CREATE DOMAIN number AS int;"
        "CREATE TABLE docs (id number PRIMARY KEY, body text, d label);"
        "INSERT INTO docs SELECT i, 'Body of ' || i, 'x' FROM generate_series(1, 20) i");
    declare_docs(", metadata", ", 'd'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 5");
    EXPECT_TRUE(follows()) << run.output();
    db.exec(
        "ALTER DOMAIN label ADD CONSTRAINT c CHECK (value <> 'bad'); ALTER DOMAIN number ADD CHECK (value > 0);"
        "ALTER DOMAIN label SET NOT NULL; ALTER DOMAIN label DROP NOT NULL");
    db.exec("UPDATE docs SET d = 'z', body = 'Again ' || id WHERE id < 5");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE d = 'z'", "4"));
    end(run);
}

struct RowTyped {
    std::string name;
    std::string type;   // of the view's column
    std::string value;    // an expression of users u
    bool ours_alone;      // the view itself stands in the way of no one
};
std::ostream& operator<<(std::ostream& out, const RowTyped& c) { return out << c.name; }

class RowTypedMetadata : public FeedWhole, public ::testing::WithParamInterface<RowTyped> {};

// A view shows rows of a table as values: a column of ours that held them would stand in the way of whoever alters that table.
TEST_P(RowTypedMetadata, IsRefusedAndLeavesTheTableToItsOwner) {
    const RowTyped& c = GetParam();
    db.exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, age smallint); CREATE TYPE pair AS (x text, y users);"
        "CREATE TABLE posts (id int PRIMARY KEY, body text);"
        "INSERT INTO users VALUES (1, 'ann', 7); INSERT INTO posts SELECT i, 'Body of ' || i FROM generate_series(1, 20) i");
    db.exec(fmt::format("CREATE VIEW docs AS SELECT p.id, p.body, ({})::{} AS author FROM posts p JOIN users u ON true", c.value,
                        c.type));
    declare_docs(", key, metadata", ", 'id', 'author'");
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT reason FROM homeostat.condition WHERE type = 'Ready'"), "SpecInvalid");
    EXPECT_NE(db.value("SELECT message FROM homeostat.condition WHERE type = 'Ready'").find("metadata column \"author\""),
              std::string::npos);
    if (c.ours_alone) {
        EXPECT_NO_THROW(db.exec("ALTER TABLE users ADD x int DEFAULT 5"));
    }
    db.exec("DROP VIEW docs; CREATE VIEW docs AS SELECT p.id, p.body, to_jsonb(u) AS author FROM posts p JOIN users u ON true");
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE author->>'name' = 'ann'"), "20");
    EXPECT_NO_THROW(db.exec("ALTER TABLE users ADD y int DEFAULT 5"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, RowTypedMetadata,
                         ::testing::Values(RowTyped{"ARow", "users", "u", true},
                                           RowTyped{"AnArrayOfRows", "users[]", "ARRAY[u]", true},
                                           RowTyped{"ARowInARow", "pair", "ROW('x', u)", false},
                                           RowTyped{"AnArrayOfRowsInRows", "pair[]", "ARRAY[ROW('x', u)::pair]", false}),
                         [](const auto& c) { return c.param.name; });

// No pipeline can be declared so, but by two transactions of which neither sees the other.
TEST_F(Odd, PipelinesThatWaitForEachOtherAreTold) {
    make(20);
    declare("a", "docs", "content", "'body'");
    declare("b", "docs", "content", "'body'");
    declare("c", "docs", "content, depends_on", "'body', 'a'");
    kit::Sql other(db.url());
    other.exec("BEGIN; UPDATE homeostat.pipeline SET depends_on = 'b' WHERE name = 'a'");
    db.exec("UPDATE homeostat.pipeline SET depends_on = 'a' WHERE name = 'b'");
    other.exec("COMMIT");
    homeostat.run({"run", "--once"});
    const auto told = [&](const std::string& pipeline) {
        return db.value(
            "SELECT c.reason || ': ' || c.message FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid)"
            " WHERE p.name = '" +
            pipeline + "' AND c.type = 'Ready'");
    };
    EXPECT_NE(told("a").find("SpecInvalid: pipeline \"a\": by depends_on \"a\", \"b\" wait for each other"), std::string::npos)
        << told("a");
    EXPECT_NE(told("b").find("SpecInvalid: pipeline \"b\": by depends_on \"b\", \"a\" wait for each other"), std::string::npos)
        << told("b");
    EXPECT_EQ(told("c"), "DependencyNotReady: waits for pipeline \"a\" to be ready");
    db.exec("UPDATE homeostat.pipeline SET depends_on = NULL WHERE name = 'a'");
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.condition WHERE type = 'Ready' AND reason = 'Converged'"), "3");
}

// Nothing that this run does makes it ready.
TEST_F(Odd, ARunThatIsToEndDoesNotWaitForASuspendedPipeline) {
    make(20);
    declare("a", "docs", "content, suspend", "'body', true");
    declare("b", "docs", "content, depends_on", "'body', 'a'");
    declare("c", "docs", "content, depends_on", "'body', 'b'");
    declare("d", "docs", "content", "'body'");
    EXPECT_EQ(homeostat.run({"run", "--once"}).exit.code, 1);
    EXPECT_EQ(db.value("SELECT string_agg(p.name || ' ' || c.reason, ', ' ORDER BY p.name) FROM homeostat.condition c"
                       " JOIN homeostat.pipeline p USING (uid) WHERE c.type = 'Ready'"),
              "a Suspended, b DependencyNotReady, c DependencyNotReady, d Converged");
    db.exec("UPDATE homeostat.pipeline SET suspend = false WHERE name = 'a'");
    EXPECT_EQ(homeostat.run({"run", "--once"}).exit.code, 0);
}

// What is searched is not what was served, whatever is called so now.
TEST_F(Odd, AnotherRelationInThePlaceOfTheServedViewIsTold) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::string unready =
        "SELECT count(*) FROM homeostat.condition WHERE type = 'Ready' AND status <> 'True' AND message LIKE '%replaced by "
        "something%'";
    for (const char* other :
         {"TABLE docs_embeddings AS SELECT 'precious' AS body", "VIEW docs_embeddings AS SELECT 'precious' AS body"}) {
        const std::string kind = std::string(other).substr(0, 5);
        db.exec("DROP VIEW docs_embeddings; CREATE " + std::string(other));
        EXPECT_TRUE(eventually_is(unready, "1")) << other << run.output();
        EXPECT_EQ(db.value("SELECT body FROM docs_embeddings"), "precious");
        db.exec("DROP " + kind + " docs_embeddings");
        ASSERT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
        EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Ready' AND status = 'True'", "1"));
        EXPECT_TRUE(follows()) << run.output();
    }
    end(run);
}

// What an event trigger of the user's raises is no fault of the declaration.
TEST_F(Odd, ARefusalByAnEventTriggerIsCalledSo) {
    make(20);
    db.exec(
        "CREATE FUNCTION frozen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'DDL is frozen'; END $$;"
        "CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION frozen()");
    declare_docs();
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT reason || ': ' || message FROM homeostat.condition WHERE type = 'Ready'"),
              "DatabaseRefused: DDL is frozen");
    EXPECT_NE(homeostat.run({"describe", "docs"}).output.find("event trigger"), std::string::npos);
    db.exec("DROP EVENT TRIGGER frozen");
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT reason FROM homeostat.condition WHERE type = 'Ready'"), "Converged");
}

struct NullKey {
    std::string name;
    std::string type;
};
std::ostream& operator<<(std::ostream& out, const NullKey& c) { return out << c.name; }

class NullKeys : public FeedWhole, public ::testing::WithParamInterface<NullKey> {};

// A row of a key that is NULL is no document; one that had a key has none any more.
TEST_P(NullKeys, StopNoFeedAndLeaveNoDocument) {
    db.exec(
        fmt::format("CREATE TABLE docs (id {}, body text); CREATE UNIQUE INDEX ON docs (id);"
                    "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 20) i",
                    GetParam().type));
    declare_docs(", key", ", 'id'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::string wanted = "SELECT id, body FROM docs WHERE id IS NOT NULL";
    db.exec("INSERT INTO docs VALUES (NULL, 'nobody')");
    db.exec("UPDATE docs SET id = NULL WHERE id = '3'");
    db.exec("UPDATE docs SET body = 'still nobody' WHERE id IS NULL");
    db.exec("BEGIN; UPDATE docs SET id = NULL WHERE id = '4'; UPDATE docs SET id = NULL WHERE id = '5'; COMMIT");
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id > '6'");
    EXPECT_TRUE(follows(wanted)) << run.output();
    db.exec("UPDATE docs SET id = '30' WHERE body = 'nobody' OR ctid = (SELECT min(ctid) FROM docs WHERE id IS NULL)");
    db.exec("DELETE FROM docs WHERE id IS NULL");
    EXPECT_TRUE(follows(wanted)) << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat_data.p1_change", "0"));
    EXPECT_EQ(sweeps(), 1) << "found by the feed, and not by a sweep";
    EXPECT_EQ(db.value("SELECT source_documents FROM homeostat.pipeline_status"), db.value("SELECT count(id) FROM docs"));
    end(run);
}

INSTANTIATE_TEST_SUITE_P(Types, NullKeys, ::testing::Values(NullKey{"Int", "int"}, NullKey{"Text", "text"}),
                         [](const auto& c) { return c.param.name; });

// A limit on copies makes a statement with transition tables fail: where there is one, rows are named one by one.
TEST_F(Odd, AStatementOfManyRowsMayBeLargerThanTheCopiesThatAreAllowed) {
    make(20);
    declare_docs(", chunker", ", 'whole'");
    db.exec(fmt::format("ALTER DATABASE {} SET temp_file_limit = '16MB'", db.name()));
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    kit::Sql writer(db.url());
    ASSERT_EQ(writer.value("SHOW temp_file_limit"), "16MB");
    writer.exec("SET work_mem = '64kB'");
    writer.exec("INSERT INTO docs SELECT i, repeat(md5(i::text), 250) FROM generate_series(100, 3100) i");
    writer.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 10");
    EXPECT_TRUE(follows()) << run.output();
    writer.exec("DELETE FROM docs WHERE id >= 100");
    EXPECT_TRUE(follows()) << run.output();
    writer.exec(
        "BEGIN; INSERT INTO docs VALUES (50, 'a'); INSERT INTO docs VALUES (51, 'b'), (52, 'c'); DELETE FROM docs WHERE id = 51; "
        "COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Set at noon, it must not wait for the next pass, which is hours away.
TEST_F(Odd, ALimitOnCopiesThatIsSetLaterIsSeenAtOnce) {
    make(20);
    declare_docs(", chunker", ", 'whole'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    constexpr const char* kByStatement =
        "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'homeostat%' AND (tgnewtable IS NOT NULL OR tgoldtable IS NOT NULL)";
    ASSERT_NE(db.value(kByStatement), "0");
    db.exec(fmt::format("ALTER DATABASE {} SET temp_file_limit = '16MB'", db.name()));
    EXPECT_TRUE(eventually_is(kByStatement, "0")) << run.output();
    db.exec(fmt::format("ALTER DATABASE {} RESET temp_file_limit", db.name()));
    EXPECT_TRUE(kit::eventually([&] { return db.value(kByStatement) != "0"; })) << run.output();
    EXPECT_TRUE(feed_is("Active"));
    end(run);
}

// A statement that reaches a row on another server fails where triggers have transition tables.
TEST_F(Odd, APartitionOnAnotherServerTakesOurTriggersAway) {
    db.exec(fmt::format(
        "CREATE TABLE docs (id int NOT NULL, k int NOT NULL, body text) PARTITION BY LIST (k);"
        "CREATE TABLE near PARTITION OF docs FOR VALUES IN (1);"
        "INSERT INTO docs SELECT i, 1, 'Body of ' || i FROM generate_series(1, 20) i;"
        "CREATE EXTENSION postgres_fdw; CREATE SERVER lo FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', dbname '{}');"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER lo OPTIONS (password_required 'false');"
        "CREATE TABLE remote (id int, k int, body text);"
        "CREATE FOREIGN TABLE far (id int NOT NULL, k int NOT NULL, body text) SERVER lo OPTIONS (table_name 'remote')",
        db.value("SHOW unix_socket_directories"), db.name()));
    declare("docs", "docs", "content, key, drift_interval, sweep_interval", "'body', 'id, k', '1 day', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs ATTACH PARTITION far FOR VALUES IN (2)");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'homeostat%'", "0")) << run.output();
    EXPECT_TRUE(feed_is("ForeignTable")) << run.output();
    EXPECT_NO_THROW(db.exec("INSERT INTO docs VALUES (2, 2, 'two'); UPDATE docs SET body = 'Edited' WHERE id = 2"));
    db.exec("ALTER TABLE docs DETACH PARTITION far");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    end(run);
}

// A right on a table reaches no partition that is attached later.
TEST_F(Odd, APartitionThatBringsRowsAndNoRightToMakeTriggersIsSweptAtOnce) {
    db.exec(
        "CREATE TABLE docs (id int, k int, body text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
        "CREATE TABLE one PARTITION OF docs FOR VALUES IN (1);"
        "INSERT INTO docs SELECT i, 1, 'Body of ' || i FROM generate_series(1, 20) i;"
        "CREATE TABLE two (id int, k int, body text, PRIMARY KEY (id, k)); INSERT INTO two VALUES (21, 2, 'Two')");
    db.exec(
        fmt::format("CREATE ROLE c_{0} LOGIN IN ROLE homeostat_controller; GRANT SELECT, TRIGGER ON docs, one TO c_{0};"
                    "GRANT SELECT ON two TO c_{0}; GRANT USAGE, CREATE ON SCHEMA public TO c_{0}",
                    db.name()));
    declare("docs", "docs", "content, key, drift_interval, sweep_interval", "'body', 'id, k', '1 day', '30 days'");
    kit::Program controller{db.url("c_" + db.name())};
    kit::Process run = controller.start({"run"});
    EXPECT_TRUE(feed_is("Active")) << run.output();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs ATTACH PARTITION two FOR VALUES IN (2)");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE id = 21", "1")) << run.output();
    end(run);
}

}  // namespace
}  // namespace homeostat
