#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/log_fields.hpp"

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(LogFields, HoldForTheirThreadAsLongAsTheyLive) {
    EXPECT_THAT(LogFields::here(), IsEmpty());
    {
        const LogFields outer{{"reconcile", "1f"}, {"pipeline", "docs"}, {"trace", ""}};
        {
            const LogFields inner{{"batch", "7"}, {"pipeline", "other"}};
            EXPECT_THAT(LogFields::here(), ElementsAre(Pair("reconcile", "1f"), Pair("pipeline", "other"), Pair("batch", "7")));
            std::thread([] { EXPECT_THAT(LogFields::here(), IsEmpty()); }).join();
        }
        EXPECT_THAT(LogFields::here(), ElementsAre(Pair("reconcile", "1f"), Pair("pipeline", "docs")));
    }
    EXPECT_THAT(LogFields::here(), IsEmpty());
}

}  // namespace
}  // namespace homeostat
