// Sweeps that nobody waits for keep to their budget, with the real program; what somebody waits for does not.
#include <csignal>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class Pace : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i",
                        documents));
        declare("docs", "docs", "content, capture, drift_interval, max_prune_ratio", "'body', 'Off', '1 day', 1");
    }
    kit::Process start(const std::string& rows_per_second) {
        return homeostat.start({"run", "--set", "loop.workers=1", "--set", "sweep.rows_per_second=" + rows_per_second});
    }
    // As if the interval had passed, and the poll had come by.
    void let_the_interval_pass() {
        db.exec(
            "UPDATE homeostat.pipeline_status s SET next_attempt_at = clock_timestamp() - interval '1 second'"
            " FROM homeostat.pipeline p WHERE p.uid = s.uid AND p.name = 'docs'; SELECT pg_notify('homeostat', uid::text)"
            " FROM homeostat.pipeline WHERE name = 'docs'");
    }
    bool ended(const std::string& trigger, const std::string& result = "Converged") {
        return eventually_is(fmt::format("SELECT count(*) FROM homeostat.run_history WHERE pipeline = 'docs' AND trigger = '{}'"
                                         " AND result = '{}'",
                                         trigger, result),
                             "1");
    }
};

TEST_F(Pace, AnIntervalSweepKeepsToItsRowsASecond) {
    make(5'000);
    kit::Process run = start("1000");
    ASSERT_TRUE(ended("spec")) << run.output();
    let_the_interval_pass();
    ASSERT_TRUE(ended("interval")) << run.output();
    // Five slices of a thousand, each a second before the next.
    EXPECT_EQ(db.value("SELECT ended_at - started_at >= interval '4.5 seconds' FROM homeostat.run_history"
                       " WHERE trigger = 'interval'"),
              "t");
    EXPECT_EQ(condition("docs", "Reconciling"), "False");
    EXPECT_EQ(db.value("SELECT source_documents || ' ' || documents FROM homeostat.pipeline_status"), "5000 5000");
    end(run);
}

// At ten rows a second each sweep of this source would take some minutes.
TEST_F(Pace, AFirstFillIsNotSlowedAndWhoAsksIsNotKeptWaiting) {
    make(2'000);
    kit::Process run = start("10");
    ASSERT_TRUE(ended("spec")) << run.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 2000");
    let_the_interval_pass();
    ASSERT_TRUE(eventually_is("SELECT coalesce(sum(seen), 0) FROM homeostat.run", "100")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT status || ' ' || message FROM homeostat.condition WHERE type = 'Reconciling'",
                              "True sweeping: 100 rows compared so far, as fast as sweep.rows_per_second and sweep.share allow"));
    EXPECT_EQ(condition("docs", "Ready"), "True");
    EXPECT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
    EXPECT_TRUE(ended("interval")) << run.output();
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id = 2000"), "Edited");
    end(run);
}

// Of what is read in pieces the first is healed while the next are read: nobody but the sweep says within a minute
// that there is something to do.
TEST_F(Pace, WhatASliceFindsIsHealedWhileTheNextIsObserved) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 3000) i;"
        // The dearest of conditions is looked at last, and only for rows of the slice.
        "CREATE FUNCTION gate(n int) RETURNS boolean LANGUAGE plpgsql COST 100000 AS $$ BEGIN"
        "  PERFORM pg_advisory_lock_shared(n); PERFORM pg_advisory_unlock_shared(n); RETURN true; END $$;"
        "CREATE VIEW held AS SELECT id, body FROM docs WHERE id <= 600 OR gate(CASE WHEN id <= 1600 THEN 1 ELSE 2 END)");
    db.exec(fmt::format("ALTER DATABASE {} SET enable_seqscan = off", db.name()));
    db.exec(fmt::format("ALTER DATABASE {} SET enable_sort = off", db.name()));
    declare("docs", "held", "key, content, capture", "'{id}', 'body', 'Off'");
    kit::Sql first(db.url());
    kit::Sql second(db.url());
    first.exec("SELECT pg_advisory_lock(1)");
    second.exec("SELECT pg_advisory_lock(2)");
    kit::Process run = homeostat.start({"run", "--set", "sweep.slice=500", "--set", "loop.poll=1m", "--set", "lease.ttl=10m",
                                        "--set", "lease.renew=5m", "--set", "claim.ttl=1h", "--set", "claim.heartbeat=10m",
                                        "--set", "database.lock_timeout=2m", "--set", "database.statement_timeout=2m"});
    const std::string stored = "SELECT count(*) FROM homeostat_data.p1_r1_document";
    ASSERT_TRUE(eventually_is("SELECT coalesce(max(seen), 0) >= 500 FROM homeostat.run", "t")) << run.output();
    EXPECT_TRUE(eventually_is(stored, "500")) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
    first.exec("SELECT pg_advisory_unlock(1)");
    EXPECT_TRUE(eventually_is("SELECT seen > 500 AND seen = (" + stored + ") FROM homeostat.run", "t")) << run.output();
    second.exec("SELECT pg_advisory_unlock(2)");
    EXPECT_TRUE(ended("spec")) << run.output();
    EXPECT_EQ(db.value(stored), "3000");
    end(run);
}

TEST_F(Pace, WhileASweepWaitsItsWorkerServesOthers) {
    make(2'000);
    kit::Process run = start("10");
    ASSERT_TRUE(ended("spec")) << run.output();
    let_the_interval_pass();
    ASSERT_TRUE(eventually_is("SELECT coalesce(sum(seen), 0) FROM homeostat.run", "100")) << run.output();
    declare("more", "docs", "content", "'body'");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run_history WHERE pipeline = 'more' AND result = 'Converged'", "1"))
        << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run_history WHERE pipeline = 'docs'"), "1");
    end(run);
}

// A sweep that takes its time goes on where it was, whoever goes on with it.
TEST_F(Pace, ARestartLosesNothingOfASlowSweep) {
    make(2'000);
    kit::Process first = start("10");
    ASSERT_TRUE(ended("spec")) << first.output();
    db.exec("UPDATE docs SET body = 'Edited' WHERE id IN (5, 1995)");
    let_the_interval_pass();
    ASSERT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id = 5", "Edited")) << first.output();
    first.signal(SIGKILL);
    ASSERT_TRUE(first.wait(10s));
    kit::Process again = start("0");
    EXPECT_TRUE(ended("interval")) << again.output();
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id = 1995"), "Edited");
    end(again);
}

// Each slice is a query to another server, which feels no more of a sweep than the budget allows.
TEST_F(Pace, AForeignTableIsSweptWithinTheBudgetToo) {
    db.exec(
        "CREATE EXTENSION postgres_fdw; CREATE TABLE far (id int PRIMARY KEY, body text);"
        "INSERT INTO far SELECT i, 'Body of ' || i FROM generate_series(1, 3000) i;"
        "DO $$ BEGIN EXECUTE format('CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, dbname %L)',"
        " split_part(current_setting('unix_socket_directories'), ',', 1), current_database()); END $$;"
        "CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS (user 'postgres', password_required 'false');"
        "CREATE FOREIGN TABLE docs (id int, body text) SERVER loop OPTIONS (table_name 'far')");
    declare("docs", "docs", "key, content, drift_interval, max_prune_ratio", "'id', 'body', '1 day', 1");
    kit::Process run = start("1000");
    ASSERT_TRUE(ended("spec")) << run.output();
    db.exec("UPDATE far SET body = 'Edited' WHERE id % 1000 = 7; DELETE FROM far WHERE id = 3000");
    let_the_interval_pass();
    ASSERT_TRUE(ended("interval")) << run.output();
    EXPECT_EQ(db.value("SELECT ended_at - started_at >= interval '2.5 seconds' FROM homeostat.run_history"
                       " WHERE trigger = 'interval'"),
              "t");
    end(run);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM far");
}

TEST_F(Pace, AtTheStartTheOneSweptLongestAgoGoesFirst) {
    db.exec("CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'One')");
    for (const char* name : {"a", "b", "c", "d"}) declare(name, "docs", "content, capture", "'body', 'Off'");
    run_once(kConverged);
    declare("e", "docs", "content, capture", "'body', 'Off'");
    db.exec(
        "DELETE FROM homeostat.run_history; UPDATE homeostat.pipeline_status s SET next_attempt_at = clock_timestamp() - interval"
        " '1 second', last_sweep_at = clock_timestamp() - interval '1 hour' * array_position('{b,d,a,c}', p.name)"
        " FROM homeostat.pipeline p WHERE p.uid = s.uid");
    kit::Process run = start("0");
    EXPECT_TRUE(eventually_is("SELECT string_agg(pipeline, ' ' ORDER BY started_at) FROM homeostat.run_history", "e c a d b"))
        << run.output();
    end(run);
}

}  // namespace
}  // namespace homeostat
