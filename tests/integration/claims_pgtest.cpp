// Who may claim what, and who is blamed for the death of a replica: rows of leases, batches and replicas, and the store's
// statements over them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "store/control/batches.hpp"
#include "store/control/leases.hpp"
#include "store/control/replicas.hpp"
#include "store/feed/feed.hpp"
#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"

namespace homeostat {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class Claims : public ::testing::Test {
protected:
    Claims() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
            " VALUES ('docs', 'docs', 'body', 'hashing', 16, 'docs_embeddings')");
        uid = std::stoll(db.value("SELECT uid FROM homeostat.pipeline"));
    }
    std::unique_ptr<Session> connect() { return *Session::connect({.url = db.url()}); }
    std::string lease() const { return pipeline_lease(uid); }
    void own(const std::string& replica) { ASSERT_TRUE(*acquire_lease(*session, lease(), replica, 1h)); }
    void plan(int batches, int documents = 1) {
        db.exec(fmt::format(
            "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, kind, class, priority, keys, documents)"
            " SELECT {}, 1, p.generation, l.epoch, 1, 'heal', 'missing', 0, ARRAY[ARRAY['1']], {}"
            " FROM homeostat.pipeline p, homeostat.lease l, generate_series(1, {})",
            uid, documents, batches));
    }
    std::vector<Batch> claim(const std::string& replica, int limit, bool suspects = false) {
        return *claim_batches(*session, replica, limit, 1h, suspects);
    }
    // A replica that is seen to have died.
    int die(const std::string& replica) {
        EXPECT_TRUE(register_replica(*session, replica, {.host = "h", .pid = 1, .space = "elsewhere", .start = 1}));
        const Result<std::vector<ReplicaSight>> sights = look_at_replicas(*session, "me", 1h);
        for (const ReplicaSight& sight : *sights) {
            if (sight.id == replica) return *rescue_from(*session, sight);
        }
        return -1;
    }
    std::string blame() { return db.value("SELECT string_agg(deaths || '/' || marks, ' ' ORDER BY id) FROM homeostat.batch"); }
    void ready() { db.exec("UPDATE homeostat.batch SET run_after = clock_timestamp()"); }

    kit::Database db;
    std::unique_ptr<Session> session = connect();
    std::int64_t uid = 0;
};

TEST_F(Claims, AreOfBatchesOfTheLeasesEpochOnly) {
    own("a");
    plan(3);
    db.exec("UPDATE homeostat.batch SET epoch = 0 WHERE id = 2");
    EXPECT_THAT(claim("a", 10), SizeIs(2));
}

TEST_F(Claims, OfARunThatPlannedFewDocumentsOneIsTakenAtATime) {
    own("a");
    plan(4, 10);
    db.exec(
        fmt::format("INSERT INTO homeostat.run (id, uid, revision, generation, reconcile_id, trigger, deep, planned_in_sweep)"
                    " VALUES (1, {}, 1, 1, 'r', 'spec', false, 40)",
                    uid));
    const auto claim_from = [&](std::int64_t parallel_from) {
        return *claim_batches(*session, "a", 10, 1h, false, {}, parallel_from);
    };
    const auto give_back = [&](const std::string& more = "") {
        db.exec("UPDATE homeostat.batch SET claim_token = NULL, claimed_by = NULL, claim_expires_at = NULL" + more);
    };
    // How many there will be is not known before the sweep is complete.
    EXPECT_THAT(claim_from(41), SizeIs(4));
    give_back();
    db.exec("UPDATE homeostat.run SET phase = 'healing'");
    EXPECT_THAT(claim_from(40), SizeIs(4));
    give_back();
    const std::vector<Batch> first = claim_from(41);
    ASSERT_THAT(first, SizeIs(1));
    EXPECT_THAT(claim_from(41), IsEmpty());
    // One that failed and waits keeps no other waiting.
    give_back(", run_after = clock_timestamp() + interval '1 hour' WHERE claim_token IS NOT NULL");
    ASSERT_THAT(claim_from(41), SizeIs(1));
    db.exec("DELETE FROM homeostat.batch WHERE claim_token IS NOT NULL");
    EXPECT_THAT(claim_from(41), SizeIs(1));
    EXPECT_THAT(claim_from(0), SizeIs(1));
}

TEST_F(Claims, ATakeoverAdoptsWhatWasPlannedAndClaimedBefore) {
    own("a");
    plan(4);
    const std::vector<Batch> before = claim("c", 1);
    db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp()");
    own("b");
    EXPECT_EQ(db.value("SELECT string_agg(DISTINCT epoch::text, ',') FROM homeostat.batch"), "2");
    // What another replica works on may be written under the new owner, and is not done again.
    EXPECT_TRUE(guarded([&] {
        Transaction tx = session->begin();
        fence_batch(tx, before.front());
        finish_batch(tx, before.front(), "c", {});
        tx.commit();
    }));
    EXPECT_THAT(claim("e", 10), SizeIs(3));
}

// As it is fenced, so as its owner stopped.
TEST_F(Claims, ATakeoverIsNotHeldUpByABatchThatIsBeingWritten) {
    own("a");
    plan(2);
    db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp()");
    kit::Sql writer(db.url());
    writer.exec("BEGIN; SELECT * FROM homeostat.batch WHERE id = 1 FOR UPDATE");
    own("b");
    EXPECT_EQ(db.value("SELECT string_agg(epoch::text, ',' ORDER BY id) FROM homeostat.batch"), "1,2");
    writer.exec("ROLLBACK");
}

// Where many write one after the other there is no moment at which nobody holds the row.
TEST_F(Claims, ARenewalWaitsForNobodyWhoWritesUnderTheLease) {
    own("a");
    plan(1);
    db.exec("INSERT INTO homeostat.feed (uid, fingerprint) SELECT uid, '' FROM homeostat.pipeline");
    const Batch batch = claim("c", 1).front();
    const std::unique_ptr<Session> impatient = *Session::connect({.url = db.url(), .lock_timeout_ms = 1});
    const std::unique_ptr<Session> planner = connect();
    EXPECT_TRUE(guarded([&] {
        Transaction written = session->begin();
        fence_batch(written, batch);
        written.exec("SELECT 1");
        Transaction planned = planner->begin();
        hold_lease(planned, lease(), 1);
        EXPECT_TRUE(feed_gate(planned, uid, 1).kept);
        EXPECT_THAT(*renew_leases(*impatient, "a", 1h), SizeIs(1));
        const auto again = acquire_lease(*impatient, lease(), "a", 1h);
        ASSERT_TRUE(again.ok() && *again) << "it is not waited for either by who asks for its own";
        EXPECT_EQ((*again)->epoch, 1);
        // A takeover waits, and those who hold the lease find it as it was.
        db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp()");
        EXPECT_FALSE(acquire_lease(*impatient, lease(), "b", 1h).ok());
        written.commit();
        EXPECT_FALSE(acquire_lease(*impatient, lease(), "b", 1h).ok());
        planned.commit();
    }));
    EXPECT_EQ((*acquire_lease(*impatient, lease(), "b", 1h))->epoch, 2);
    EXPECT_EQ(guarded([&] {
                  Transaction late = planner->begin();
                  hold_lease(late, lease(), 1);
                  late.commit();
              })
                  .error()
                  .cls,
              ErrorClass::fenced);
}

// A long write holds its own row, and no other batch's heartbeat.
TEST_F(Claims, AHeartbeatWaitsForNobodyWhoWrites) {
    own("a");
    plan(3);
    const std::vector<Batch> claimed = claim("c", 2);
    ASSERT_THAT(claimed, SizeIs(2));
    db.exec("UPDATE homeostat.batch SET claim_expires_at = clock_timestamp() WHERE claimed_by IS NOT NULL");
    const std::unique_ptr<Session> impatient = *Session::connect({.url = db.url(), .lock_timeout_ms = 1});
    kit::Sql writer(db.url());
    writer.exec("BEGIN");
    writer.exec(fmt::format("SELECT * FROM homeostat.batch WHERE id = {} FOR UPDATE", claimed.front().id));
    const auto alive =
        heartbeat_batches(*impatient, {claimed[0].id, claimed[1].id, 3}, {claimed[0].token, claimed[1].token, 99}, 1h);
    ASSERT_TRUE(alive.ok()) << alive.error().message;
    EXPECT_THAT(*alive, ::testing::UnorderedElementsAre(claimed[0].id, claimed[1].id)) << "what is being written is ours still";
    writer.exec("ROLLBACK");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE claim_expires_at > clock_timestamp() + interval '50 minutes'"),
              "1");
}

// What is committed while the takeover waits for it is not in what its first statement sees.
TEST_F(Claims, ATakeoverAdoptsWhatWasPlannedWhileItWaited) {
    own("a");
    kit::Sql planner(db.url());
    planner.exec("BEGIN; SELECT FROM homeostat.lease FOR KEY SHARE");
    db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp()");
    std::future<void> takeover = std::async(std::launch::async, [this] { own("b"); });
    EXPECT_TRUE(kit::eventually([&] {
        return db.value(
                   "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") ==
               "1";
    }));
    planner.exec(
        "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, kind, class, priority, keys, documents)"
        " SELECT uid, 1, generation, 1, 1, 'heal', 'missing', 0, ARRAY[ARRAY['1']], 1 FROM homeostat.pipeline; COMMIT");
    takeover.get();
    EXPECT_EQ(db.value("SELECT epoch FROM homeostat.batch"), "2");
    EXPECT_THAT(claim("b", 10), SizeIs(1));
}

TEST_F(Claims, ALeaseThatNobodyHadIsTakenByOneOfThoseWhoAsk) {
    const std::unique_ptr<Session> other = connect();
    std::future<bool> first =
        std::async(std::launch::async, [&] { return acquire_lease(*other, lease(), "a", 1h)->has_value(); });
    const bool second = acquire_lease(*session, lease(), "b", 1h)->has_value();
    EXPECT_NE(first.get(), second);
    EXPECT_EQ(db.value("SELECT epoch FROM homeostat.lease"), "1");
}

TEST_F(Claims, WhatABatchHasCostGoesWithIt) {
    own("a");
    plan(1);
    Batch first = claim("r", 1).front();
    first.tokens = 50;
    first.wasted_tokens = 20;
    first.saved_tokens = 5;  // and again by the claim after it: only that of the last one counts
    ASSERT_TRUE(release_batch(*session, first, true, 0ms, "the write failed"));
    Batch again = claim("r", 1).front();
    again.tokens = 7;
    again.saved_tokens = 6;
    EXPECT_TRUE(guarded([&] {
        Transaction tx = session->begin();
        fence_batch(tx, again);
        finish_batch(tx, again, "r", {});
        tx.commit();
    }));
    EXPECT_EQ(db.value("SELECT tokens || ' ' || wasted_tokens || ' ' || saved_tokens FROM homeostat.batch_history"), "57 20 6");
}

TEST_F(Claims, TheOnlyBatchInFlightIsBlamed) {
    own("a");
    plan(3);
    claim("r", 1);
    EXPECT_EQ(die("r"), 1);
    EXPECT_EQ(blame(), "1/0 0/0 0/0");
    EXPECT_THAT(claim("s", 10), SizeIs(2)) << "it is tried alone, and not at once";
    EXPECT_FALSE(*suspects_wait(*session, {}));
    ready();
    EXPECT_TRUE(*suspects_wait(*session, {}));
    EXPECT_THAT(claim("s", 10, true), SizeIs(1));
}

TEST_F(Claims, BatchesThatWereInFlightTogetherAreMarkedAndNotBlamed) {
    own("a");
    plan(3);
    for (int death = 1; death <= 3; ++death) {
        ASSERT_THAT(claim("r", 2), SizeIs(2));
        EXPECT_EQ(die("r"), 2);
    }
    EXPECT_EQ(blame(), "0/3 0/3 0/0");
    EXPECT_THAT(claim("s", 10), SizeIs(1));
    EXPECT_THAT(claim("s", 10, true), SizeIs(2)) << "at once: whoever marked them may have been anybody";
}

TEST_F(Claims, ADeathWithoutItClearsADocument) {
    own("a");
    plan(3);
    claim("r", 1);
    die("r");
    ready();
    claim("r", 1, true);
    die("r");
    EXPECT_EQ(blame(), "2/0 0/0 0/0");
    die("idle");
    EXPECT_EQ(blame(), "0/0 0/0 0/0");
}

TEST_F(Claims, TwoDocumentsThatEndReplicasDoNotClearEachOther) {
    own("a");
    plan(2);
    for (int death = 1; death <= 3; ++death) {
        for (const int id : {1, 2}) {
            db.exec(fmt::format(
                "UPDATE homeostat.batch SET run_after = CASE WHEN id = {} THEN clock_timestamp() ELSE 'infinity' END", id));
            claim("r", 1, death > 1);
            die("r");
        }
    }
    EXPECT_EQ(blame(), "3/0 3/0");
}

TEST_F(Claims, WhatExpiredOrBelongedToASilentReplicaIsReturnedWithoutBlame) {
    own("a");
    plan(3);
    claim("r", 1);
    claim("s", 1);
    claim("t", 1);
    ASSERT_TRUE(register_replica(*session, "s", {}));
    ASSERT_TRUE(register_replica(*session, "t", {}));
    db.exec("UPDATE homeostat.batch SET claim_expires_at = clock_timestamp() WHERE claimed_by = 'r'");
    db.exec("UPDATE homeostat.replica SET heartbeat_at = clock_timestamp() - interval '1 minute' WHERE id = 's'");
    EXPECT_EQ(*rescue_silent(*session, 30s), 2);
    EXPECT_EQ(db.value("SELECT string_agg(claimed_by, ',') FROM homeostat.batch"), "t");
    EXPECT_EQ(blame(), "0/0 0/0 0/0");
}

TEST_F(Claims, PartsOfASuspectStayUnderSuspicionButStartWithoutBlame) {
    own("a");
    plan(1, 2);
    db.exec("UPDATE homeostat.batch SET deaths = 1, keys = ARRAY[ARRAY['1', '2']]");
    const std::vector<Batch> claimed = claim("r", 1, true);
    ASSERT_THAT(claimed, SizeIs(1));
    ASSERT_TRUE(guarded([&] {
        Transaction tx = session->begin();
        fence_batch(tx, claimed.front());
        insert_rest(tx, claimed.front(), {{{"1"}}, {{"2"}}}, 0, 0ms, "");
        finish_batch(tx, claimed.front(), "r", {});
        tx.commit();
    }));
    EXPECT_EQ(blame(), "0/3 0/3");
}

TEST_F(Claims, ASessionThatEndedTellsOfADeathUnlessTheServerStartedSince) {
    const auto sight = [&]() -> ReplicaSight {
        const auto all = *look_at_replicas(*session, "me", 1h);
        return all.empty() ? ReplicaSight{} : all.front();
    };
    std::unique_ptr<Session> other = connect();
    const ProcessMark mark{.host = "h", .pid = 1, .space = "elsewhere", .start = 1};
    ASSERT_TRUE(register_replica(*other, "r", mark));
    EXPECT_EQ(sight().server, other->server());
    EXPECT_FALSE(sight().session_ended);
    other.reset();
    EXPECT_TRUE(kit::eventually([&] { return sight().session_ended; }));
    db.exec("UPDATE homeostat.replica SET backend_start = 1");
    EXPECT_FALSE(sight().session_ended);
    db.exec("UPDATE homeostat.replica SET backend_pid = NULL");
    EXPECT_FALSE(sight().session_ended);
    ASSERT_TRUE(retire_replica(*session, "r", mark));
    EXPECT_THAT(*look_at_replicas(*session, "me", 1h), IsEmpty());
}

TEST_F(Claims, OneThatRetiresTakesItsRowAndLeavesWhatItHeldToOthers) {
    own("r");
    plan(2);
    const ProcessMark mark{.host = "h", .pid = 1, .space = "elsewhere", .start = 1};
    ASSERT_TRUE(register_replica(*session, "r", mark));
    claim("r", 2);
    // Whoever goes by that name now is another process.
    ASSERT_TRUE(retire_replica(*session, "r", {.host = "h", .pid = 2, .space = "elsewhere", .start = 2}));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica"), "1");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE claimed_by = 'r'"), "2");
    ASSERT_TRUE(retire_replica(*session, "r", mark));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NULL AND claimed_by IS NULL"), "2");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.lease WHERE expires_at > clock_timestamp()"), "0");
    EXPECT_EQ(blame(), "0/0 0/0");
}

TEST_F(Claims, OneThatRegisteredAgainSinceItWasSeenIsNotRescuedFrom) {
    std::unique_ptr<Session> first = connect();
    const ProcessMark mark{.host = "h", .pid = 1, .space = "elsewhere", .start = 1};
    ASSERT_TRUE(register_replica(*first, "r", mark));
    const ReplicaSight seen = look_at_replicas(*session, "me", 1h)->front();
    const std::unique_ptr<Session> second = connect();
    own("r");
    plan(1);
    claim("r", 1);
    ASSERT_TRUE(register_replica(*second, "r", mark));
    EXPECT_EQ(*rescue_from(*session, seen), 0);
    EXPECT_EQ(db.value("SELECT claimed_by FROM homeostat.batch"), "r");
    EXPECT_EQ(db.value("SELECT expires_at > clock_timestamp() FROM homeostat.lease"), "t");
}

TEST(Processes, AreFoundAndMissed) {
    const ProcessMark here = this_process();
    EXPECT_FALSE(process_ended(here));
    ProcessMark earlier = here;
    --earlier.start;
    EXPECT_TRUE(process_ended(earlier)) << "another of the same number";
    ProcessMark nobody = here;
    nobody.pid = 1 << 30;
    EXPECT_TRUE(process_ended(nobody));
}

}  // namespace
}  // namespace homeostat
