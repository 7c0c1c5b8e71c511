// Who waits to change what is declared gets his turn between those who write: RowTurns over real locks, on a clock moved by hand.
#include "reconcilers/factory/row_turns.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/control/leases.hpp"
#include "store/pg/lock_holders.hpp"
#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"
#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class RowTurnsOfPipelines : public ::testing::Test {
protected:
    RowTurnsOfPipelines() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target) SELECT 'docs' || i, 'docs', "
            "'body',"
            " 'hashing', 16, 'docs_embeddings' || i FROM generate_series(1, 2) i");
        uid = std::stoll(db.value("SELECT min(uid) FROM homeostat.pipeline"));
        EXPECT_TRUE(acquire_lease(*session, pipeline_lease(uid), "a", 1h).ok());
        holder.exec("BEGIN; SELECT FROM homeostat.pipeline FOR SHARE; SELECT FROM homeostat.lease FOR KEY SHARE");
    }
    ~RowTurnsOfPipelines() override { holder.exec("ROLLBACK"); }
    // Returns once it waits.
    std::jthread wait_with(const std::string& sql) {
        std::jthread waiter([this, sql] { kit::Sql(db.url()).exec(sql); });
        EXPECT_TRUE(kit::eventually([&] {
            return db.value(
                       "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") ==
                   "1";
        }));
        return waiter;
    }
    // As one who writes without pause, each time for long.
    void give_way(std::int64_t pipeline) {
        const RowTurns::Turn other = turns.give_way(*session, pipeline, {});
        for (int i = 0; i < 3; ++i) {
            clock.advance(RowTurns::kLook * 2);
            const RowTurns::Turn turn = turns.give_way(*session, pipeline, {});
        }
    }
    // Does so while time passes; what `sql` says right after. `meanwhile`: once it has been looked for those who wait.
    std::string way_given(const std::string& sql, const std::function<void()>& meanwhile) {
        std::atomic<bool> given = false;
        std::string seen;
        std::jthread writer([&] {
            give_way(uid);
            seen = db.value(sql);
            given = true;
        });
        EXPECT_TRUE(kit::eventually([&] {
            return db.value(
                       "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'homeostat' AND query LIKE '%waited "
                       "AS%'") == "1";
        }));
        EXPECT_FALSE(given);
        meanwhile();
        EXPECT_TRUE(kit::eventually([&] {
            clock.advance(20ms);
            return given.load();
        }));
        return seen;
    }

    kit::Database db;
    kit::SimulatedClock clock;
    RowTurns turns{clock};
    std::unique_ptr<Session> session = *Session::connect({.url = db.url()});
    kit::Sql holder{db.url()};
    std::int64_t uid = 0;
};

TEST_F(RowTurnsOfPipelines, WhoeverSuspendsComesBeforeTheNextWrite) {
    const std::jthread suspends = wait_with(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE uid = {}", uid));
    EXPECT_EQ(way_given(fmt::format("SELECT suspend FROM homeostat.pipeline WHERE uid = {} FOR SHARE", uid),
                        [&] { holder.exec("ROLLBACK"); }),
              "t");
}

TEST_F(RowTurnsOfPipelines, SoDoesAReplicaThatTakesOver) {
    db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp()");
    const std::jthread takes_over = wait_with("UPDATE homeostat.lease SET epoch = epoch + 1, holder = 'b'");
    EXPECT_EQ(*pipelines_waited_for(*session), std::set<std::int64_t>{uid});
    EXPECT_EQ(way_given("SELECT holder FROM homeostat.lease FOR KEY SHARE", [&] { holder.exec("ROLLBACK"); }), "b");
}

TEST_F(RowTurnsOfPipelines, OtherPipelinesAreWrittenMeanwhile) {
    const std::jthread waits = wait_with(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE uid = {}", uid));
    give_way(uid + 1);
    EXPECT_EQ(*pipelines_waited_for(*session), std::set<std::int64_t>{uid}) << "whom it did not wait for";
    holder.exec("ROLLBACK");
}

// Somebody else may hold the row for hours.
TEST_F(RowTurnsOfPipelines, WayIsGivenInVainOnceAndThenNotForAWhile) {
    const std::jthread waits = wait_with(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE uid = {}", uid));
    EXPECT_EQ(way_given(fmt::format("SELECT suspend FROM homeostat.pipeline WHERE uid = {}", uid), [] {}), "f");
    give_way(uid);
    holder.exec("ROLLBACK");
}

// An edit now and then is not to wait for a look.
TEST_F(RowTurnsOfPipelines, WhoWritesNowAndThenDoesNotLook) {
    const std::jthread waits = wait_with(fmt::format("UPDATE homeostat.pipeline SET suspend = true WHERE uid = {}", uid));
    for (int i = 0; i < 5; ++i) {
        {
            const RowTurns::Turn turn = turns.give_way(*session, uid, {});
        }
        clock.advance(RowTurns::kLook);
    }
    EXPECT_EQ(db.value("SELECT suspend FROM homeostat.pipeline ORDER BY uid LIMIT 1"), "f");
    holder.exec("ROLLBACK");
}

}  // namespace
}  // namespace homeostat
