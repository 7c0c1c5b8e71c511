// What the status counts between sweeps, with the real program: documents and chunks are those that are stored, whoever wrote
// them last and whatever else went on meanwhile.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

class Counts : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i",
                        documents));
        declare("docs", "docs",
                "content, chunk_size, drift_interval, sweep_interval, "
                "max_prune_ratio",
                "'body', 16, '1 day', '30 days', 1");
    }
    kit::Process start() {
        kit::Process run = homeostat.start({"run"});
        EXPECT_TRUE(
            eventually_is("SELECT count(*) FROM homeostat.condition WHERE (type, reason) IN (('ChangeFeed', 'Active'),"
                          " ('Ready', 'Converged'))",
                          "2"))
            << run.output();
        return run;
    }
    bool settled() {
        return eventually_is(
            "SELECT (SELECT count(*) FROM homeostat_data.p1_change) + (SELECT count(*) FROM homeostat.batch)"
            " + (SELECT count(*) FROM homeostat.run)",
            "0");
    }
    std::string told() { return db.value("SELECT documents || ' ' || chunks FROM homeostat.pipeline_status"); }
    std::string stored() {
        return db.value(
            "SELECT (SELECT count(*) FROM homeostat_data.p1_r1_document) || ' ' || (SELECT count(*) FROM"
            " homeostat_data.p1_r1_chunk)");
    }
};

TEST_F(Counts, AreMovedByWhatTheFeedWrites) {
    make(100);
    kit::Process run = start();
    ASSERT_EQ(told(), "100 100");
    // Longer and shorter, new and gone, without text, under another key, and some that only change their words.
    db.exec(
        "UPDATE docs SET body = repeat('A long text of many words. ', 40) WHERE id <= 10;"
        "UPDATE docs SET body = 'Other words' WHERE id BETWEEN 11 AND 20; UPDATE docs SET body = '' WHERE id = 21;"
        "INSERT INTO docs SELECT i, repeat('New text of some words. ', i - 199) FROM generate_series(200, 219) i;"
        "DELETE FROM docs WHERE id BETWEEN 31 AND 40; UPDATE docs SET id = 1000 WHERE id = 50");
    ASSERT_TRUE(settled()) << run.output();
    EXPECT_EQ(told(), stored());
    const std::string grown = told();
    EXPECT_GT(number("SELECT chunks FROM homeostat.pipeline_status"), 200);
    db.exec("UPDATE docs SET body = 'Short' WHERE id <= 10; DELETE FROM docs WHERE id >= 200");
    ASSERT_TRUE(settled()) << run.output();
    EXPECT_EQ(told(), stored());
    EXPECT_NE(told(), grown);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.run_history"), 1) << "counted by a sweep";
    end(run);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

// A sweep counts while the feed writes: neither may undo what the other says.
TEST_F(Counts, HoldWhereSweepsAndEditsMeet) {
    make(300);
    kit::Process run = start();
    for (int round = 1; round <= 12; ++round) {
        ASSERT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
        for (int i = 0; i < 10; ++i) {
            db.exec(fmt::format("UPDATE docs SET body = repeat('Words that come and go. ', {}) WHERE id = {}",
                                (round * 7 + i * 5) % 40 + 1, i * 30 + round));
            db.exec(fmt::format("INSERT INTO docs VALUES ({}, 'New')", 1'000 + round * 100 + i));
        }
    }
    ASSERT_TRUE(
        eventually_is("SELECT last_handled_reconcile = reconcile_requested FROM homeostat.pipeline_status JOIN"
                      " homeostat.pipeline USING (uid)",
                      "t"))
        << run.output();
    ASSERT_TRUE(settled()) << run.output();
    EXPECT_EQ(told(), stored());
    end(run);
}

}  // namespace
}  // namespace homeostat
