// Writers who keep the machine busy come first. Whether they do is found by how late answers are, so nothing else runs beside
// this.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/integration/feed_room.hpp"

namespace homeostat {
namespace {

// Many rows are changed a second and the smallest statement takes long: whatever is healed would be paid for by the writers.
TEST_F(FeedRoom, WritersWhoKeepTheDatabaseBusyComeFirst) {
    kit::Process run = start();
    std::atomic<bool> enough = false;
    std::thread writer([&] {
        kit::Sql sql(db.url());
        for (int i = 0; !enough; ++i)
            sql.exec(fmt::format("UPDATE docs SET body = 'Text {} of ' || id WHERE id % 4 = {}", i, i % 4));
    });
    // What it is like where every core is taken: answers come late.
    std::thread others([&] {
        kit::Sql sql(db.url());
        while (!enough)
            sql.exec("BEGIN; LOCK TABLE homeostat_data.p1_change IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.02); COMMIT");
    });
    // It says so, and plans one batch at a time.
    const bool slowed = eventually_is(
        "SELECT (SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND message LIKE '%feed.overrun_share%') = 1"
        " AND (SELECT count(*) <= 1 AND coalesce(max(b.documents), 0) <= 256 FROM homeostat.batch b JOIN homeostat.run r"
        "  ON r.id = b.run_id)",
        "t", std::chrono::seconds(120));
    const std::int64_t before = number("SELECT coalesce(sum(written), 0) FROM homeostat.batch_history");
    const bool goes_on =
        kit::eventually([&] { return number("SELECT coalesce(sum(written), 0) FROM homeostat.batch_history") > before; },
                        std::chrono::seconds(60));
    enough = true;
    writer.join();
    others.join();
    EXPECT_TRUE(slowed) << run.output();
    EXPECT_TRUE(goes_on) << "nothing is healed any more";
    // They have let up: all of it is healed at once.
    EXPECT_TRUE(follows() || follows()) << run.output();
    expect_named_again(run);
    end_converged(run, "docs", kWanted);
}

}  // namespace
}  // namespace homeostat
