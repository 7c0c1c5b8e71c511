// The database falls silent, goes away, fills up, takes no writes, or is of another schema for a while: the program says that it
// is not ready, pays for nothing that it could not store, ends when it is asked to, and goes on when the database is back.
#include "tests/chaos/recovery_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class Silence : public RecoveryWorld {
protected:
    kit::TcpGate gate{socket_of(db.cluster())};
};

TEST_F(Silence, OfAllConnectionsIsNoticedAndOthersAreMade) {
    make(60);
    kit::Process run = program({}, url_through(gate)).start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    const int port = port_of(run);
    ASSERT_TRUE(kit::eventually([&] { return is_ready(port); }));
    // Those there are never answer again; new ones would.
    gate.mute();
    EXPECT_TRUE(kit::eventually([&] { return !is_ready(port); })) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    gate.pass();
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(kit::eventually([&] { return is_ready(port); }));
    end_whole(run);
}

TEST_F(Silence, InOneDirectionIsNoticedToo) {
    make(60);
    kit::Process run = program({}, url_through(gate)).start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    for (const kit::TcpGate::Direction direction : {kit::TcpGate::Direction::up, kit::TcpGate::Direction::down}) {
        gate.mute(direction);
        kit::eventually([] { return false; }, 300ms);
        gate.pass();
        db.exec("UPDATE docs SET body = body || ' and more'");
        EXPECT_TRUE(follows()) << run.output();
    }
    end_whole(run);
}

TEST_F(Silence, DoesNotKeepTheProgramFromStopping) {
    make(400);
    kit::Process run = program({{"HOMEOSTAT_DRAIN_BUDGET", "3s"}}, url_through(gate)).start({"run"});
    ASSERT_TRUE(has_stored(32)) << run.output();
    gate.mute();
    end(run);
}

// A statement that the server works on is no silence, however long it takes.
TEST_F(Silence, IsNotWhatAServerAtWorkIsTakenFor) {
    make(30);
    kit::Process run = program({}, url_through(gate)).start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    const std::uint64_t before = gate.connections();
    kit::Sql locker(db.url());
    // Every look at what is declared waits for this.
    locker.exec("BEGIN; LOCK TABLE homeostat.pipeline IN ACCESS EXCLUSIVE MODE");
    EXPECT_TRUE(kit::eventually([&] { return gate.connections() >= before + 2; })) << "nobody asked after the statement";
    EXPECT_EQ(run.output().find("fell silent"), std::string::npos);
    locker.exec("COMMIT");
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(run.output().find("fell silent"), std::string::npos) << run.output();
    end(run);
}

// A database of its own, which may be stopped.
class OwnCluster : public RecoveryWorld {
protected:
    void make_own(int documents, int max_batch = 16) {
        own.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i;"
                        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                        " VALUES ('fake', '{}', 'm', 16, {}, 2);"
                        "INSERT INTO homeostat.pipeline (name, source, content, provider, target)"
                        " VALUES ('docs', 'docs', 'body', 'fake', 'docs_embeddings')",
                        documents, endpoint.url(), max_batch));
    }
    std::string own_ask(const std::string& sql) {
        try {
            return own.value(sql);
        } catch (const std::exception&) {
            own.reconnect();
            return "";
        }
    }
    bool own_converged() {
        return kit::eventually(
            [&] { return own_ask("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines") == "Current0"; }, 90s);
    }
    bool own_has_stored(int n) {
        return kit::eventually(
            [&] {
                return own_ask("SELECT to_regclass('docs_embeddings') IS NOT NULL") == "t" &&
                       std::stoi(own_ask("SELECT count(*) FROM docs_embeddings")) >= n;
            },
            60s);
    }

    kit::Cluster cluster;
    kit::Database own{kit::Schema::migrated, cluster};
};

TEST_F(OwnCluster, ARunWaitsForItsDatabase) {
    make_own(40);
    own.reconnect();
    cluster.stop("fast");
    kit::Process run = program({}, own.url()).start({"run"});
    const int port = [&] {
        int p = 0;
        kit::eventually([&] { return (p = port_of(run)) != 0; });
        return p;
    }();
    ASSERT_NE(port, 0) << run.output();
    EXPECT_TRUE(http_get(port, "/readyz").find(" 503 ") != std::string::npos);
    kit::Process other = program({}, own.url()).start({"run"});
    ASSERT_NE(port_of(other), 0);
    end(other);  // while it waits
    EXPECT_EQ(program({{"HOMEOSTAT_DATABASE_START_TIMEOUT", "0"}}, own.url()).run_once().exit.code, 2);
    ASSERT_TRUE(run.running()) << run.output();
    cluster.start();
    EXPECT_TRUE(own_converged()) << run.output();
    EXPECT_TRUE(kit::eventually([&] { return is_ready(port); }));
    end(run);
}

TEST_F(OwnCluster, AReplicaGoesOnSoonAfterItsDatabaseIsBack) {
    make_own(600);
    kit::Process run =
        program({{"HOMEOSTAT_LOOP_BACKOFF_CAP", "1h"}, {"HOMEOSTAT_LOOP_BACKOFF_BASE", "1m"}, {"HOMEOSTAT_CLAIM_TTL", "1h"}},
                own.url())
            .start({"run"});
    ASSERT_TRUE(own_has_stored(50)) << run.output();
    for (const char* mode : {"fast", "immediate"}) {
        own.reconnect();
        cluster.stop(mode);
        const int port = port_of(run);
        EXPECT_TRUE(kit::eventually([&] { return !is_ready(port); }));
        cluster.start();
        own_ask("UPDATE docs SET body = body || '!' WHERE id % 2 = 0");
    }
    EXPECT_TRUE(own_converged()) << run.output();
    EXPECT_EQ(own.value("SELECT count(*) FROM homeostat.batch WHERE deaths > 0 OR marks > 0"), "0");
    EXPECT_EQ(own.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    end(run);
}

TEST_F(OwnCluster, ThatTakesNoWritesIsPaidNothingFor) {
    make_own(2'000);
    kit::Process run = program({{"HOMEOSTAT_CLAIM_TTL", "1h"}}, own.url()).start({"run"});
    ASSERT_TRUE(own_has_stored(50)) << run.output();
    own.exec("ALTER SYSTEM SET default_transaction_read_only = on");
    own.exec("SELECT pg_reload_conf()");
    // What was in flight comes to its end; then nothing is asked any more.
    std::uint64_t asked = 0;
    int quiet = 0;
    EXPECT_TRUE(kit::eventually([&] {
        quiet = endpoint.texts() == asked ? quiet + 1 : 0;
        asked = endpoint.texts();
        return quiet > 100;
    })) << run.output();
    EXPECT_LT(asked, 1'000U);
    own.reconnect();
    own.exec("SET default_transaction_read_only = off");
    own.exec("ALTER SYSTEM RESET default_transaction_read_only");
    own.exec("SELECT pg_reload_conf()");
    EXPECT_TRUE(own_converged()) << run.output();
    end(run);
    EXPECT_EQ(own.value("SELECT count(*) FROM homeostat.batch_history WHERE outcome <> 'done'"), "0");
    EXPECT_EQ(own.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    // What was paid for and could not be written is used after.
    EXPECT_LE(endpoint.texts(), 2'000U + 8 * 16);
}

class Full : public RecoveryWorld {
protected:
    // As of a disk that has no room for another page of vectors.
    void fill_up() {
        db.exec(
            "CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER no_room BEFORE INSERT ON homeostat_data.p1_r1_chunk EXECUTE FUNCTION public.no_room()");
    }
};

TEST_F(Full, DiskStopsEmbeddingBeforeItIsPaidFor) {
    make(2'000);
    kit::Process run = program({{"HOMEOSTAT_CLAIM_TTL", "1h"}}).start({"run"});
    ASSERT_TRUE(has_stored(50)) << run.output();
    fill_up();
    const int port = port_of(run);
    EXPECT_TRUE(kit::eventually([&] {
        return http_get(port, "/metrics").find("homeostat_writes_paused 1") != std::string::npos;
    })) << run.output();
    // Each try costs a batch at most, and comes later than the one before.
    const std::uint64_t asked = endpoint.texts();
    kit::eventually([] { return false; }, 5s);
    EXPECT_LE(endpoint.texts(), asked + 4 * 16 + 4 * 16);
    db.exec("DROP TRIGGER no_room ON homeostat_data.p1_r1_chunk");
    EXPECT_TRUE(converged()) << run.output();
    end_whole(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE attempts > 0"), "0");
    EXPECT_LE(endpoint.texts(), 2'000U + 16 * 16);
}

TEST_F(Full, ASchemaMigratedAwayIsWaitedFor) {
    make(40);
    kit::Process run = program().start({"run"});
    ASSERT_TRUE(converged()) << run.output();
    const int port = port_of(run);
    const std::string newest = db.value("SELECT max(number) FROM homeostat.migration");
    for (const std::string& to : {std::to_string(std::stoi(newest) - 1), std::string("4")}) {
        const auto down = program().run({"migrate", "down", "--to", to, "--yes"});
        ASSERT_EQ(down.exit.code, 0) << down.output;
        EXPECT_TRUE(kit::eventually([&] { return http_get(port, "/readyz").find("homeostat migrate up") != std::string::npos; }))
            << run.output();
        ASSERT_TRUE(run.running());
        ASSERT_EQ(program().run({"migrate", "up"}).exit.code, 0);
        EXPECT_TRUE(kit::eventually([&] { return is_ready(port); })) << run.output();
        // Where others may declare too, nobody knows any more who declared it.
        db.exec("UPDATE homeostat.pipeline SET declared_by = current_user WHERE declared_by IS NULL");
        db.exec("UPDATE docs SET body = body || ' after ' || " + to);
        ASSERT_EQ(program().run({"reconcile", "docs"}).exit.code, 0);
        EXPECT_TRUE(follows()) << run.output();
    }
    end(run);
}

}  // namespace
}  // namespace homeostat
