// Connections are cut at random moments, also while committing, and lease rows are edited under two replicas' feet: everything
// converges, nothing is written twice, no document is blamed.
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
    end(run);
    expect_whole();
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
    end(b);
    expect_whole();
}

}  // namespace
}  // namespace homeostat
