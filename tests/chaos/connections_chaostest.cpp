// Connections are cut at random moments, also while committing, lease rows are edited under two replicas' feet, and the database
// crashes with commits that it had not written yet: everything converges, nothing is written twice, no document is blamed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/invariants.hpp"

namespace homeostat {
namespace {

using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";
constexpr int kDocuments = 1'500;

class Connections : public ::testing::Test {
protected:
    Connections() {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i;"
                        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                        " VALUES ('fake', '{}', 'm', 16, 16, 4);"
                        "INSERT INTO homeostat.pipeline (name, source, content, provider, target)"
                        " VALUES ('docs', 'docs', 'body', 'fake', 'docs_embeddings')",
                        kDocuments, endpoint.url()));
    }
    bool ready() { return db.value("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines") == "Current0"; }
    void expect_whole() {
        EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted), IsEmpty());
        EXPECT_THAT(
            db.query("SELECT id, outcome, message FROM homeostat.batch_history WHERE outcome IN ('failed', 'dead_letter')"),
            IsEmpty());
        EXPECT_EQ(db.value("SELECT sum(written) FROM homeostat.batch_history WHERE outcome = 'done'"),
                  std::to_string(kDocuments));
    }
    void end_whole(kit::Process& process) {
        kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); });
        end(process);
        expect_whole();
    }
    void end(kit::Process& process) {
        process.signal(SIGTERM);
        EXPECT_EQ(process.wait(40s).value_or(kit::Exit{}).code, 0) << process.output();
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16, .delay = 15ms}};
    kit::Database db;
    kit::Program homeostat{db.url(),
                           {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"},
                            {"HOMEOSTAT_BATCH_IN_FLIGHT", "4"},
                            {"HOMEOSTAT_LEASE_RENEW", "1s"},
                            {"HOMEOSTAT_LEASE_TTL", "4s"}}};
};

TEST_F(Connections, CutAtAnyMomentAreMadeAgainAndNothingIsDoneTwice) {
    kit::Process run = homeostat.start({"run"});
    int cuts = 0;
    ASSERT_TRUE(kit::eventually(
        [&] {
            if (cuts < 60) {
                cuts +=
                    std::stoi(db.value("SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE "
                                       "datname = current_database()"
                                       " AND application_name LIKE 'homeostat%' ORDER BY random() LIMIT 1) a"));
            }
            return ready();
        },
        120s))
        << run.output();
    end_whole(run);
    EXPECT_GT(cuts, 10);
    std::printf("%d connections cut\n", cuts);
}

TEST_F(Connections, ALeaseTakenByForceFencesItsHolderAndIsTakenBack) {
    kit::Process a = homeostat.start({"run"});
    kit::Process b = homeostat.start({"run"});
    // A stranger holds it for a moment, in a newer epoch; then nobody does, until one of the two takes it.
    int forced = 0;
    ASSERT_TRUE(kit::eventually(
        [&] {
            if (forced < 10) {
                forced +=
                    std::stoi(db.value("WITH taken AS (UPDATE homeostat.lease SET holder = 'stranger', epoch = epoch + 1,"
                                       " expires_at = clock_timestamp() + interval '100 ms' WHERE holder <> 'stranger'"
                                       " RETURNING 1) SELECT count(*) FROM taken"));
                return false;
            }
            return ready() && db.value("SELECT count(*) FROM homeostat.lease WHERE holder = 'stranger'") == "0";
        },
        120s))
        << forced << " times taken\n"
        << a.output() << b.output();
    // Each time it was taken back in an epoch of its own.
    EXPECT_GE(std::stoi(db.value("SELECT max(epoch) FROM homeostat.lease")), 2 * forced);
    end(a);
    end_whole(b);
}

// What is healed commits without waiting for the disk, so each crash takes some of it back: vectors, claims, and batches whose
// changes are in the feed again.
TEST(Crashes, OfTheDatabaseLoseNoEdit) {
    kit::Cluster cluster;
    kit::FakeEndpoint endpoint({.dimensions = 16, .delay = 5ms});
    kit::Database db(kit::Schema::migrated, cluster);
    db.exec(
        fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                    "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 300) i;"
                    "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('fake', '{}', 'm', 16, 16, 4);"
                    "INSERT INTO homeostat.pipeline (name, source, content, provider, target, drift_interval, sweep_interval)"
                    " VALUES ('docs', 'docs', 'body', 'fake', 'docs_embeddings', '1 day', '30 days')",
                    endpoint.url()));
    kit::Process run =
        kit::Program(db.url(),
                     {{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_CLAIM_TTL", "1h"}, {"HOMEOSTAT_CLAIM_HEARTBEAT", "10m"}})
            .start({"run"});
    const auto eventually_is = [&](const std::string& sql, const std::string& value) {
        return kit::eventually([&] { return db.value(sql) == value; }, 120s);
    };
    const std::string fed =
        "SELECT count(*) FROM homeostat.condition WHERE (type, reason) IN (('ChangeFeed', 'Active'),"
        " ('Ready', 'Converged'))";
    ASSERT_TRUE(eventually_is(fed, "2")) << run.output();
    for (int crash = 0; crash < 4; ++crash) {
        const std::string healed = db.value("SELECT count(*) FROM homeostat_data.p1_r1_journal");
        for (int i = 0; i < 40; ++i)
            db.exec(fmt::format("UPDATE docs SET body = body || ' {}.{}' WHERE id % 40 = {}", crash, i, i));
        // In the middle of it.
        ASSERT_TRUE(
            kit::eventually([&] { return db.value("SELECT count(*) FROM homeostat_data.p1_r1_journal") != healed; }, 60s));
        db.reconnect();
        cluster.stop("immediate");
        cluster.start();
    }
    EXPECT_TRUE(
        eventually_is("SELECT (SELECT count(*) FROM homeostat_data.p1_change) + (SELECT count(*) FROM homeostat.batch)"
                      " + (SELECT count(*) FROM docs s LEFT JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id"
                      "  WHERE d.source_version IS DISTINCT FROM s.xmin)",
                      "0"))
        << run.output();
    EXPECT_TRUE(eventually_is(fed, "2"));
    run.signal(SIGTERM);
    EXPECT_EQ(run.wait(40s).value_or(kit::Exit{}).code, 0) << run.output();
    EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted), IsEmpty());
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

}  // namespace
}  // namespace homeostat
