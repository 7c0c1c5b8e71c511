// The gate itself, before a PostgreSQL: each of its ways to fail is what it says.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat::kit {
namespace {

using Direction = TcpGate::Direction;
using namespace std::chrono_literals;

class Gate : public ::testing::Test {
protected:
    Gate() : gate(db.cluster().folder() + "/.s.PGSQL.5432") { db.exec("CREATE TABLE t (i int)"); }
    std::string url() const {
        return "postgresql://postgres@127.0.0.1:" + std::to_string(gate.port()) + "/" + db.name() + "?application_name=gated";
    }
    bool backends(const std::string& n) {
        return eventually([&] {
            return db.value(
                       "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gated'"
                       " AND datname = current_database()") == n;
        });
    }

    Database db{Schema::empty};
    TcpGate gate;
};

TEST_F(Gate, PassesAndCounts) {
    Sql sql(url());
    EXPECT_EQ(sql.value("SELECT 1"), "1");
    EXPECT_EQ(gate.connections(), 1U);
}

TEST_F(Gate, DelaysAndKeepsTheOrder) {
    Sql sql(url());
    gate.delay(50ms);
    EXPECT_EQ(sql.value("SELECT length(repeat('x', 300000))"), "300000");
    EXPECT_EQ(sql.value("SELECT repeat('x', 300000)"), std::string(300'000, 'x'));
}

TEST_F(Gate, CutsEveryConnection) {
    Sql sql(url());
    gate.cut();
    EXPECT_TRUE(backends("0"));
    EXPECT_THROW(sql.exec("SELECT 1"), std::runtime_error);
    EXPECT_EQ(Sql(url()).value("SELECT 1"), "1");
}

TEST_F(Gate, CutsAfterSoManyBytes) {
    Sql sql(url());
    gate.cut_after(100'000, Direction::down);
    EXPECT_THROW(sql.exec("SELECT repeat('x', 300000)"), std::runtime_error);
    gate.pass();
    EXPECT_EQ(Sql(url()).value("SELECT length(repeat('x', 300000))"), "300000");
}

TEST_F(Gate, TurnsAway) {
    gate.refuse();
    EXPECT_THROW(Sql{url()}, std::runtime_error);
    gate.pass();
    EXPECT_EQ(Sql(url()).value("SELECT 1"), "1");
}

TEST_F(Gate, CutsAtACommitThatArrives) {
    Sql sql(url());
    gate.cut_at_commit(true);
    sql.exec("BEGIN");
    sql.exec("INSERT INTO t VALUES (1)");
    EXPECT_THROW(sql.exec("COMMIT"), std::runtime_error);
    EXPECT_TRUE(backends("0"));
    EXPECT_EQ(db.value("SELECT count(*) FROM t"), "1");
    EXPECT_EQ(gate.commits_cut(), 1U);
    Sql(url()).exec("BEGIN; INSERT INTO t VALUES (2); COMMIT");  // once only
}

TEST_F(Gate, CutsAtACommitThatDoesNotArrive) {
    Sql sql(url());
    gate.cut_at_commit(false);
    sql.exec("BEGIN");
    sql.exec("INSERT INTO t VALUES (1)");
    EXPECT_THROW(sql.exec("COMMIT"), std::runtime_error);
    EXPECT_TRUE(backends("0"));
    EXPECT_EQ(db.value("SELECT count(*) FROM t"), "0");
}

TEST_F(Gate, LeavesTheServerAloneWithAConnection) {
    Sql sql(url());
    gate.half_open(Direction::down);
    EXPECT_THROW(sql.exec("SELECT 1"), std::runtime_error);
    EXPECT_TRUE(backends("1"));
    gate.end_muted();
    EXPECT_TRUE(backends("0"));
}

TEST_F(Gate, LeavesTheClientAloneWithAConnection) {
    Sql sql(url());
    gate.half_open(Direction::up);
    EXPECT_TRUE(backends("0"));
    EXPECT_EQ(Sql(url()).value("SELECT 1"), "1");  // one that comes is as good as any
    std::thread ends([&] {
        pause_briefly();
        gate.end_muted();
    });
    EXPECT_THROW(sql.exec("SELECT 1"), std::runtime_error);  // waits for as long as nobody ends it
    ends.join();
}

TEST_F(Gate, SwallowsWhatIsSent) {
    Sql sql(url());
    gate.mute(Direction::up);
    std::thread ends([&] {
        pause_briefly();
        gate.pass();
        gate.end_muted();
    });
    EXPECT_THROW(sql.exec("INSERT INTO t VALUES (1)"), std::runtime_error);
    ends.join();
    EXPECT_EQ(db.value("SELECT count(*) FROM t"), "0");
}

}  // namespace
}  // namespace homeostat::kit
