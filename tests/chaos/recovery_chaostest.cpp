// Replicas die and stop: what they had is taken over at once, documents that had no part in it are never blamed, and one that
// ends every process which works on it is singled out.
#include <array>
#include <optional>

#include "tests/chaos/recovery_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

using ::testing::IsEmpty;

class Recovery : public RecoveryWorld {
protected:
    // As of a replica on another machine: its process cannot be looked for.
    void move_away() { db.exec("UPDATE homeostat.replica SET process_space = 'elsewhere ' || id WHERE ended_at IS NULL"); }
    std::string owner() { return db.value("SELECT holder FROM homeostat.lease WHERE resource LIKE 'pipeline/%'"); }
};

TEST_F(Recovery, AReplicaStartedAfterAKillGoesOnWhereTheDeadOneWas) {
    make(600);
    kit::Process first = program(kForever).start({"run"});
    ASSERT_TRUE(has_stored(100)) << first.output();
    kill(first);
    EXPECT_GT(number("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL"), 0);
    const kit::Program::Outcome second = program(kForever).run_once();
    EXPECT_EQ(second.exit.code, 0) << second.output;
    expect_whole();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.replica WHERE ended_at IS NULL"), "0");
}

TEST_F(Recovery, AReplicaOfTheSameNameTakesOverFromItsPredecessor) {
    make(600);
    const kit::Environment named{{"HOMEOSTAT_REPLICA_NAME", "homeostat-0"}};
    kit::Environment all = kForever;
    all.insert(named.begin(), named.end());
    kit::Process first = program(all).start({"run"});
    ASSERT_TRUE(has_stored(100)) << first.output();
    move_away();
    kill(first);
    const kit::Program::Outcome second = program(all).run_once();
    EXPECT_EQ(second.exit.code, 0) << second.output;
    expect_whole();
}

TEST_F(Recovery, ADeadReplicaOfAnotherMachineIsKnownByItsSession) {
    make(1'000);
    kit::Process first = program(kForever).start({"run"});
    ASSERT_TRUE(has_stored(50)) << first.output();
    kit::Process second = program(kForever).start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.replica WHERE ended_at IS NULL", "2"));
    move_away();
    kill(first);
    EXPECT_TRUE(converged()) << second.output();
    end_whole(second);
}

TEST_F(Recovery, BehindAPoolerAReplicaThatSaysNothingIsTakenOverFromWithinALease) {
    make(1'000);
    kit::Process first = program({{"HOMEOSTAT_CLAIM_TTL", "1h"}}).start({"run"});
    ASSERT_TRUE(has_stored(50)) << first.output();
    move_away();
    db.exec("UPDATE homeostat.replica SET backend_pid = NULL");
    kill(first);
    kit::Process second = program({{"HOMEOSTAT_CLAIM_TTL", "1h"}}).start({"run"});
    EXPECT_TRUE(converged()) << second.output();
    end_whole(second);
    // Nobody knows that it died, so nothing is blamed.
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE deaths > 0 OR marks > 0"), "0");
}

TEST_F(Recovery, AStoppedOwnerIsTakenOverFromAndItsLateWritesAreRefused) {
    make(1'500);
    kit::Process first = program().start({"run"});
    ASSERT_TRUE(has_stored(50)) << first.output();
    first.signal(SIGSTOP);
    kit::Process second = program().start({"run"});
    EXPECT_TRUE(converged()) << second.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 50");
    EXPECT_TRUE(follows()) << second.output();
    first.signal(SIGCONT);
    db.exec("UPDATE docs SET body = 'Edited again ' || id WHERE id <= 50");
    EXPECT_TRUE(follows()) << first.output() << second.output();
    end(first);
    end_whole(second);
}

// Whoever holds a lease row under a write that does not end.
TEST_F(Recovery, NobodyWaitsForTheLeaseOfALivingOwner) {
    make(50);
    kit::Process first = program(kForever).start({"run"});
    ASSERT_TRUE(converged()) << first.output();
    kit::Sql writer(db.url());
    writer.exec("BEGIN; SELECT * FROM homeostat.lease FOR SHARE");
    kit::Process second = program(kForever).start({"run"});
    const int port = port_of(second);
    EXPECT_TRUE(kit::eventually([&] { return is_ready(port); }));
    // It has asked for the lease and was not kept waiting: no session waits for a lock.
    EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.replica WHERE ended_at IS NULL AND snapshot IS NOT NULL", "t"));
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'homeostat-lease'"
                           " AND datname = current_database() AND wait_event_type = 'Lock'"),
                  "0");
        kit::pause_briefly();
    }
    writer.exec("COMMIT");
    end(second);
    end(first);
}

TEST_F(Recovery, KillsOfManyReplicasBlameNoDocument) {
    make(3'000);
    std::array<std::optional<kit::Process>, 3> replicas;
    for (auto& r : replicas) r.emplace(program(kForever).start({"run"}));
    ASSERT_TRUE(has_stored(16));
    for (std::size_t kills = 0; kills < 18; ++kills) {
        const std::int64_t before = stored();
        db.exec(fmt::format("UPDATE docs SET body = body || '.' WHERE id % 100 = {}", kills));
        // In the middle of something.
        kit::eventually([&] { return stored() > before; }, 2s);
        kill(*replicas[kills % 3]);
        replicas[kills % 3].emplace(program(kForever).start({"run"}));
    }
    EXPECT_TRUE(converged()) << replicas[0]->output();
    EXPECT_TRUE(follows());
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history WHERE outcome = 'dead_letter'"), "0");
    for (auto& r : replicas) end(*r);
    expect_whole();
}

TEST_F(Recovery, ADocumentThatEndsEveryProcessIsSingledOutAndTheRestGoOn) {
    make(400);
    db.exec("UPDATE docs SET body = 'The poison' WHERE id = 77");
    endpoint.when_text("poison", {.delay = 20s});
    std::optional<kit::Process> run(program(kForever).start({"run"}));
    int deaths = 0;
    std::size_t seen = 0;
    const auto poisoned = [&] {
        std::size_t n = 0;
        for (const kit::FakeRequest& r : endpoint.requests()) {
            for (const std::string& text : r.texts) n += text.find("poison") != std::string::npos ? 1 : 0;
        }
        return n;
    };
    const bool singled = kit::eventually(
        [&] {
            if (const std::size_t now = poisoned(); now > seen) {
                seen = now;
                kill(*run);
                ++deaths;
                run.emplace(program(kForever).start({"run"}));
            }
            return ask("SELECT count(*) FROM homeostat.dead_letter") == "1";
        },
        150s);
    EXPECT_TRUE(singled) << deaths << " deaths\n" << run->output();
    EXPECT_LE(deaths, 12);
    EXPECT_EQ(db.value("SELECT key::text FROM homeostat.dead_letter"), "{77}");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings", "399")) << run->output();
    end(*run);
}

// Under suspicion are whole batches, and they are done in turns with all others.
TEST_F(Recovery, SuspectsDoNotHoldUpTheRest) {
    make(1'600);
    endpoint.withhold();
    kit::Process first = program(kForever).start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) > 20 FROM homeostat.batch", "t")) << first.output();
    kill(first);
    db.exec("UPDATE homeostat.batch SET marks = 3 WHERE id % 2 = 0");
    endpoint.release();
    kit::Process second = program(kForever).start({"run"});
    EXPECT_TRUE(converged()) << second.output();
    end_whole(second);
    // Cleared in one go each: nothing was cut.
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch_history WHERE outcome <> 'done'"), "0");
    EXPECT_EQ(db.value("SELECT min(documents) FROM homeostat.batch_history"), "16");
}

TEST_F(Recovery, StoppedUnderLoadNothingIsChargedAndNothingLost) {
    make(2'000);
    kit::Process first = program({{"HOMEOSTAT_DRAIN_BUDGET", "100ms"}}).start({"run"});
    ASSERT_TRUE(has_stored(50)) << first.output();
    endpoint.withhold();
    ASSERT_TRUE(eventually_is("SELECT count(*) >= 4 FROM homeostat.batch WHERE claim_token IS NOT NULL", "t"));
    end(first);
    EXPECT_THAT(db.query("SELECT id, kind, attempts, deaths, marks, last_error FROM homeostat.batch"
                         " WHERE claim_token IS NOT NULL OR attempts > 0 OR deaths > 0 OR marks > 0"),
                IsEmpty())
        << first.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.lease WHERE expires_at > clock_timestamp()"), "0");
    endpoint.release();
    const kit::Program::Outcome second = program(kForever).run_once();
    EXPECT_EQ(second.exit.code, 0) << second.output;
    expect_whole();
}

}  // namespace
}  // namespace homeostat
