// Databases as they are found: extensions elsewhere, encodings without rules, poolers, types and tables that are replaced or
// dropped.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/feed_world.hpp"
#include "tests/kit/pooler.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kDocs = "SELECT id::text, body FROM docs";

// A database of the test's own making, on which nothing of ours is yet.
class Found : public ::testing::Test {
protected:
    void make(const std::string& options = "TEMPLATE template0") {
        static int made = 0;
        name = fmt::format("found_{}_{}", getpid(), ++made);
        kit::Sql(cluster.url()).exec(fmt::format("CREATE DATABASE {} {}", name, options));
        sql = std::make_unique<kit::Sql>(cluster.url(name));
        homeostat = std::make_unique<kit::Program>(cluster.url(name));
    }
    void TearDown() override {
        sql.reset();
        kit::Sql(cluster.url()).exec(fmt::format("DROP DATABASE IF EXISTS {} WITH (FORCE)", name));
    }
    std::string ends(int code, const kit::Arguments& arguments) {
        const kit::Program::Outcome outcome = homeostat->run(arguments);
        EXPECT_EQ(outcome.exit.code, code) << outcome.output;
        return outcome.output;
    }
    void declare(const std::string& columns = "", const std::string& values = "") {
        sql->exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, max_prune_ratio{})"
                        " VALUES ('docs', 'public.docs', 'body', 'hashing', 16, 'public.docs_embeddings', 1{})",
                        columns, values));
    }
    std::string stored() { return sql->value("SELECT count(*) FROM docs_embeddings WHERE embedding IS NOT NULL"); }

    kit::Cluster& cluster = kit::Cluster::shared();
    std::string name;
    std::unique_ptr<kit::Sql> sql;
    std::unique_ptr<kit::Program> homeostat;
};

// As hosted databases have it. Nobody's search path has that schema.
TEST_F(Found, TheExtensionMayBeInAnySchema) {
    make();
    sql->exec(
        "CREATE SCHEMA \"Exten sions\"; CREATE EXTENSION vector SCHEMA \"Exten sions\";"
        "CREATE TABLE docs (id int PRIMARY KEY, body text, tag text);"
        "INSERT INTO docs SELECT i, 'Body of ' || i, 'x' FROM generate_series(1, 1200) i");
    ends(0, {"migrate", "up"});
    declare(", metadata, vector_type", ", 'tag', 'halfvec'");
    ends(0, {"run", "--once"});
    EXPECT_EQ(stored(), "1200");
    EXPECT_EQ(
        sql->value("SELECT count(*) FROM pg_index i JOIN pg_am a ON a.amname = 'hnsw' JOIN pg_class c ON c.oid = i.indexrelid"
                   " AND c.relam = a.oid WHERE i.indisvalid"),
        "1");
    sql->exec(
        "UPDATE homeostat_data.p1_r1_chunk SET embedding = NULL WHERE number = 0 AND document_id % 10 = 0;"
        "UPDATE docs SET body = 'Edited ' || id WHERE id <= 50");
    ends(0, {"run", "--once", "--deep"});
    EXPECT_EQ(stored(), "1200");
    EXPECT_THAT(ends(0, {"search", "docs", "Edited 7", "-k", "1"}), HasSubstr("Edited 7"));
    EXPECT_THAT(ends(0, {"doctor"}), HasSubstr("vector 0."));
    ends(0, {"migrate", "down", "--to", "0", "--yes"});
    ends(0, {"migrate", "up"});
}

TEST_F(Found, TheExtensionIsMadeWherePeopleLookForIt) {
    make();
    ends(0, {"migrate", "up"});
    EXPECT_EQ(sql->value("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'"), "public");
}

TEST_F(Found, WithoutASchemaPublicItGetsOneOfItsOwn) {
    make();
    sql->exec("DROP SCHEMA public");
    ends(0, {"migrate", "up"});
    EXPECT_EQ(sql->value("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'"), "extensions");
}

// A lock that anybody may take is no reason to wait for ever; one of somebody who may migrate is, as earlier programs know no
// other.
TEST_F(Found, WhoMayNotMigrateHoldsUpNoMigration) {
    make();
    const std::string stranger = "found_stranger_" + std::to_string(getpid());
    const std::string owner = "found_owner_" + std::to_string(getpid());
    sql->exec(fmt::format("CREATE EXTENSION vector; CREATE ROLE {} LOGIN; CREATE ROLE {} LOGIN", stranger, owner));
    sql->exec(fmt::format("GRANT CREATE ON DATABASE {} TO {}", name, owner));
    const std::string held = "SELECT pg_advisory_lock(448546039151)";
    {
        kit::Sql holds(cluster.url(name, stranger));
        holds.exec(held);
        EXPECT_THAT(ends(0, {"migrate", "up"}), HasSubstr("migrations applied"));
        // The lock that counts is not to be had by him.
        EXPECT_THROW(holds.exec("LOCK TABLE homeostat.migration IN SHARE UPDATE EXCLUSIVE MODE"), std::runtime_error);
    }
    // Nothing to do is nothing to wait for.
    kit::Sql migrates(cluster.url(name));
    migrates.exec("BEGIN; LOCK TABLE homeostat.migration IN SHARE UPDATE EXCLUSIVE MODE");
    EXPECT_THAT(ends(0, {"migrate", "up"}), HasSubstr("0 migrations applied"));
    // One that migrates is waited for.
    kit::Process waits = homeostat->start({"migrate", "down", "--to", "28", "--yes"});
    EXPECT_TRUE(kit::eventually([&] {
        return sql->value("SELECT count(*) FROM pg_locks WHERE relation = 'homeostat.migration'::regclass AND NOT granted") ==
               "1";
    }));
    migrates.exec("COMMIT");
    const auto ended = waits.wait(std::chrono::seconds(60));
    ASSERT_TRUE(ended);
    EXPECT_EQ(ended->code, 0) << waits.output();
    // A program of an earlier version, by the lock that it takes.
    kit::Sql earlier(cluster.url(name));
    earlier.exec(held);
    kit::Process behind = homeostat->start({"migrate", "up"});
    EXPECT_TRUE(kit::eventually(
        [&] { return sql->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1"; }));
    earlier.exec("SELECT pg_advisory_unlock_all()");
    const auto done = behind.wait(std::chrono::seconds(60));
    ASSERT_TRUE(done);
    EXPECT_EQ(done->code, 0) << behind.output();
    sql->exec(fmt::format("DROP OWNED BY {0}, {1} CASCADE; DROP ROLE {0}, {1}", stranger, owner));
}

// Whoever may create in public can put a function there that fits our arguments better than the server's. Each of these says so
// when it is called.
TEST_F(Found, NothingInSomebodysSchemaIsCalledByAMigration) {
    make();
    sql->exec("CREATE EXTENSION vector; CREATE TABLE docs (id int PRIMARY KEY, body text)");
    const std::vector<std::string> functions{"to_regclass(text)",
                                             "format(text, text)",
                                             "format(text, text, text)",
                                             "quote_ident(name)",
                                             "to_regprocedure(text)",
                                             "format(text, name)",
                                             "format(text, name, name)",
                                             "format(text, bigint, int)",
                                             "count(int)",
                                             "pg_get_functiondef(regprocedure)",
                                             "replace(text, text, text)",
                                             "now()",
                                             "to_char(date, text)",
                                             "date_trunc(text, date)",
                                             "right(name, int)",
                                             "obj_description(oid, text)",
                                             "position(text, text)"};
    for (const std::string& f : functions)
        sql->exec(
            fmt::format("CREATE FUNCTION public.{} RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called: {}';"
                        " END $$",
                        f, f));
    const std::vector<std::pair<std::string, std::string>> operators{{"text", "name"},  {"name", "text"},    {"date", "int"},
                                                                     {"float8", "int"}, {"name", "unknown"}, {"\"char\"", "text"},
                                                                     {"bigint", "int"}, {"int", "bigint"}};
    int n = 0;
    for (const auto& [left, right] : operators) {
        if (right == "unknown") continue;
        ++n;
        sql->exec(
            fmt::format("CREATE FUNCTION public.op_{0}(a {1}, b {2}) RETURNS boolean LANGUAGE plpgsql AS $$"
                        " BEGIN RAISE EXCEPTION 'called: operator {0}'; END $$",
                        n, left, right));
        for (const char* op : {"=", "<>", ">", "<", "~", "||", "+", "-"}) {
            // Some may not be made over a type of the server's, which is as well.
            sql->exec(fmt::format("CREATE OPERATOR public.{} (FUNCTION = public.op_{}, LEFTARG = {}, RIGHTARG = {})", op, n, left,
                                  right));
        }
    }
    ends(0, {"migrate", "up"});
    // What a migration left behind calls none of them either.
    EXPECT_EQ(sql->value("SELECT homeostat.vector_ok('[1,2]'::vector, 2) AND NOT homeostat.vector_ok('[0,0]'::halfvec, 2)"), "t");
    EXPECT_EQ(
        sql->value("SELECT count(*) FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid AND d.refclassid = 'pg_proc'::regclass"
                   " WHERE p.prosrc LIKE '%called: %' AND d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass)"),
        "0");
    // Nor do the checks of what is declared, though names are looked up along the declarer's path.
    sql->exec(
        "INSERT INTO docs VALUES (1, 'One'); INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
        " VALUES ('docs', 'docs', 'body', 'hashing', 16, 'docs_embeddings')");
    EXPECT_EQ(sql->value("SELECT source || ' ' || target FROM homeostat.pipeline"), "public.docs public.docs_embeddings");
    ends(0, {"run", "--once"});
    // What somebody's view holds up is taken back whole, or not at all.
    sql->exec("CREATE VIEW theirs AS SELECT * FROM docs_embeddings");
    EXPECT_THAT(ends(2, {"migrate", "down", "--to", "0", "--yes"}), HasSubstr("nothing was taken back"));
    ends(0, {"run", "--once"});
    EXPECT_EQ(stored(), "1");
    sql->exec("DROP VIEW theirs");
    ends(0, {"migrate", "down", "--to", "0", "--yes"});
    ends(0, {"migrate", "up"});
}

class Databases : public FeedWhole {};

// PostgreSQL says of a row all of whose fields are NULL that it IS NULL, though it is there.
TEST_F(Databases, AKeyOfARowTypeIsCountedWhateverItsFieldsAre) {
    db.exec(
        "CREATE TYPE pair AS (a int, b text); CREATE TABLE docs (id pair UNIQUE, body text);"
        "INSERT INTO docs VALUES (ROW(NULL, NULL)::pair, 'Neither'), (ROW(1, NULL)::pair, 'One'),"
        " (ROW(NULL, 'x')::pair, 'Other'), (ROW(2, 'y')::pair, 'Both'), (NULL, 'None')");
    declare("docs", "docs", "key, content, max_prune_ratio", "'id', 'body', 1");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT source_documents || ' ' || documents FROM homeostat.pipeline_status"), "4 4");
    EXPECT_THAT(condition("docs", "RowsWithoutKey", "message"), HasSubstr("1 row of"));
    db.exec("DELETE FROM docs WHERE id IS NOT DISTINCT FROM NULL");
    run_once(kConverged);
    const std::string wanted = "SELECT id::text AS key, body AS content FROM docs";
    expect_converged("docs", wanted);
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id IS NOT DISTINCT FROM ROW(NULL, NULL)::pair;"
        "DELETE FROM docs WHERE id = ROW(1, NULL)::pair");
    run_deep(kConverged);
    expect_converged("docs", wanted);
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id::text = '(,)'"), "Edited");
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Again' WHERE id IS NOT DISTINCT FROM ROW(NULL, NULL)::pair");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id::text = '(,)'", "Again")) << run.output();
    db.exec("DELETE FROM docs WHERE id::text = '(,)'");
    end_converged(run, "docs", wanted);
}

// What every framework does to add to an enumeration, or to take from it.
TEST_F(Databases, AnEnumerationThatWasReplacedCanBeDropped) {
    db.exec(
        "CREATE TYPE state AS ENUM ('draft', 'live'); CREATE TABLE docs (id int PRIMARY KEY, body text, state state);"
        "INSERT INTO docs SELECT i, 'Body of ' || i, 'draft' FROM generate_series(1, 40) i");
    declare("docs", "docs", "content, metadata, max_prune_ratio", "'body', 'state', 1");
    run_once(kConverged);
    // The journal has rows of the old type.
    db.exec("UPDATE docs SET state = 'live' WHERE id < 10; UPDATE docs SET body = 'Edited' WHERE id = 20");
    run_once(kConverged);
    db.exec(
        "ALTER TYPE state RENAME TO state_old; CREATE TYPE state AS ENUM ('draft', 'live', 'gone');"
        "ALTER TABLE docs ALTER state TYPE state USING state::text::state");
    const std::int64_t before = embedded();
    run_once(kConverged);
    db.exec("DROP TYPE state_old; UPDATE docs SET state = 'gone' WHERE id = 5; DELETE FROM docs WHERE id = 6");
    run_deep(kConverged);
    EXPECT_EQ(embedded(), before) << "no text has changed";
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings e JOIN docs d USING (id) WHERE e.state = d.state"), "39");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_r1_journal WHERE to_jsonb(document) IS NULL"),
              db.value("SELECT count(*) FROM homeostat_data.p1_r1_journal WHERE document IS NULL"))
        << "the journal can be read";
    // Once more, and what is declared no more holds on to nothing.
    db.exec("UPDATE homeostat.pipeline SET metadata = NULL");
    run_once(kConverged);
    db.exec(
        "ALTER TABLE docs DROP state; DROP TYPE state; ALTER TABLE docs ADD tag text DEFAULT 'x';"
        "UPDATE homeostat.pipeline SET metadata = 'tag'");
    run_deep(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE tag = 'x'"), "39");
}

// With CASCADE it may be dropped before anybody has looked: the column of ours goes along, and is made anew.
TEST_F(Databases, AnEnumerationDroppedWithAllThatRestsOnItIsHealed) {
    db.exec(
        "CREATE TYPE state AS ENUM ('draft'); CREATE TABLE docs (id int PRIMARY KEY, body text, state state);"
        "INSERT INTO docs SELECT i, 'Body of ' || i, 'draft' FROM generate_series(1, 20) i");
    declare("docs", "docs", "content, metadata", "'body', 'state'");
    run_once(kConverged);
    const std::int64_t before = embedded();
    db.exec("ALTER TABLE docs ALTER state TYPE text USING state::text; DROP TYPE state CASCADE");
    run_deep(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE state = 'draft'"), "20");
    EXPECT_EQ(embedded(), before);
}

TEST_F(Databases, WhatNobodyElseSeesAndWhatIsNoTextIsRefused) {
    db.exec(
        "CREATE TEMPORARY TABLE mine (id int PRIMARY KEY, body text); CREATE TEMPORARY VIEW seen AS SELECT * FROM mine;"
        "CREATE DOMAIN blob AS bytea; CREATE DOMAIN small_blob AS blob CHECK (length(VALUE) < 10);"
        "CREATE TABLE docs (id int PRIMARY KEY, body small_blob, title text)");
    const auto refused = [&](const std::string& source, const std::string& columns, const std::string& values) {
        try {
            declare("docs", source, columns, values);
        } catch (const std::exception& e) {
            return std::string(e.what());
        }
        return std::string("accepted");
    };
    EXPECT_THAT(refused("mine", "content", "'body'"), HasSubstr("mine is temporary, so no session but yours sees it"));
    EXPECT_THAT(refused("seen", "key, content", "'id', 'body'"), HasSubstr("seen is temporary"));
    EXPECT_THAT(refused("docs", "content", "'title, body'"),
                HasSubstr("content column \"body\" is public.small_blob, a domain over bytea, which is no text"));
    EXPECT_THAT(refused("docs", "template", "'{title} {body}'"), HasSubstr("a domain over bytea"));
    EXPECT_EQ(refused("docs", "content, metadata", "'title', 'body'"), "accepted");
    EXPECT_THROW(db.exec("UPDATE homeostat.pipeline SET content = 'body', metadata = NULL"), std::exception);
    db.exec("INSERT INTO docs VALUES (1, 'abc', 'Title')");
    run_once(kConverged);
}

// Whatever went is made anew, and it is said whose it was.
TEST_F(Databases, TheExtensionDroppedWithAllThatRestsOnItIsRebuilt) {
    make(30);
    declare_docs();
    run_once(kConverged);
    db.exec("DROP EXTENSION vector CASCADE");
    EXPECT_THAT(run_once(kFailed).output, HasSubstr("CREATE EXTENSION vector"));
    db.exec("CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions");
    run_deep(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE embedding IS NOT NULL"), "30");
    const std::string told = db.value("SELECT message FROM homeostat.event WHERE reason = 'TablesGone'");
    EXPECT_THAT(told, HasSubstr("\"docs\""));
    EXPECT_THAT(told, HasSubstr("homeostat_data.p1_r1_chunk"));
    EXPECT_THAT(told, Not(HasSubstr("p1_r1_document")));
    EXPECT_EQ(homeostat.run({"search", "docs", "Body of 7", "-k", "1"}).exit.code, 0);
}

TEST_F(Databases, AnyTableOfOursThatIsDroppedIsRebuiltWhileWeRun) {
    make(30);
    declare_docs();
    kit::Process run = start();
    for (const char* table : {"p1_r1_chunk", "p1_r2_document"}) {
        const std::string gone = db.value("SELECT count(*) FROM homeostat.event WHERE reason = 'TablesGone'");
        db.exec(fmt::format("DROP TABLE homeostat_data.{} CASCADE", table));
        EXPECT_TRUE(eventually_is("SELECT count(*) > " + gone + " FROM homeostat.event WHERE reason = 'TablesGone'", "t"))
            << run.output();
        EXPECT_EQ(db.value(fmt::format("SELECT count(*) > 0 FROM homeostat.event WHERE reason = 'TablesGone' AND message LIKE"
                                       " '%\"docs\"%{}%'",
                                       table)),
                  "t");
        EXPECT_TRUE(kit::eventually([&] {
            return db.value("SELECT to_regclass('docs_embeddings') IS NOT NULL") == "t" &&
                   db.value("SELECT count(*) FROM docs_embeddings") == "30";
        })) << run.output();
    }
    db.exec("ALTER TABLE homeostat_data.p1_r3_journal DROP embedding; UPDATE docs SET body = 'Edited' WHERE id = 3");
    end_converged(run, "docs", "SELECT id::text AS key, body AS content FROM docs");
}

// In transaction mode a session of the server is ours for one transaction, and then somebody else's.
class BehindAPooler : public FeedWhole {
protected:
    void SetUp() override {
        if (!kit::Pooler::available()) GTEST_SKIP() << "PgBouncer is not in .deps: run scripts/bootstrap";
        // What our reading of values must not depend on.
        for (const char* setting : {"DateStyle = 'SQL, DMY'", "bytea_output = 'escape'", "TimeZone = 'Asia/Kolkata'",
                                    "extra_float_digits = -10", "IntervalStyle = 'sql_standard'", "jit = on",
                                    "default_transaction_isolation = 'serializable'", "search_path = 'pg_temp'"})
            kit::Sql(db.url()).exec(fmt::format("ALTER DATABASE {} SET {}", db.name(), setting));
        db.reconnect();
        db.exec("SET search_path = public; SET default_transaction_isolation = 'read committed'");
        pooler = std::make_unique<kit::Pooler>(db.cluster(), kSessions);
        pooled = std::make_unique<kit::Program>(pooler->url(db.name()));
    }

    // Of each of the server's sessions, what another client would find there.
    std::vector<std::string> left_behind() {
        std::vector<std::unique_ptr<kit::Sql>> others;
        std::vector<std::string> out;
        for (int i = 0; i < kSessions; ++i) {
            others.push_back(std::make_unique<kit::Sql>(pooler->url(db.name())));
            others.back()->exec("BEGIN");  // holds it
            for (const auto& row :
                 others.back()->query("SELECT name || ' = ' || setting FROM pg_catalog.pg_settings WHERE source = 'session'"
                                      " AND name NOT IN ('application_name', 'client_encoding', 'TimeZone', 'DateStyle', "
                                      "'standard_conforming_strings')"
                                      " UNION ALL SELECT 'prepared ' || name FROM pg_catalog.pg_prepared_statements"
                                      " UNION ALL SELECT 'listens to ' || c FROM pg_catalog.pg_listening_channels() c"
                                      " UNION ALL SELECT 'locks ' || l.locktype FROM pg_catalog.pg_locks l WHERE l.pid = "
                                      "pg_catalog.pg_backend_pid()"
                                      "  AND l.locktype = 'advisory'"
                                      " UNION ALL SELECT 'the time zone ' || pg_catalog.current_setting('TimeZone')"
                                      "  WHERE pg_catalog.current_setting('TimeZone') <> 'Asia/Kolkata'"))
                out.push_back(*row[0]);
        }
        return out;
    }

    static constexpr int kSessions = 4;
    std::unique_ptr<kit::Pooler> pooler;
    std::unique_ptr<kit::Program> pooled;
};

TEST_F(BehindAPooler, OursHoldInOursAndNothingLeaks) {
    db.exec(
        "CREATE TABLE docs (id timestamptz PRIMARY KEY, body text, length interval, weight float8);"
        "INSERT INTO docs SELECT timestamptz '2026-02-03 04:05:06+00' + i * interval '1 day', 'Body of ' || i,"
        " i * interval '1 hour', i / 3.0 FROM generate_series(1, 200) i");
    declare("docs", "docs", "template, metadata, max_prune_ratio", "'{body} at {id} for {length}, {weight}', 'weight', 1");
    run_once(kConverged);
    const std::int64_t before = embedded();
    auto outcome = pooled->run({"run", "--once", "--deep"});
    EXPECT_EQ(outcome.exit.code, kConverged) << outcome.output;
    EXPECT_EQ(embedded(), before) << "the same rows have the same text";
    db.exec("UPDATE docs SET body = 'Edited'");
    outcome = pooled->run({"run", "--once"});
    EXPECT_EQ(outcome.exit.code, kConverged) << outcome.output;
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE 'Edited at %'"), "200");
    run_deep(kConverged);
    EXPECT_THAT(left_behind(), ::testing::IsEmpty());
}

TEST_F(BehindAPooler, AProcessThatStaysLeaksNothingEither) {
    make(50);
    declare_docs();
    kit::Process run = pooled->start({"run"});
    EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history", "t")) << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 10; DELETE FROM docs WHERE id > 40");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_THAT(left_behind(), ::testing::IsEmpty());
    end(run);
    EXPECT_THAT(left_behind(), ::testing::IsEmpty());
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

// There any bytes are a text. One that is none in UTF-8 is told by its document's name, and no other waits for it.
TEST_F(Found, AnInvalidByteNamesItsDocumentAndStopsNoOther) {
    make("TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    sql->exec(
        "CREATE EXTENSION vector; CREATE TABLE docs (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 60) i;"
        "UPDATE docs SET body = E'caf\\xe9' WHERE id = 37; UPDATE docs SET body = E'caf\\xc3\\xa9' WHERE id = 38");
    ends(0, {"migrate", "up"});
    declare();
    homeostat->run({"run", "--once"});
    EXPECT_EQ(stored(), "59");
    EXPECT_EQ(sql->value("SELECT string_agg(key::text || ' ' || class, ',') FROM homeostat.dead_letter"), "{37} content");
    EXPECT_THAT(sql->value("SELECT message FROM homeostat.dead_letter"), HasSubstr("not UTF-8"));
    // It is not tried again while it stays as it is, and others that change are healed; so is one that was good.
    sql->exec("UPDATE docs SET body = 'Edited' WHERE id = 1; UPDATE docs SET body = E'na\\xefve' WHERE id = 2");
    homeostat->run({"run", "--once"});
    EXPECT_EQ(sql->value("SELECT chunk_text FROM docs_embeddings WHERE id = 1"), "Edited");
    EXPECT_EQ(sql->value("SELECT string_agg(key::text, ',' ORDER BY key) FROM homeostat.dead_letter"), "{2},{37}");
    sql->exec("UPDATE docs SET body = 'Mended ' || id WHERE id IN (2, 37)");
    ends(0, {"run", "--once", "--deep"});
    EXPECT_EQ(sql->value("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE 'Mended%'"), "2");
    EXPECT_EQ(sql->value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

// A dump of the whole database, restored into another server, whose rows have other versions: contents are compared, and nobody
// is asked for a vector. From then on it is a database like any other.
TEST(Restored, IntoAnotherServerItIsConvergedWithoutAskingAnybody) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    kit::Database was;
    was.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, format('Document %s says this. And that.', i) FROM generate_series(1, 200) i");
    was.exec(fmt::format(
        "INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions) VALUES ('fake', 'openai', '{}', 'm', 16)",
        endpoint.url()));
    was.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, target) VALUES ('docs', 'docs', 'body', 'fake', "
        "'docs_v')");
    const kit::Program there(was.url());
    {
        kit::Process run = there.start({"run"});
        ASSERT_TRUE(kit::eventually([&] {
            return kit::condition(was, "docs", "ChangeFeed") == "True" && kit::condition(was, "docs", "Ready") == "True";
        })) << run.output();
        was.exec("UPDATE docs SET body = body || ' More.' WHERE id <= 20");
        ASSERT_TRUE(kit::eventually([&] { return kit::broken_invariants(was, "docs", kDocs).empty(); })) << run.output();
        // It is running when the dump is made, and never stops well.
        run.signal(SIGKILL);
        run.wait(std::chrono::seconds(10));
    }
    const std::uint64_t paid = endpoint.texts();

    kit::Cluster other;
    kit::Database roles(kit::Schema::migrated, other);  // roles are the server's, and no dump of a database has them
    kit::Database is(kit::Schema::empty, other);
    EXPECT_THAT(kit::restore(was, is), IsEmpty());
    const kit::Program here(is.url());
    kit::Process run = here.start({"run"});
    ASSERT_TRUE(kit::eventually([&] {
        return kit::broken_invariants(is, "docs", kDocs).empty() &&
               is.value(
                   "SELECT count(*) FROM homeostat.run_history WHERE ended_at > (SELECT max(started_at) FROM "
                   "homeostat.replica)") != "0";
    })) << run.output();
    EXPECT_EQ(endpoint.texts(), paid);
    is.exec(
        "UPDATE docs SET body = 'Edited here' WHERE id = 7; DELETE FROM docs WHERE id = 8; INSERT INTO docs VALUES (999, 'New "
        "here')");
    EXPECT_TRUE(kit::eventually([&] { return kit::broken_invariants(is, "docs", kDocs).empty(); })) << run.output();
    EXPECT_EQ(endpoint.texts(), paid + 2);
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(std::chrono::seconds(40)).value_or(kit::Exit{}).code, 0) << run.output();
}

// A captured table alone: triggers come along, what they call does not. The restore says so and goes on, and writers feel
// nothing.
TEST(Restored, ACapturedTableAloneIsATableLikeAnyOther) {
    kit::Database was;
    was.exec("CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'One'), (2, 'Two')");
    was.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target) VALUES ('docs', 'docs', 'body', "
        "'hashing', 16,"
        " 'docs_v')");
    const kit::Program there(was.url());
    kit::Process run = there.start({"run"});
    ASSERT_TRUE(kit::eventually([&] { return kit::condition(was, "docs", "ChangeFeed") == "True"; })) << run.output();
    kit::Cluster other;
    kit::Database is(kit::Schema::empty, other);
    for (const std::string& error : kit::restore(was, is, "-t docs")) EXPECT_THAT(error, HasSubstr("homeostat_data"));
    is.exec(
        "INSERT INTO docs VALUES (3, 'Three'); UPDATE docs SET body = 'Other' WHERE id = 1; DELETE FROM docs WHERE id = 2; "
        "TRUNCATE docs");
    EXPECT_EQ(is.value("SELECT count(*) FROM pg_trigger"), "0");
    run.signal(SIGTERM);
    run.wait(std::chrono::seconds(40));
}

}  // namespace
}  // namespace homeostat
