// The change feed with the real program: what is committed to a source is healed within moments and without a sweep, whatever the
// source is made of; and what comes past the triggers is found, told and healed all the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "core/fault_point.hpp"
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";

TEST_F(FeedWhole, EveryKindOfChangeIsHealedWithoutASweep) {
    make(200);
    declare_docs();
    kit::Process run = start();
    const std::int64_t before = sweeps();
    db.exec(
        "UPDATE docs SET body = 'Edited ' || id WHERE id <= 20; INSERT INTO docs VALUES (1000, 'New', 'x'), (1001, 'Newer', 'x');"
        "DELETE FROM docs WHERE id = 7; UPDATE docs SET id = 2000 WHERE id = 11; "
        "INSERT INTO docs VALUES (5, 'Upserted', 'x') ON CONFLICT (id) DO UPDATE SET body = excluded.body");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before);
    EXPECT_TRUE(eventually_is("SELECT source_documents || ' ' || documents FROM homeostat.pipeline_status", "201 201"));
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat_data.p1_change", "0"));
    end_converged(run, "docs", kWanted);
}

TEST_F(FeedWhole, MetadataFollowsTooAndWhatIsNotLookedAtIsNotNamed) {
    make(20);
    declare_docs(", metadata", ", 'tag'");
    kit::Process run = start();
    const std::int64_t embedded_before = embedded();
    db.exec("UPDATE docs SET tag = 'y' WHERE id = 3");
    EXPECT_TRUE(eventually_is("SELECT tag FROM docs_embeddings WHERE id = 3", "y"));
    EXPECT_EQ(embedded(), embedded_before);
    end(run);
    // Nobody takes anything out now: what the triggers write stays to be seen.
    db.exec("UPDATE docs SET seen = seen + 1; UPDATE docs SET body = body");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat_data.p1_change"), "0");
    db.exec("UPDATE docs SET body = 'Other' WHERE id = 4");
    EXPECT_EQ(db.value("SELECT change::text || ' ' || key_1 FROM homeostat_data.p1_change"), "u 4");
}

TEST_F(FeedWhole, WhatChangedWhileNobodyRanIsTakenUpAtTheStart) {
    make(50);
    declare_docs();
    kit::Process first = start();
    end(first);
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'Edited ' || id; DELETE FROM docs WHERE id = 50");
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before);
    end(run);
}

// The feed slept while the revision that it knew was replaced twice, and its tables are gone.
TEST_F(FeedWhole, WhatTheFeedKnewOfAPipelineMayBeGoneWhenItWakes) {
    make(30);
    declare_docs();
    kit::Process run = homeostat.start({"run", "--set", "revision.keep=1"});
    ASSERT_TRUE(feed_is("Active")) << run.output();
    db.exec("UPDATE docs SET body = 'Once' WHERE id = 1");
    ASSERT_TRUE(follows()) << run.output();
    ASSERT_TRUE(asleep());
    for (const char* size : {"100", "200", "300"}) {
        db.exec(std::string("UPDATE homeostat.pipeline SET chunk_size = ") + size);
        ASSERT_TRUE(
            eventually_is("SELECT count(*) FROM homeostat.pipeline p JOIN homeostat.pipeline_status s USING (uid) WHERE"
                          " s.observed_generation = p.generation",
                          "1"))
            << run.output();
    }
    ASSERT_EQ(db.value("SELECT to_regclass('homeostat_data.p1_r1_document') IS NULL"), "t");
    // What is known of a target is looked at again when it is five seconds old.
    ASSERT_TRUE(
        eventually_is("SELECT clock_timestamp() > max(written_at) + interval '6 seconds' FROM"
                      " homeostat_data.p1_r4_document",
                      "t"));
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = repeat('Much text. ', 5000) WHERE id = 2; UPDATE docs SET body = 'Again' WHERE id = 3");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE id = 3 AND chunk_text = 'Again'", "1")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT sum(length(chunk_text)) > 50000 FROM docs_embeddings WHERE id = 2", "t")) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run"), "0");
    EXPECT_EQ(sweeps(), before) << run.output();
    end_converged(run, "docs", kWanted);
}

// Comparisons must neither miss a change nor make a writer's statement fail, whatever the columns are.
TEST_F(FeedWhole, ColumnsOfAnyTypeAreComparedByTheirText) {
    db.exec(
        "CREATE COLLATION sloppy (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TYPE mood AS ENUM ('good', 'bad');"
        "CREATE TABLE docs (a text COLLATE sloppy, b numeric, c timestamptz, body json, price numeric, note text COLLATE sloppy,"
        " place point, m mood, span interval, PRIMARY KEY (a, b, c));"
        "INSERT INTO docs SELECT 'k' || i, i * 1.50, '2026-01-01'::timestamptz + i * interval '1 hour', '{\"t\": 1}', 1.0, 'abc',"
        " '(1,2)', 'good', '1 day' FROM generate_series(1, 10) i");
    declare("docs", "docs", "template, drift_interval, sweep_interval, max_prune_ratio",
            "'{body} {price} {note} {place} {m} {span}', '1 day', '30 days', 1");
    kit::Process run = start();
    const std::int64_t before = sweeps();
    const std::vector<std::pair<std::string, std::string>> edits{
        {"body = '{\"t\": 2}' WHERE a = 'k1'", "{\"t\": 2} 1.0 abc (1,2) good 1 day"},
        {"price = 1.00 WHERE a = 'k2'", "{\"t\": 1} 1.00 abc (1,2) good 1 day"},
        {"note = 'ABC' WHERE a = 'k3'", "{\"t\": 1} 1.0 ABC (1,2) good 1 day"},
        {"place = '(1,3)' WHERE a = 'k4'", "{\"t\": 1} 1.0 abc (1,3) good 1 day"},
        {"m = 'bad' WHERE a = 'k5'", "{\"t\": 1} 1.0 abc (1,2) bad 1 day"},
        {"span = '24 hours' WHERE a = 'k6'", "{\"t\": 1} 1.0 abc (1,2) good 24:00:00"}};
    // The settings of the writer are the writer's.
    db.exec("SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'");
    for (const auto& [edit, text] : edits) db.exec("UPDATE docs SET " + edit);
    db.exec("RESET ALL");
    for (std::size_t i = 0; i < edits.size(); ++i) {
        EXPECT_TRUE(
            eventually_is(fmt::format("SELECT chunk_text FROM docs_embeddings WHERE lower(a) = 'k{}'", i + 1), edits[i].second))
            << edits[i].first;
    }
    EXPECT_EQ(sweeps(), before);
    end(run);
}

TEST_F(FeedWhole, HostileNamesAreOnlyNames) {
    db.exec(
        "CREATE TABLE \"d\"\"o'c$s; --\" (\"i\"\"d\" int PRIMARY KEY, \"b'o;dy$homeostat$\" text);"
        "INSERT INTO \"d\"\"o'c$s; --\" SELECT i, 'Body of ' || i FROM generate_series(1, 5) i");
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target) VALUES ('docs',"
        " '\"d\"\"o''c$s; --\"', '\"b''o;dy$homeostat$\"', 'hashing', 16, 'docs_embeddings')");
    kit::Process run = start();
    db.exec("UPDATE \"d\"\"o'c$s; --\" SET \"b'o;dy$homeostat$\" = 'Edited' WHERE \"i\"\"d\" = 2");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE \"i\"\"d\" = 2", "Edited")) << run.output();
    end(run);
}

// The functions run with our rights: no operator, function or table of the writer's making may take part in them.
TEST_F(FeedWhole, AWritersSearchPathDecidesNothing) {
    make(20);
    declare_docs();
    kit::Process run = start();
    const std::int64_t before = sweeps();
    db.exec(
        "CREATE SCHEMA evil;"
        "CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        "CREATE FUNCTION evil.same(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);"
        "CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);"
        "CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.same);"
        "CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql AS 'SELECT 2::bigint';"
        "CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$evil$$; END';"
        "CREATE TABLE evil.new_rows (id int, body text); CREATE TABLE evil.old_rows (id int, body text);"
        "SET search_path = evil, pg_catalog, public;"
        "UPDATE public.docs SET body = 'Edited alone' WHERE id OPERATOR(pg_catalog.=) 3;"
        "UPDATE public.docs SET body = 'Edited with others' WHERE id > 10;"
        "UPDATE public.docs SET id = 300 WHERE id OPERATOR(pg_catalog.=) 4; RESET search_path");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before);
    end_converged(run, "docs", kWanted);
}

TEST_F(FeedWhole, TruncateIsHeldByTheBrake) {
    make(500);
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, sweep_interval) VALUES ('docs',"
        " 'docs', 'body', 'hashing', 16, 'docs_embeddings', '30 days')");
    kit::Process run = start();
    db.exec("TRUNCATE docs");
    EXPECT_TRUE(eventually_is("SELECT status FROM homeostat.condition WHERE type = 'PruneBlocked'", "True")) << run.output();
    EXPECT_EQ(db.value("SELECT count(DISTINCT id) FROM docs_embeddings"), "500");
    end(run);
}

TEST_F(FeedWhole, DeletionsOverTheBrakeAreLeftToTheSweepAndHeld) {
    make(500);
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, sweep_interval) VALUES ('docs',"
        " 'docs', 'body', 'hashing', 16, 'docs_embeddings', '30 days')");
    kit::Process run = start();
    db.exec("DELETE FROM docs WHERE id <= 3");
    EXPECT_TRUE(eventually_is("SELECT count(DISTINCT id) FROM docs_embeddings", "497"));
    db.exec("DELETE FROM docs WHERE id <= 400");
    EXPECT_TRUE(eventually_is("SELECT status FROM homeostat.condition WHERE type = 'PruneBlocked'", "True")) << run.output();
    EXPECT_GE(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 400);
    end(run);
}

TEST_F(FeedWhole, TriggersSwitchedOffAreToldAndTheSweepFindsWhatTheyMissed) {
    make(2'000);
    declare_docs();
    kit::Process run = start();
    db.exec("ALTER TABLE docs DISABLE TRIGGER ALL; UPDATE docs SET body = 'Behind our back ' || id WHERE id <= 1000");
    reconcile();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND status = 'False'", "1"));
    db.exec("ALTER TABLE docs ENABLE TRIGGER ALL");
    reconcile();
    EXPECT_TRUE(feed_is("Active"));
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'Named again' WHERE id = 1");
    EXPECT_TRUE(follows());
    EXPECT_EQ(sweeps(), before);
    end(run);
}

TEST_F(FeedWhole, WhatCameByInReplicationRoleIsCountedAsBypassed) {
    make(100);
    declare_docs();
    kit::Process run = start();
    db.exec(
        "SET session_replication_role = replica; UPDATE docs SET body = 'Restored ' || id WHERE id <= 30;"
        "SET session_replication_role = origin");
    reconcile();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(feed_is("Bypassed"));
    EXPECT_THAT(db.value("SELECT message FROM homeostat.condition WHERE type = 'ChangeFeed'"),
                ::testing::HasSubstr("30 documents"));
    end(run);
}

// A call says that it was made, and need not have left anything to take: the next edit calls again.
TEST_F(FeedWhole, WhoCalledForNothingIsNotTheLastWhoIsHeard) {
    make(20);
    declare_docs();
    db.exec("UPDATE homeostat.pipeline SET drift_interval = '1 hour'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("UPDATE homeostat.feed_bell SET asleep = false; NOTIFY homeostat, 'f1'");
    ASSERT_TRUE(asleep()) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 3");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Nobody edited what was refused and is tried again.
TEST_F(FeedWhole, WhatIsTriedAgainIsNotCalledBypassed) {
    make(100);
    declare_docs();
    kit::Process run = start();
    db.exec(
        "DO $$ DECLARE t text := (SELECT 'homeostat_data.p' || uid || '_r1_' FROM homeostat.pipeline); BEGIN"
        " EXECUTE 'DELETE FROM ' || t || 'chunk WHERE document_id IN (SELECT document_id FROM ' || t || 'document WHERE key_1 <= "
        "3)';"
        " EXECUTE 'DELETE FROM ' || t || 'document WHERE key_1 <= 3'; END $$;"
        "INSERT INTO homeostat.dead_letter (uid, revision, key, content_hash, class, strategy, message, attempts) SELECT uid, 1,"
        " ARRAY[i::text], '', 'content', 'split', 'refused', 1 FROM homeostat.pipeline, generate_series(1, 3) i");
    const kit::Program::Outcome again = homeostat.run({"dead-letters", "retry", "docs"});
    EXPECT_THAT(again.output, ::testing::HasSubstr("3 documents will be tried again"));
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(
        eventually_is("SELECT last_handled_reconcile = reconcile_requested FROM homeostat.pipeline JOIN"
                      " homeostat.pipeline_status USING (uid)",
                      "t"));
    EXPECT_TRUE(feed_is("Active"));
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.event WHERE message LIKE '%past its feed%' OR reason = 'Bypassed'"), 0);
    end(run);
}

// What a brake holds back is found by every sweep, and came past nobody.
TEST_F(FeedWhole, WhatIsHeldBackIsNotCalledBypassed) {
    make(100);
    declare_docs();
    kit::Process run = start();
    db.exec(
        "SET session_replication_role = replica; DELETE FROM docs WHERE id > 30; SET session_replication_role = origin;"
        "UPDATE homeostat.feed SET trusted_since = NULL");
    reconcile();
    ASSERT_TRUE(eventually_is("SELECT reason FROM homeostat.condition WHERE type = 'PruneBlocked'", "SourceShrank"))
        << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.feed WHERE trusted_since IS NOT NULL", "1"));
    reconcile();
    reconcile();
    EXPECT_TRUE(feed_is("Active")) << db.value("SELECT message FROM homeostat.condition WHERE type = 'ChangeFeed'");
    db.exec("UPDATE homeostat.pipeline SET approval = (SELECT blocked_plan FROM homeostat.pipeline_status)");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// A sweep while edits go on finds what the feed has in hand already, and does not take it for something that came past.
TEST_F(FeedWhole, ASweepDuringEditsAccusesNobody) {
    make(300);
    declare_docs();
    kit::Process run = start();
    for (int round = 1; round <= 5; ++round) {
        db.exec(fmt::format("UPDATE docs SET body = 'Round {} ' || id WHERE id % 3 = 0", round));
        reconcile();
    }
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(feed_is("Active")) << db.value("SELECT message FROM homeostat.condition WHERE type = 'ChangeFeed'");
    end(run);
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

TEST_F(FeedWhole, DroppedTriggersComeBackAndASweepFollows) {
    make(50);
    declare_docs();
    kit::Process run = start();
    db.exec("DROP TRIGGER homeostat_p1_update ON docs; UPDATE docs SET body = 'Unnamed ' || id");
    reconcile();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass AND tgname LIKE 'homeostat%'"), "4");
    end(run);
}

TEST_F(FeedWhole, PartitionsAreWatchedDirectlyAndThroughTheirParentAlsoWhenAttachedLater) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
        "CREATE TABLE docs_a PARTITION OF docs FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE docs_b PARTITION OF docs FOR VALUES FROM (100) TO (200);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 150) i");
    declare_docs();
    kit::Process run = start();
    std::int64_t before = sweeps();
    db.exec(
        "UPDATE docs SET body = 'Through the parent' WHERE id IN (3, 120); UPDATE docs_a SET body = 'Directly' WHERE id = 4;"
        "UPDATE docs SET id = 160 WHERE id = 5; DELETE FROM docs_b WHERE id = 140");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before) << db.value("SELECT string_agg(trigger || ' ' || message, ';') FROM homeostat.run_history")
                                << run.output();
    db.exec(
        "CREATE TABLE docs_c (id int PRIMARY KEY, body text); INSERT INTO docs_c SELECT i, 'Attached ' || i FROM "
        "generate_series(200, "
        "220) i; ALTER TABLE docs ATTACH PARTITION docs_c FOR VALUES FROM (200) TO (300)");
    reconcile();
    EXPECT_TRUE(follows());
    before = sweeps();
    db.exec("UPDATE docs_c SET body = 'Directly in the new one' WHERE id = 210");
    EXPECT_TRUE(follows());
    EXPECT_EQ(sweeps(), before);
    end(run);
}

TEST_F(FeedWhole, AViewIsFollowedByKeyThroughTheTablesBehindIt) {
    make(40);
    db.exec(
        "CREATE TABLE authors (author int PRIMARY KEY, name text); INSERT INTO authors VALUES (1, 'Ann'), (2, 'Bob');"
        "ALTER TABLE docs ADD COLUMN author int NOT NULL DEFAULT 1;"
        "CREATE VIEW library AS SELECT d.id AS doc, d.body || ' by ' || a.name AS words FROM docs d JOIN authors a USING "
        "(author)");
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target, sweep_interval, "
        "max_prune_ratio,"
        " capture_from) VALUES ('docs', 'library', 'doc', 'words', 'hashing', 16, 'docs_embeddings', '30 days', 1,"
        " '[{\"table\": \"docs\", \"key\": {\"doc\": \"id\"}}, {\"table\": \"authors\", \"key\": {}}]')");
    kit::Process run = start();
    const char* view = "SELECT doc AS id, words AS body FROM library";
    const char* stored = "(SELECT doc AS id, chunk_text FROM docs_embeddings)";
    std::int64_t before = sweeps();
    db.exec(
        "UPDATE docs SET body = 'Edited' WHERE id = 3; DELETE FROM docs WHERE id = 4; INSERT INTO docs VALUES (99, 'New', 'x');"
        "UPDATE docs SET author = 2 WHERE id = 5");
    EXPECT_TRUE(follows(view, stored + std::string(" v"))) << run.output();
    EXPECT_EQ(sweeps(), before);
    // No key of the view stands in this table: all of the view may have changed.
    db.exec("UPDATE authors SET name = 'Anna' WHERE author = 1");
    EXPECT_TRUE(follows(view, stored + std::string(" v"))) << run.output();
    EXPECT_TRUE(kit::eventually([&] { return sweeps() > before; }, 30s));
    end(run);
}

TEST_F(FeedWhole, WithoutTheRightTheTriggersArePrintedForSomebodyElse) {
    const std::string role = "ctl_" + db.name();
    db.exec(fmt::format(
        "CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE SCHEMA serve; GRANT USAGE, CREATE ON SCHEMA serve TO {0}",
        role));
    make(20);
    db.exec(fmt::format("GRANT SELECT ON docs TO {}", role));
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, drift_interval) VALUES ('docs', "
        "'docs',"
        " 'body', 'hashing', 16, 'serve.docs', '10 seconds')");
    const kit::Program controller(db.url(role));
    kit::Process run = controller.start({"run"});
    EXPECT_TRUE(feed_is("RightMissing")) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history", "1")) << run.output();
    const auto sql = controller.run({"capture", "sql", "docs"});
    EXPECT_EQ(sql.exit.code, 0) << sql.output;
    db.exec(sql.output);
    reconcile();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 3");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM serve.docs WHERE id = 3", "Edited")) << run.output();
    EXPECT_EQ(sweeps(), before);
    end(run);
    db.exec(fmt::format("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", role));
}

// What was planned for the old declaration is refused; the sweep for the new one sees what it was for.
TEST_F(FeedWhole, WhatWaitsWhileThePipelineIsDeclaredAnewIsNotTriedForEver) {
    make(100);
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    declare_docs();
    kit::Process run = start();
    endpoint.withhold();
    db.exec("UPDATE docs SET body = 'Waits ' || id");
    ASSERT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.batch WHERE claim_token IS NOT NULL", "t")) << run.output();
    db.exec("UPDATE homeostat.pipeline SET max_prune_rows = 7");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "1")) << run.output();
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT (SELECT count(*) FROM homeostat.batch) + (SELECT count(*) FROM homeostat.run)", "0"))
        << run.output();
    end(run);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

TEST_F(FeedWhole, SwitchedOffOrDeletedNothingIsLeftOnTheSource) {
    make(20);
    declare_docs();
    kit::Process run = start();
    const std::string left = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass AND tgname LIKE 'homeostat%'";
    db.exec("UPDATE homeostat.pipeline SET capture = 'Off'");
    EXPECT_TRUE(eventually_is(left, "0")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT to_regclass('homeostat_data.p1_change') IS NULL", "t"));
    db.exec("UPDATE homeostat.pipeline SET capture = 'Auto'");
    EXPECT_TRUE(eventually_is(left, "4")) << run.output();
    db.exec("DELETE FROM homeostat.pipeline");
    EXPECT_TRUE(eventually_is(left, "0")) << run.output();
    end(run);
}

// More than can be worked on at once: what had no place at first is taken as places become free, not when somebody looks again.
TEST_F(FeedWhole, ThousandsOfRowsOfOneStatementAreHealedWithoutASweep) {
    make(20'000);
    declare_docs();
    kit::Process run = start({{"HOMEOSTAT_LOOP_POLL", "1m"}});
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'All at once ' || id WHERE id % 6 = 0");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before);
    end(run);
}

// The first who changes the source of a sleeper calls it, and until that is committed each of the others does; nobody waits for
// anybody, whatever is left open, and nobody's transaction fails of it.
TEST_F(FeedWhole, ASleeperIsCalledByWhoeverComesFirstAndNobodyWaits) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    kit::Sql open(db.url());
    kit::Sql snapshot(db.url());
    snapshot.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM docs");
    open.exec("BEGIN; UPDATE docs SET body = 'Still open' WHERE id = 1");
    db.exec("SET lock_timeout = '2s'; UPDATE docs SET body = 'Meanwhile' WHERE id = 2");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id = 2", "Meanwhile")) << run.output();
    snapshot.exec("UPDATE docs SET body = 'As of before' WHERE id = 3; COMMIT");
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id = 3", "As of before")) << run.output();
    EXPECT_TRUE(eventually_is(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname ="
        " current_database())",
        "0"));
    open.exec("COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    ASSERT_TRUE(asleep());
    db.exec("UPDATE docs SET body = 'And again' WHERE id = 4");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Where transactions may be prepared, one that called would fail at that: nobody has to call, homeostat looks by itself.
TEST(FeedBesideTwoPhaseCommit, PreparedTransactionsAreFollowed) {
    kit::Cluster cluster({"max_prepared_transactions=2"});
    kit::Database db(kit::Schema::migrated, cluster);
    const kit::Program homeostat{db.url()};
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body ' || i FROM generate_series(1, 9) i;"
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, sweep_interval)"
        " VALUES ('docs', 'docs', 'body', 'hashing', 16, 'docs_embeddings', '30 days')");
    kit::Process run = homeostat.start({"run"});
    const auto becomes = [&](const std::string& sql, const std::string& wanted) {
        return kit::eventually([&] { return db.value(sql) == wanted; }, 30s);
    };
    ASSERT_TRUE(becomes("SELECT count(*) FROM homeostat.condition WHERE (type, reason) = ('ChangeFeed', 'Active')", "1"));
    ASSERT_TRUE(becomes("SELECT count(*) FROM homeostat.feed_bell", "1"));
    for (int i = 1; i <= 3; ++i) {
        const std::string text = fmt::format("Prepared {}", i);
        db.exec(fmt::format("BEGIN; UPDATE docs SET body = '{}' WHERE id = 1; PREPARE TRANSACTION 'edit'", text));
        EXPECT_EQ(db.value("SELECT asleep FROM homeostat.feed_bell"), "f");
        db.exec("COMMIT PREPARED 'edit'");
        EXPECT_TRUE(becomes(fmt::format("SELECT count(*) FROM docs_embeddings WHERE id = 1 AND chunk_text = '{}'", text), "1"))
            << run.output();
    }
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
}

TEST_F(FeedWhole, ADeadSleeperIsCalledOnce) {
    make(20);
    declare_docs();
    {
        kit::Process run = start();
        ASSERT_TRUE(asleep());
        run.signal(SIGKILL);
        run.wait(10s);
    }
    const std::string bell = "SELECT asleep || ' ' || xmin FROM homeostat.feed_bell";
    db.exec("UPDATE docs SET body = 'Nobody hears' WHERE id = 1");
    const std::string called = db.value(bell);
    EXPECT_EQ(called.substr(0, 5), "false");
    db.exec("UPDATE docs SET body = 'Nobody need' WHERE id = 2");
    EXPECT_EQ(db.value(bell), called);
    kit::Process again = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << again.output();
    EXPECT_TRUE(asleep());
    end(again);
}

// Killed with changes taken and not committed, or committed and nobody told: nothing is lost, nothing is torn.
TEST_F(FeedWhole, KilledAtItsFaultPointsItLosesNothing) {
    make(100);
    declare_docs();
    for (const std::string_view point : kFeedFaultPoints) {
        db.exec(fmt::format("UPDATE docs SET body = 'Before {}' WHERE id <= 2", point));
        kit::Process first = start();
        EXPECT_TRUE(follows());
        end(first);
        kit::Process doomed = homeostat.start({"run"}, {{"HOMEOSTAT_FAULT_POINT", std::string(point)}});
        db.exec(
            fmt::format("UPDATE docs SET body = 'Killed {} ' || id WHERE id BETWEEN 10 AND 40; DELETE FROM docs WHERE id = {}",
                        point, 90 + number("SELECT count(*) FROM docs") % 2));
        EXPECT_EQ(doomed.wait(30s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
        kit::Process again = homeostat.start({"run"});
        EXPECT_TRUE(follows()) << point << '\n' << again.output();
        end(again);
        expect_converged("docs", kWanted);
    }
}

}  // namespace
}  // namespace homeostat
