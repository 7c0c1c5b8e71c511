// A source of three times as many documents as a change feed has room for, followed by the real program.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "store/feed/capture_functions.hpp"
#include "tests/integration/feed_world.hpp"

namespace homeostat {

inline constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";
inline constexpr const char* kFullNow = "SELECT least(last_value, 2) FROM homeostat_data.p1_full";
inline constexpr const char* kNamed = "SELECT count(*) FROM homeostat_data.p1_change";
inline constexpr const char* kTrusted = "SELECT trusted_since IS NOT NULL AND settles IS NULL FROM homeostat.feed";

class FeedRoom : public FeedWhole {
protected:
    void SetUp() override {
        make(static_cast<int>(3 * kRoomAtLeast));
        declare_docs();
    }
    void edit_one_by_one(std::int64_t documents, const std::string& text) {
        db.exec(fmt::format(
            "DO $$ BEGIN FOR i IN 1..{} LOOP UPDATE docs SET body = '{} ' || i WHERE id = i; COMMIT; END LOOP; END $$", documents,
            text));
    }
    // What is edited from here on is named again, and nothing else is swept for.
    void expect_named_again(kit::Process& run) {
        ASSERT_TRUE(eventually_is(kTrusted, "t", std::chrono::seconds(60))) << run.output();
        ASSERT_TRUE(feed_is("Active")) << run.output();
        ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0"));
        const std::int64_t before = sweeps();
        db.exec("UPDATE docs SET body = 'Named' WHERE id = 7");
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_EQ(sweeps(), before);
        // What was named twice waits twice, and the second time there is nothing to do.
        EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
    }
};

}  // namespace homeostat
