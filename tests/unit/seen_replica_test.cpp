// A replica of another version may write its snapshot otherwise: that ends nobody who reads it.
#include "controller/seen_replica.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

TEST(SeenReplicas, ASnapshotThatReadsOtherwiseIsNone) {
    for (const char* snapshot : {"", "[]", "{", R"({"at": "noon", "heardAt": 1})", R"({"at": 1, "pools": 7})",
                                 R"({"providers": [1]})", R"({"capabilities": {"slotsPerProvider": "many"}})"}) {
        ReplicaLine line;
        line.id = "other";
        line.schema_version = 3;
        line.snapshot = snapshot;
        const SeenReplica seen = seen_replica(line, {});
        EXPECT_EQ(seen.id, "other") << snapshot;
        EXPECT_EQ(seen.schema_version, 3) << snapshot;
        EXPECT_FALSE(seen.reported) << snapshot;
    }
    ReplicaLine line;
    line.snapshot = R"({"at": 1, "capabilities": {"slotsPerProvider": 8}})";
    EXPECT_TRUE(seen_replica(line, {}).reported);
    EXPECT_EQ(seen_replica(line, {}).factory.slots, 8);
}

// A sign of life is given between reports too: a clock is compared with when the report itself was written.
TEST(SeenReplicas, ClocksAreComparedAtOneMoment) {
    ReplicaLine line;
    line.heartbeat_at = std::chrono::seconds(100);
    line.snapshot = R"({"at": 90000, "heardAt": 90003})";
    EXPECT_EQ(seen_replica(line, {}).clock_ahead, std::chrono::milliseconds(-3));
    line.snapshot = R"({"at": 190000, "heardAt": 90000})";
    EXPECT_EQ(seen_replica(line, {}).clock_ahead, std::chrono::seconds(100));
    line.snapshot = R"({"at": 90000})";  // of a version that does not say it
    EXPECT_EQ(seen_replica(line, {}).clock_ahead, std::chrono::seconds(0));
}

}  // namespace
}  // namespace homeostat
