// Who plans what: one owner a resource, and a standby that knows of a thousand others' leases by one statement.
#include "controller/election.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

kit::Cluster& counting_cluster() {
    static kit::Cluster cluster({"shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top"});
    return cluster;
}

class ElectionCase : public ::testing::Test {
protected:
    ElectionCase() { db.exec("CREATE EXTENSION pg_stat_statements"); }

    Election replica(const std::string& name) { return {options(), {.replica = name}, clock, metrics}; }
    ConnectOptions options() {
        ConnectOptions o;
        o.url = db.url();
        return o;
    }
    std::int64_t statements(const std::string& like) {
        return std::stoll(
            db.value("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE"
                     " datname = current_database()) AND query LIKE '%" +
                     like + "%'"));
    }

    kit::Database db{kit::Schema::migrated, counting_cluster()};
    SystemClock clock;
    Registry metrics;
    std::unique_ptr<Session> session = *Session::connect(options());
};

TEST_F(ElectionCase, AStandbyAsksOnceForAllThatOthersHold) {
    Election owner = replica("a");
    Election standby = replica("b");
    for (int i = 1; i <= 50; ++i) {
        ASSERT_TRUE(*owner.own(pipeline_lease(i)));
        EXPECT_FALSE(*standby.own(pipeline_lease(i)));
    }
    const std::int64_t before = statements("homeostat.lease");
    for (int round = 0; round < 3; ++round) {
        for (int i = 1; i <= 50; ++i) EXPECT_FALSE(*standby.own(pipeline_lease(i)));
        const Result<Renewal> renewal = standby.renew(*session);
        ASSERT_TRUE(renewal) << renewal.error().message;
        EXPECT_THAT(renewal->freed, IsEmpty());
    }
    EXPECT_EQ(statements("homeostat.lease") - before, 3);
}

TEST_F(ElectionCase, WhatBecomesFreeIsToldAndTaken) {
    Election owner = replica("a");
    Election standby = replica("b");
    for (int i = 1; i <= 3; ++i) ASSERT_TRUE(*owner.own(pipeline_lease(i)));
    for (int i = 1; i <= 3; ++i) ASSERT_FALSE(*standby.own(pipeline_lease(i)));
    db.exec("UPDATE homeostat.lease SET expires_at = clock_timestamp() WHERE resource = 'pipeline/2'");
    EXPECT_THAT(standby.renew(*session)->freed, ElementsAre("pipeline/2"));
    EXPECT_EQ(*standby.own("pipeline/2"), 2);
    EXPECT_THAT(owner.renew(*session)->lost, ElementsAre("pipeline/2"));
    ASSERT_TRUE(owner.resign());
    EXPECT_THAT(standby.renew(*session)->freed, UnorderedElementsAre("pipeline/1", "pipeline/3"));
    EXPECT_THAT(standby.renew(*session)->freed, IsEmpty());
    EXPECT_EQ(*standby.own("pipeline/1"), 2);
    EXPECT_EQ(db.value("SELECT holder FROM homeostat.lease WHERE resource = 'pipeline/1'"), "b");
}

}  // namespace
}  // namespace homeostat
