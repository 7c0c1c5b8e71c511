// A change feed names only as much as is worth naming, with the real program: whoever changes more at a time than there is room
// for pays for no more of it, and what was not named is found by sweeps all the same, told, and named again afterwards.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <utility>

#include "tests/integration/feed_room.hpp"

namespace homeostat {
namespace {

TEST_F(FeedRoom, WritersFasterThanTheFeedAreNamedNoMoreAndSwept) {
    kit::Process run = start();
    run.signal(SIGSTOP);
    edit_one_by_one(2 * kRoomAtLeast, "Edited");
    EXPECT_EQ(db.value(kFullNow), "2");
    const std::int64_t named = number(kNamed);
    EXPECT_GE(named, kRoomAtLeast - 100);
    EXPECT_LE(named, kRoomAtLeast + 100);
    // Whoever comes now is not named whatever it does.
    db.exec("INSERT INTO docs VALUES (100000, 'New', 'x'); DELETE FROM docs WHERE id = 11; UPDATE docs SET id = 0 WHERE id = 12");
    EXPECT_EQ(number(kNamed), named);
    run.signal(SIGCONT);
    EXPECT_TRUE(feed_is("Overrun")) << run.output();
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    EXPECT_EQ(number("SELECT coalesce(sum(bypassed), 0) FROM homeostat.run"), 0);
    end_converged(run, "docs", kWanted);
}

TEST_F(FeedRoom, AStatementOfMoreRowsIsNamedInPart) {
    kit::Process run = start();
    run.signal(SIGSTOP);
    db.exec(
        fmt::format("INSERT INTO docs SELECT i, 'New ' || i, 'x' FROM generate_series(100001, {}) i", 100000 + 2 * kRoomAtLeast));
    EXPECT_LE(number(kNamed), kRoomAtLeast + 1);
    EXPECT_EQ(number(std::string(kNamed) + " WHERE change = 'x'"), 1);
    run.signal(SIGCONT);
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    db.exec(fmt::format("UPDATE docs SET body = 'All ' || id; DELETE FROM docs WHERE id > {}", 100000 + kRoomAtLeast));
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    end_converged(run, "docs", kWanted);
}

// Its trigger ran while there was no room, and it commits when there is again.
TEST_F(FeedRoom, AWriterWhoFoundItFullIsSweptForWhenItHasCommitted) {
    kit::Process run = start();
    run.signal(SIGSTOP);
    edit_one_by_one(kRoomAtLeast + 200, "Edited");
    ASSERT_EQ(db.value(kFullNow), "2");
    kit::Sql writer(db.url());
    writer.exec("BEGIN; UPDATE docs SET body = 'Committed late' WHERE id = 9000");
    run.signal(SIGCONT);
    ASSERT_TRUE(eventually_is(std::string(kFullNow), "1")) << run.output();
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.run", "0")) << run.output();
    EXPECT_EQ(db.value(kTrusted), "f");
    EXPECT_EQ(condition("docs", "ChangeFeed", "reason"), "Overrun");
    writer.exec("COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    end_converged(run, "docs", kWanted);
}

// Its call was undone with it; that it is full is seen at the next poll, long before the next look at the triggers.
TEST_F(FeedRoom, WhoFilledItAndThoughtBetterLeavesNothingBehindForLong) {
    db.exec("UPDATE homeostat.pipeline SET drift_interval = '1 hour'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("BEGIN; UPDATE docs SET body = 'Never said'; ROLLBACK");
    EXPECT_EQ(db.value(kFullNow), "2");
    db.exec("UPDATE docs SET body = 'Not named' WHERE id = 3");
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    end_converged(run, "docs", kWanted);
}

// And where nobody runs, whoever looks is told.
TEST_F(FeedRoom, WhatAFullFeedDidNotNameIsToldWhileNobodyRuns) {
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    run.signal(SIGKILL);
    run.wait(std::chrono::seconds(10));
    db.exec("BEGIN; UPDATE docs SET body = 'Never said'; ROLLBACK");
    db.exec("UPDATE docs SET body = 'Not named' WHERE id = 3");
    ASSERT_EQ(db.value(kNamed), "0");
    EXPECT_TRUE(eventually_is("SELECT ready || ' ' || reason || ' ' || kstatus FROM homeostat.pipelines",
                              "False Behind InProgress", std::chrono::seconds(60)));
    kit::Process next = start();
    EXPECT_TRUE(follows()) << next.output();
    end_converged(next, "docs", kWanted);
}

// Taken up at once and healed slowly: what waits takes room like what was not taken up yet.
TEST_F(FeedRoom, WhatWaitsToBeHealedTakesRoom) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    db.exec("UPDATE homeostat.provider SET timeout = '2 minutes' WHERE name = 'fake'");
    db.exec("DELETE FROM docs WHERE id > 100; UPDATE homeostat.pipeline SET provider = 'fake'");
    kit::Process run = start();
    db.exec(fmt::format("INSERT INTO docs SELECT i, 'Body of ' || i, 'x' FROM generate_series(101, {}) i", 3 * kRoomAtLeast / 4));
    ASSERT_TRUE(follows()) << run.output();
    ASSERT_TRUE(eventually_is(kTrusted, "t"));
    endpoint.withhold();
    db.exec("UPDATE docs SET body = 'Waits ' || id");
    ASSERT_TRUE(eventually_is(kNamed, "0")) << run.output();
    EXPECT_EQ(db.value(kFullNow), "1");
    // Room that was made while they were not committed yet is filled first; half of it would be made again and again, did they
    // take none.
    for (int i = 0; i < 3 && db.value(kFullNow) == "1"; ++i) edit_one_by_one(kRoomAtLeast / 2, fmt::format("Edited {}", i));
    EXPECT_EQ(db.value(kFullNow), "2");
    endpoint.release();
    EXPECT_TRUE(follows()) << run.output();
    expect_named_again(run);
    end_converged(run, "docs", kWanted);
}

TEST_F(FeedRoom, IsWholeAgainWhenWhatWaitedIsHealedThoughNobodyWrites) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    db.exec("UPDATE homeostat.provider SET timeout = '2 minutes' WHERE name = 'fake'");
    db.exec("DELETE FROM docs WHERE id > 3000; UPDATE homeostat.pipeline SET provider = 'fake'");
    kit::Process run = start();
    endpoint.withhold();
    // Not looked at before it is committed: room is made for what is seen to be named, and what is not committed waits for
    // nothing.
    run.signal(SIGSTOP);
    db.exec("UPDATE docs SET body = 'Waits ' || id");
    run.signal(SIGCONT);
    ASSERT_TRUE(eventually_is(kNamed, "0")) << run.output();
    ASSERT_TRUE(asleep()) << run.output();
    // And until it is not watched any more whether the writers go on.
    const std::string then = db.value("SELECT clock_timestamp()");
    ASSERT_TRUE(eventually_is("SELECT clock_timestamp() > '" + then + "'::timestamptz + interval '4 s'", "t"));
    endpoint.release();
    ASSERT_TRUE(follows()) << run.output();
    EXPECT_TRUE(eventually_is(fmt::format("SELECT r.last_value - n.last_value >= {} FROM homeostat_data.p1_room r,"
                                          " homeostat_data.p1_named n",
                                          kRoomAtLeast),
                              "t"))
        << run.output();
    end(run);
}

TEST_F(FeedRoom, WhatIsNotLookedAtFillsNothing) {
    kit::Process run = start();
    run.signal(SIGSTOP);
    db.exec("UPDATE docs SET seen = seen + 1; UPDATE docs SET body = body");
    EXPECT_EQ(db.value(kFullNow), "1");
    EXPECT_EQ(number(kNamed), 0);
    run.signal(SIGCONT);
    end(run);
}

// After a great many changes as after one: nobody asks for more until somebody calls. The statistics are some seconds late.
TEST_F(FeedRoom, ABurstIsNotWaitedForOnceItIsOver) {
    kit::Process run = start();
    for (int i = 0; i < 3; ++i) {
        db.exec(fmt::format("UPDATE docs SET body = 'Other {} ' || id WHERE id <= 1000", i));
        ASSERT_TRUE(follows()) << run.output();
    }
    ASSERT_TRUE(asleep());
    const auto now = [] { return std::chrono::steady_clock::now(); };
    std::string looks;
    auto since = now();
    EXPECT_TRUE(kit::eventually([&] {
        const std::string seen =
            db.value("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'p1_change'");
        if (std::exchange(looks, seen) != seen) since = now();
        return now() - since > std::chrono::seconds(3);
    })) << "it still looks";
    end(run);
}

}  // namespace
}  // namespace homeostat
