// A guest in the user's database: whatever is done to a captured table, to what is ours or to rights, no statement of a writer
// fails, and what was not named is found.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

struct Migration {
    std::string name;
    std::string ddl;
    // Afterwards; of a table that has a body no more they are others.
    std::string insert = "INSERT INTO docs VALUES (1000, 'New', 'x')";
    std::string update = "UPDATE docs SET body = 'Edited ' || id WHERE id < 10";
};
std::ostream& operator<<(std::ostream& out, const Migration& m) { return out << m.name; }

class Guest : public FeedWhole, public ::testing::WithParamInterface<Migration> {
protected:
    void set_up() {
        make(40);
        declare_docs(", metadata", ", 'tag'");
        kit::Process run = start();
        ASSERT_TRUE(asleep());
        end(run);
    }
    // As one writer after the other would, alone and many in one transaction.
    void write(const Migration& m) {
        db.exec(m.insert);
        db.exec(m.update);
        db.exec("BEGIN; " + m.update + "; " + m.update + "; SAVEPOINT s; " + m.update +
                "; ROLLBACK TO s; DELETE FROM docs WHERE " + "ctid = (SELECT min(ctid) FROM docs); " + m.update + "; COMMIT");
        for (const char* level : {"REPEATABLE READ", "SERIALIZABLE"})
            db.exec(
                fmt::format("BEGIN ISOLATION LEVEL {}; {}; DELETE FROM docs WHERE ctid = (SELECT max(ctid) FROM docs); COMMIT",
                            level, m.update));
    }
};

// Nobody runs, and nobody need have heard of us.
TEST_P(Guest, NoStatementOfAWriterFails) {
    set_up();
    std::string ddl = GetParam().ddl;
    for (std::size_t at; (at = ddl.find("{0}")) != std::string::npos;) ddl.replace(at, 3, db.name());
    db.exec(ddl);
    write(GetParam());
    db.exec("TRUNCATE docs");
}

INSTANTIATE_TEST_SUITE_P(
    OfTheTable, Guest,
    ::testing::Values(
        Migration{"ContentRenamed", "ALTER TABLE docs RENAME body TO text", "INSERT INTO docs VALUES (1000, 'New')",
                  "UPDATE docs SET text = 'Edited ' || id WHERE id < 10"},
        Migration{"ContentDropped", "ALTER TABLE docs DROP body", "INSERT INTO docs VALUES (1000, 'x')",
                  "UPDATE docs SET seen = seen + 1 WHERE id < 10"},
        Migration{"ContentRetyped", "ALTER TABLE docs ALTER body TYPE bytea USING convert_to(body, 'UTF8')",
                  "INSERT INTO docs VALUES (1000, 'New')", "UPDATE docs SET body = body || '\\x00' WHERE id < 10"},
        Migration{"ContentJson", "ALTER TABLE docs ALTER body TYPE json USING to_json(body)",
                  "INSERT INTO docs VALUES (1000, '{}')", "UPDATE docs SET body = to_json(seen + id) WHERE id < 10"},
        Migration{"MetadataRenamed", "ALTER TABLE docs RENAME tag TO label"},
        Migration{"MetadataDropped", "ALTER TABLE docs DROP tag", "INSERT INTO docs VALUES (1000, 'New')"},
        Migration{"MetadataRetyped", "ALTER TABLE docs ALTER tag TYPE point USING '(1,2)'",
                  "INSERT INTO docs VALUES (1000, 'New')"},
        Migration{"KeyRenamed", "ALTER TABLE docs RENAME id TO key", "INSERT INTO docs VALUES (1000, 'New')",
                  "UPDATE docs SET body = 'Edited ' || key WHERE key < 10"},
        Migration{"KeyDropped", "ALTER TABLE docs DROP id", "INSERT INTO docs VALUES ('New', 'x')",
                  "UPDATE docs SET body = 'Edited ' || body"},
        Migration{"KeyWidened", "ALTER TABLE docs ALTER id TYPE bigint", "INSERT INTO docs VALUES (9000000000, 'New')"},
        Migration{"KeyNumeric", "ALTER TABLE docs ALTER id TYPE numeric", "INSERT INTO docs VALUES (1e30, 'New')"},
        Migration{"KeyText", "ALTER TABLE docs ALTER id TYPE text USING 'k' || id", "INSERT INTO docs VALUES ('new', 'New')",
                  "UPDATE docs SET body = 'Edited ' || id"},
        Migration{"KeyUuid", "ALTER TABLE docs ALTER id TYPE uuid USING gen_random_uuid()",
                  "INSERT INTO docs VALUES (gen_random_uuid(), 'New')", "UPDATE docs SET body = 'Edited ' || id"},
        Migration{"KeyOfRowsMoved", "SELECT 1", "INSERT INTO docs VALUES (1000, 'New')", "UPDATE docs SET id = id + 2000"},
        Migration{"KeyNull", "ALTER TABLE docs DROP CONSTRAINT docs_pkey, ALTER id DROP NOT NULL",
                  "INSERT INTO docs VALUES (NULL, 'New')"},
        Migration{
            "AColumnOfOurVariablesName",
            "ALTER TABLE docs ADD homeostat_room int, ADD homeostat_named int, ADD homeostat_keys int, ADD k int, ADD n int",
            "INSERT INTO docs VALUES (1000, 'New')",
            "UPDATE docs SET body = 'Edited ' || id, homeostat_room = 1, n = 2 WHERE id < 10"},
        Migration{
            "MadeAChild",
            "CREATE TABLE parent (id int NOT NULL, body text, tag text, seen int NOT NULL); ALTER TABLE docs INHERIT parent"},
        Migration{"Moved", "CREATE SCHEMA elsewhere; ALTER TABLE docs SET SCHEMA elsewhere; SET search_path = elsewhere"},
        Migration{"Unlogged", "ALTER TABLE docs SET UNLOGGED"}),
    [](const auto& c) { return c.param.name; });

INSTANTIATE_TEST_SUITE_P(
    OfOurs, Guest,
    ::testing::Values(
        Migration{"TheChangeTableDropped", "DROP TABLE homeostat_data.p1_change CASCADE"},
        Migration{"ASequenceDropped", "DROP SEQUENCE homeostat_data.p1_named"},
        Migration{"TheGateDropped", "DROP SEQUENCE homeostat_data.p1_full"},
        Migration{"TheRoomDropped", "DROP SEQUENCE homeostat_data.p1_room"},
        Migration{"TheBellDropped", "DROP TABLE homeostat.feed_bell"},
        Migration{"AColumnOfOursDropped", "ALTER TABLE homeostat_data.p1_change DROP key_1"},
        Migration{"AColumnOfOursRetyped", "ALTER TABLE homeostat_data.p1_change ALTER key_1 TYPE uuid USING gen_random_uuid()"},
        Migration{"AConstraintOnOurs", "ALTER TABLE homeostat_data.p1_change ADD CHECK (change = 'q')"},
        Migration{"AFunctionDropped", "DROP FUNCTION homeostat_data.p1_changed_insert CASCADE"},
        Migration{"OurSchemaDropped", "DROP SCHEMA homeostat CASCADE"},
        Migration{"OurDataDropped", "DROP SCHEMA homeostat_data CASCADE"},
        Migration{"OurSchemaRenamed", "ALTER SCHEMA homeostat_data RENAME TO not_ours"},
        Migration{
            "RightsTaken",
            "CREATE ROLE nobody_{0}; DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_proc p WHERE pronamespace "
            "="
            " 'homeostat_data'::regnamespace LOOP EXECUTE format('ALTER FUNCTION %s OWNER TO nobody_{0}', f); END LOOP; END $$"},
        Migration{
            "OneRightTaken",
            "CREATE ROLE reader_{0}; GRANT USAGE ON SCHEMA homeostat_data, homeostat TO reader_{0};"
            "GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA homeostat_data TO reader_{0};"
            "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_proc p WHERE pronamespace ="
            " 'homeostat_data'::regnamespace LOOP EXECUTE format('ALTER FUNCTION %s OWNER TO reader_{0}', f); END LOOP; END $$"}),
    [](const auto& c) { return c.param.name; });

class GuestSession : public Guest {};

// PDO, Doctrine and pydal ask for it after an INSERT.
TEST_F(GuestSession, LastvalIsTheWriters) {
    set_up();
    db.exec("CREATE SEQUENCE theirs START 7; ALTER TABLE docs ADD serial int DEFAULT nextval('theirs')");
    db.exec("INSERT INTO docs (id, body) VALUES (500, 'New')");
    const std::string mine = db.value("SELECT last_value FROM theirs");
    EXPECT_EQ(db.value("SELECT lastval()"), mine);
    db.exec(
        "BEGIN; UPDATE docs SET body = 'A' WHERE id = 500; UPDATE docs SET body = 'B' WHERE id = 500; DELETE FROM docs WHERE id "
        "= 500");
    EXPECT_EQ(db.value("SELECT lastval()"), mine);
    db.exec("COMMIT");
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_settings WHERE name LIKE 'homeostat.%' AND setting <> ''"), "0")
        << "nothing is left";
}

// A transaction of many changes takes one number beside its own, however many statements and rows it has.
TEST_F(GuestSession, ATransactionTakesOneNumberMore) {
    set_up();
    db.exec("BEGIN; UPDATE docs SET body = body || '!'");
    for (int i = 0; i < 20; ++i)
        db.exec(fmt::format("INSERT INTO docs VALUES ({}, 'New'); DELETE FROM docs WHERE id = {}", 900 + i, i));
    db.exec("COMMIT");
    // That of the first naming, and the transaction's own.
    EXPECT_EQ(db.value("SELECT count(DISTINCT xmin::text) FROM homeostat_data.p1_change"), "2");
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << run.output();
    end(run);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

// What a savepoint takes back took its lock with it: what comes then writes as the first did.
TEST_F(GuestSession, WhatIsRolledBackIsNotNamedAndTheRestIs) {
    set_up();
    db.exec(
        "BEGIN; SAVEPOINT s; UPDATE docs SET body = 'Lost' WHERE id = 1; ROLLBACK TO s; UPDATE docs SET body = 'Kept' WHERE id = "
        "2;"
        "UPDATE docs SET body = 'Kept' WHERE id = 3; UPDATE docs SET id = 700 WHERE id = 4; SAVEPOINT t; DELETE FROM docs WHERE "
        "id = 5;"
        "ROLLBACK TO t; COMMIT");
    EXPECT_EQ(
        db.value("SELECT string_agg(change::text || ' ' || key_1, ',' ORDER BY key_1, change) FROM homeostat_data.p1_change"),
        "u 2,u 3,d 4,i 700");
}

// A migration that was taken back is healed at the next look, not when the next try is due.
TEST_F(GuestSession, AColumnThatIsPutBackIsHealedAtTheNextLook) {
    make(30);
    declare("docs", "docs", "content, drift_interval, sweep_interval", "'body', '10 seconds', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs RENAME body TO text");
    db.exec("UPDATE docs SET text = 'Edited ' || id WHERE id < 5");
    EXPECT_TRUE(
        eventually_is("SELECT status || ' ' || reason FROM homeostat.condition WHERE type = 'Stalled'", "True SourceUnusable"))
        << run.output();
    db.exec("ALTER TABLE docs RENAME text TO body");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Again ' || id WHERE id < 5");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Nobody queues behind us for long, and whoever looks is told who holds us up.
TEST_F(GuestSession, ALongTransactionHoldsUpOurTriggersAndNobodyElse) {
    make(30);
    kit::Sql other(db.url());
    other.exec("SET application_name = 'nightly-export'; BEGIN; UPDATE docs SET seen = 1 WHERE id = 1");
    declare_docs();
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(feed_is("Pending")) << run.output();
    EXPECT_THAT(condition("docs", "ChangeFeed", "message"),
                ::testing::AllOf(::testing::HasSubstr("nightly-export"), ::testing::HasSubstr("docs")));
    db.exec("SET lock_timeout = '1s'");
    for (int i = 2; i < 12; ++i) db.exec(fmt::format("UPDATE docs SET body = 'Edited' WHERE id = {}", i));
    // Sweeps go on without it.
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Ready' AND status = 'True'", "1"))
        << run.output();
    EXPECT_LE(number("SELECT count(*) FROM homeostat.event WHERE reason = 'Pending'"), 1);
    // Nobody has to wait for a minute to be over.
    other.exec("COMMIT");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    end(run);
}

// Also where the triggers that a new declaration needs had to wait first: for a moment, as for an autovacuum.
TEST_F(GuestSession, ALongReadHoldsUpNoEditWhereTheTriggersHadToWaitToo) {
    make(30);
    declare_docs();
    kit::Process run = start();
    kit::Sql dump(db.url());
    dump.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM docs_embeddings");
    kit::Sql vacuum(db.url());
    vacuum.exec("BEGIN; LOCK TABLE docs IN SHARE UPDATE EXCLUSIVE MODE");
    db.exec("UPDATE homeostat.pipeline SET metadata = 'tag'");
    EXPECT_TRUE(feed_is("Pending")) << run.output();
    vacuum.exec("COMMIT");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Reconciling' AND reason = 'WaitingForLock'", "1"))
        << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 4");
    EXPECT_TRUE(follows()) << run.output();
    dump.exec("COMMIT");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND attname = 'tag'", "1"))
        << run.output();
    end(run);
}

// Whoever reads what is served holds up its view and its removal, and nobody else.
TEST_F(GuestSession, ALongReadHoldsUpOurTablesAndNobodyElse) {
    make(30);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep()) << run.output();
    kit::Sql dump(db.url());
    dump.exec(
        "SET application_name = 'nightly-dump'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM docs_embeddings");
    db.exec("SET lock_timeout = '1s'; UPDATE homeostat.pipeline SET metadata = 'tag', deletion_policy = 'Delete'");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Reconciling' AND reason = 'WaitingForLock'"
                      " AND message LIKE '%nightly-dump%'",
                      "1"))
        << run.output();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "30");
    EXPECT_EQ(
        db.value("SELECT count(*) FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid) WHERE c.type = 'Ready' AND"
                 " c.status = 'True' AND c.observed_generation = p.generation"),
        "0")
        << "what is declared is not served yet";
    EXPECT_EQ(db.value("SELECT kstatus FROM homeostat.pipelines"), "InProgress");
    // Edits are healed meanwhile, from when the triggers are those of the new declaration: what was named before that is found by
    // the sweep, which waits too.
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 4");
    EXPECT_TRUE(follows()) << run.output();
    dump.exec("SELECT count(*) FROM docs_embeddings; COMMIT");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND attname = 'tag'", "1"))
        << run.output();
    dump.exec("BEGIN; SELECT count(*) FROM docs_embeddings");
    db.exec("DELETE FROM homeostat.pipeline");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'Reconciling' AND reason = 'WaitingForLock'"
                      " AND message LIKE 'its vectors could not be removed yet%'",
                      "1"))
        << run.output();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings"), "30");
    db.exec("UPDATE docs SET body = 'Edited'");
    dump.exec("COMMIT");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipeline", "0")) << run.output();
    EXPECT_EQ(db.value("SELECT to_regclass('docs_embeddings') IS NULL AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid ="
                       " 'docs'::regclass AND NOT tgisinternal)"),
              "t");
    end(run);
}

// The login that made everything leaves the group: writers go on, and the next login takes everything over.
TEST_F(GuestSession, LoginsMayBeRotated) {
    const std::string a = "first_" + db.name();
    const std::string b = "second_" + db.name();
    db.exec(
        fmt::format("CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE ROLE {1} LOGIN IN ROLE homeostat_controller;"
                    "CREATE SCHEMA serve; GRANT USAGE, CREATE ON SCHEMA serve TO homeostat_controller",
                    a, b));
    make(30);
    db.exec("GRANT SELECT, TRIGGER ON docs TO homeostat_controller");
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, drift_interval) VALUES ('docs', "
        "'docs',"
        " 'body', 'hashing', 16, 'serve.docs', '10 seconds')");
    {
        kit::Process run = kit::Program(db.url(a)).start({"run"});
        ASSERT_TRUE(feed_is("Active")) << run.output();
        ASSERT_TRUE(asleep());
        end(run);
    }
    db.exec(fmt::format("REVOKE homeostat_controller FROM {0}; DROP OWNED BY {0}; DROP ROLE {0}", a));
    db.exec(
        "UPDATE docs SET body = 'Edited ' || id WHERE id < 5; DELETE FROM docs WHERE id = 9; INSERT INTO docs VALUES (90, "
        "'New')");
    EXPECT_EQ(db.value("SELECT count(*) FROM serve.docs"), "30");
    kit::Process run = kit::Program(db.url(b)).start({"run"});
    EXPECT_TRUE(follows("SELECT id, body FROM docs", "serve.docs")) << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Again ' || id WHERE id < 5");
    EXPECT_TRUE(follows("SELECT id, body FROM docs", "serve.docs")) << run.output();
    end(run);
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", b));
}

// Looks at triggers come once in drift_interval, a day here: what somebody does to one is seen at the next poll.
TEST_F(GuestSession, TriggersThatAreSwitchedOffAndOnAreToldAtOnceAndStayAsTheyWereSet) {
    make(30);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs DISABLE TRIGGER homeostat_p1_update");
    EXPECT_TRUE(feed_is("TriggersDisabled")) << run.output();
    db.exec("UPDATE docs SET body = 'Unseen' WHERE id = 3; ALTER TABLE docs ENABLE TRIGGER homeostat_p1_update");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    db.exec("ALTER TABLE docs DISABLE TRIGGER homeostat_p1_delete; ALTER TABLE docs ENABLE ALWAYS TRIGGER homeostat_p1_insert");
    EXPECT_TRUE(feed_is("TriggersDisabled")) << run.output();
    db.exec("UPDATE homeostat.pipeline SET metadata = 'tag'");
    ASSERT_TRUE(
        eventually_is("SELECT count(*) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND attname = 'tag'", "1"))
        << run.output();
    EXPECT_TRUE(feed_is("TriggersDisabled")) << run.output();
    EXPECT_EQ(db.value("SELECT string_agg(tgenabled::text, '' ORDER BY tgname) FROM pg_trigger WHERE tgname LIKE 'homeostat%'"),
              "DAOO");
    end(run);
}

// Another source, or a partition that is none any more: its writers pay for nothing.
TEST_F(GuestSession, NothingIsLeftOnWhatIsWatchedNoMore) {
    const char* const kOn =
        "SELECT coalesce(string_agg(DISTINCT tgrelid::regclass::text, ',' ORDER BY tgrelid::regclass::text), '')"
        " FROM pg_trigger WHERE tgname LIKE 'homeostat%'";
    db.exec(
        "CREATE TABLE docs (id int, body text, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF docs FOR"
        " VALUES FROM (0) TO (100); CREATE TABLE high PARTITION OF docs FOR VALUES FROM (100) TO (200);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(70, 101) i; CREATE TABLE papers (id int PRIMARY KEY, "
        "body"
        " text); INSERT INTO papers SELECT * FROM docs");
    declare_docs();
    kit::Process run = start();
    ASSERT_EQ(db.value(kOn), "docs,high,low");
    // Its readers and writers hold up their own triggers' end, and no edit elsewhere.
    kit::Sql reader(db.url());
    db.exec("ALTER TABLE docs DETACH PARTITION high");
    reader.exec("BEGIN; SELECT count(*) FROM high");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 91");
    EXPECT_TRUE(follows()) << run.output();
    reader.exec("COMMIT");
    EXPECT_TRUE(eventually_is(kOn, "docs,low")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited again' WHERE id = 91");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("UPDATE homeostat.pipeline SET source = 'papers'");
    EXPECT_TRUE(eventually_is(kOn, "papers")) << run.output();
    EXPECT_TRUE(follows("SELECT id, body FROM papers")) << run.output();
    db.exec("CREATE VIEW shown AS SELECT * FROM papers; UPDATE homeostat.pipeline SET source = 'shown', key = 'id'");
    EXPECT_TRUE(eventually_is(kOn, "")) << run.output();
    end(run);
}

// A table of ours that somebody altered would take nothing in for ever.
TEST_F(GuestSession, AChangeTableThatWasAlteredIsMadeAnew) {
    make(30);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE homeostat_data.p1_change ALTER key_1 TYPE uuid USING gen_random_uuid()");
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 5; UPDATE homeostat.pipeline SET reconcile_requested = 'now'");
    EXPECT_TRUE(
        eventually_is("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid ="
                      " to_regclass('homeostat_data.p1_change') AND attname = 'key_1'",
                      "bigint"))
        << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// The functions run with the controller's rights: no operator, type or function that a writer's path finds first is called.
TEST_F(GuestSession, NothingOfAWritersPathIsCalled) {
    set_up();
    db.exec("CREATE FUNCTION wrong() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called by %', current_user; END $$");
    const std::vector<std::pair<std::string, std::string>> types{
        {"text", "text"}, {"int8", "int4"}, {"int8", "int8"}, {"int4", "int4"}, {"\"char\"", "\"char\""}};
    for (const auto& [left, right] : types) {
        db.exec(
            fmt::format("CREATE FUNCTION wrong({}, {}) RETURNS boolean LANGUAGE sql AS 'SELECT public.wrong()'", left, right));
        for (const char* op : {"=", "<>", "<", ">", "<=", ">="})
            db.exec(fmt::format("CREATE OPERATOR public.{} (LEFTARG = {}, RIGHTARG = {}, FUNCTION = wrong)", op, left, right));
    }
    db.exec("CREATE TABLE public.record (x int); SET search_path = public, pg_catalog");
    db.exec("UPDATE docs SET body = 'A' WHERE id OPERATOR(pg_catalog.=) 1");
    db.exec(
        "BEGIN; UPDATE docs SET body = 'B' WHERE id OPERATOR(pg_catalog.=) 2; UPDATE docs SET body = 'C' WHERE id"
        " OPERATOR(pg_catalog.=) 3; INSERT INTO docs VALUES (500, 'New'); DELETE FROM docs WHERE id OPERATOR(pg_catalog.=) 4;"
        "UPDATE docs SET id = 600 WHERE id OPERATOR(pg_catalog.=) 5; COMMIT; RESET search_path");
    db.exec("SET search_path = pg_catalog, public");
    EXPECT_EQ(
        db.value("SELECT string_agg(change::text || ' ' || key_1, ',' ORDER BY key_1, change) FROM homeostat_data.p1_change"),
        "u 1,u 2,u 3,d 4,d 5,i 500,i 600");
    EXPECT_EQ(db.value("SELECT last_value FROM homeostat_data.p1_full"), "1") << "it would be full had one of them been called";
}

// What could not even be said when it happened is found all the same, though everything is as it was before anybody looked.
TEST_F(GuestSession, RightsThatWereAwayForAMomentLoseNothing) {
    make(30);
    declare("docs", "docs", "content, drift_interval, sweep_interval", "'body', '10 seconds', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    const std::string owner = db.value("SELECT relowner::regrole FROM pg_class WHERE relname = 'p1_change'");
    ASSERT_EQ(owner, "homeostat_controller") << "a superuser loses no rights";
    db.exec(
        fmt::format("BEGIN; REVOKE ALL ON homeostat_data.p1_change, homeostat_data.p1_full, homeostat_data.p1_named FROM {0};"
                    "UPDATE docs SET body = 'Unseen ' || id WHERE id < 5; GRANT ALL ON homeostat_data.p1_change,"
                    " homeostat_data.p1_full, homeostat_data.p1_named TO {0}; COMMIT",
                    owner));
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Whatever became of the source, who wants us gone is heard.
TEST_F(GuestSession, OffAndDeletionAreAlwaysAcceptedAndCleanUp) {
    const char* const kLeft = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'homeostat%' AND NOT tgisinternal";
    int n = 0;
    for (const char* ddl :
         {"ALTER TABLE docs RENAME body TO text", "ALTER TABLE docs DROP id", "ALTER TABLE docs RENAME TO papers"}) {
        db.exec("DROP TABLE IF EXISTS docs, papers CASCADE");
        make(20);
        declare_docs();
        {
            kit::Process run = homeostat.start({"run"});
            ASSERT_TRUE(
                eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND status = 'True'", "1"));
            end(run);
        }
        ASSERT_NE(db.value(kLeft), "0");
        db.exec(ddl);
        db.exec("UPDATE homeostat.pipeline SET capture = 'Off'");
        homeostat.run({"run", "--once"});
        EXPECT_EQ(db.value(kLeft), "0") << ddl;
        db.exec("DELETE FROM homeostat.pipeline");
        homeostat.run({"run", "--once"});
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0") << ddl;
        db.exec("DROP VIEW IF EXISTS docs_embeddings");
        ++n;
    }
    EXPECT_EQ(n, 3);
}

TEST_F(GuestSession, ATableIsCapturedForWhoMayMakeTriggersThereAndByItsOwnTypes) {
    make(20);
    const std::string role = "declarer_" + db.name();
    db.exec(fmt::format(
        "CREATE ROLE {0} LOGIN IN ROLE homeostat_declarer; CREATE VIEW shown AS SELECT id::bigint AS id, body FROM docs;"
        "CREATE VIEW same AS SELECT id, body FROM docs; GRANT SELECT ON docs, shown, same TO {0};"
        "GRANT CREATE ON SCHEMA public TO {0}",
        role));
    const auto declare_as = [&](const std::string& source) {
        kit::Sql sql(db.url(role));
        sql.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target, capture_from)"
                        " VALUES ('{0}', '{0}', 'id', 'body', 'hashing', 16, 'public.{0}_embeddings',"
                        " '[{{\"table\": \"docs\", \"key\": {{\"id\": \"id\"}}}}]')",
                        source));
    };
    EXPECT_THROW(declare_as("same"), std::runtime_error);
    db.exec(fmt::format("GRANT TRIGGER ON docs TO {}", role));
    EXPECT_NO_THROW(declare_as("same"));
    EXPECT_THROW(declare_as("shown"), std::runtime_error);
    db.exec(fmt::format("DELETE FROM homeostat.pipeline; DROP OWNED BY {0}; DROP ROLE {0}", role));
}

// Where a change cannot name a document it only says that something changed, and reads nothing that another writer writes.
TEST_F(GuestSession, SerializableWritersDoNotConflictBecauseOfUs) {
    make(20);
    db.exec("CREATE VIEW counted AS SELECT tag, count(*)::text AS body FROM docs GROUP BY tag");
    declare("docs", "counted", "key, content, capture_from, drift_interval, sweep_interval",
            "'tag', 'body', '[{\"table\": \"docs\", \"key\": {}}]', '1 day', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    end(run);
    kit::Sql a(db.url());
    kit::Sql b(db.url());
    for (int i = 0; i < 10; ++i) {
        for (kit::Sql* w : {&a, &b}) w->exec("BEGIN ISOLATION LEVEL SERIALIZABLE");
        a.exec(fmt::format("INSERT INTO docs VALUES ({}, 'A', 'a')", 1000 + i));
        b.exec(fmt::format("INSERT INTO docs VALUES ({}, 'B', 'b')", 2000 + i));
        a.exec(fmt::format("INSERT INTO docs VALUES ({}, 'A', 'a')", 3000 + i));
        for (kit::Sql* w : {&a, &b}) EXPECT_NO_THROW(w->exec("COMMIT"));
    }
    EXPECT_NE(db.value("SELECT count(*) FROM homeostat_data.p1_change"), "0");
    kit::Process again = homeostat.start({"run"});
    EXPECT_TRUE(eventually_is("SELECT string_agg(tag || chunk_text, ',' ORDER BY tag) FROM docs_embeddings", "a20,b10,x20"))
        << again.output();
    end(again);
}

}  // namespace
}  // namespace homeostat
