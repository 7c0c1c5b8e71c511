// A replica of another version may write its snapshot otherwise: that ends nobody who reads it.
#include "controller/seen_replica.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

TEST(SeenReplicas, ASnapshotThatReadsOtherwiseIsNone) {
    for (const char* snapshot : {"", "[]", "{", R"({"at": "noon"})", R"({"at": 1, "pools": 7})", R"({"providers": [1]})",
                                 R"({"capabilities": {"slotsPerProvider": "many"}})"}) {
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

}  // namespace
}  // namespace homeostat
