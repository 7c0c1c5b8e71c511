// Refreshes of materialised views with the real program: noticed long before the interval, once each, whatever kind they are of
// and whether anybody was there to see them.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

class Refresh : public World {
protected:
    void make(const std::string& view = "m") {
        db.exec(fmt::format(
            "CREATE TABLE base (id int, body text); INSERT INTO base SELECT i, 'Body of ' || i FROM generate_series(1,"
            " 200) i; CREATE MATERIALIZED VIEW {} AS SELECT id, body FROM base",
            view));
    }
    void declare_view(const std::string& view = "m") {
        declare("docs", view, "key, content, drift_interval", "'id', 'body', '1 hour'");
    }
    // Until the first sweep has ended.
    kit::Process start() {
        kit::Process run = homeostat.start({"run"});
        EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history", "t")) << run.output();
        return run;
    }
    // What is stored is what the table behind the view says.
    bool follows() {
        return eventually_is(
            "SELECT count(*) FROM ((SELECT id, body FROM base EXCEPT SELECT id, chunk_text FROM docs_embeddings)"
            " UNION ALL (SELECT id, chunk_text FROM docs_embeddings EXCEPT SELECT id, body FROM base)) d",
            "0");
    }
    // Nothing more is to be swept for a refresh.
    bool settled() {
        return eventually_is(
            "SELECT s.observed_source_mark = m.mark FROM homeostat.pipeline_status s"
            " JOIN homeostat.source_mark m USING (uid)",
            "t");
    }
    bool settled_now() {
        return db.value(
                   "SELECT s.observed_source_mark = m.mark FROM homeostat.pipeline_status s"
                   " JOIN homeostat.source_mark m USING (uid)") == "t";
    }
    std::string runs() {
        return db.value("SELECT string_agg(trigger || ' ' || result, ', ' ORDER BY id) FROM homeostat.run_history");
    }
};

TEST_F(Refresh, OfEitherKindIsHealedLongBeforeTheIntervalAndOnce) {
    make();
    db.exec("CREATE UNIQUE INDEX ON m (id)");
    declare_view();
    kit::Process run = start();
    db.exec("UPDATE base SET body = 'Edited ' || id WHERE id <= 20; INSERT INTO base VALUES (201, 'New')");
    db.exec("REFRESH MATERIALIZED VIEW m");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(settled());
    db.exec("UPDATE base SET body = 'Again ' || id WHERE id = 7; INSERT INTO base VALUES (202, 'Newer')");
    db.exec("REFRESH MATERIALIZED VIEW CONCURRENTLY m");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(settled());
    for (const char* upkeep : {"ANALYZE m", "VACUUM m", "VACUUM (FREEZE, ANALYZE) m", "REINDEX TABLE m"}) {
        db.exec(upkeep);
        EXPECT_TRUE(settled_now()) << upkeep;
    }
    ASSERT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
    EXPECT_TRUE(kit::eventually([&] { return runs().find("requested") != std::string::npos; })) << run.output();
    EXPECT_EQ(runs(), "spec Converged, refresh Converged, refresh Converged, requested Converged");
    EXPECT_EQ(condition("docs", "ChangeFeed", "message"),
              "materialised view public.m fires no triggers, but each REFRESH of it is noticed; sweeps find what changes");
    end(run);
}

TEST_F(Refresh, WhileNobodyRanIsNoticedAtTheStart) {
    make();
    declare_view();
    kit::Process first = start();
    end(first);
    db.exec("UPDATE base SET body = 'Edited ' || id WHERE id % 2 = 0");
    db.exec("REFRESH MATERIALIZED VIEW m");
    EXPECT_FALSE(settled_now());
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(settled());
    EXPECT_EQ(runs(), "spec Converged, refresh Converged");
    end(run);
}

TEST_F(Refresh, ThatIsRolledBackIsNone) {
    make();
    declare_view();
    run_once(kConverged);
    db.exec("BEGIN; REFRESH MATERIALIZED VIEW m; ROLLBACK");
    EXPECT_TRUE(settled_now());
    EXPECT_EQ(runs(), "once Converged");
}

// A failure that only a person can mend is tried again after half an hour, or when the person has mended it.
TEST_F(Refresh, WhatOneBrokeTheNextOneMends) {
    make();
    declare_view();
    kit::Process run = start();
    db.exec("INSERT INTO base VALUES (7, 'The same key twice')");
    db.exec("REFRESH MATERIALIZED VIEW m");
    EXPECT_TRUE(eventually_is("SELECT reason FROM homeostat.condition WHERE type = 'Ready'", "AmbiguousKey")) << run.output();
    EXPECT_TRUE(settled_now()) << "tried again and again";
    db.exec("DELETE FROM base WHERE body = 'The same key twice'; UPDATE base SET body = 'Edited' WHERE id = 8");
    db.exec("REFRESH MATERIALIZED VIEW m");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(settled());
    EXPECT_EQ(runs(), "spec Converged, refresh Failed, refresh Converged");
    end(run);
}

TEST_F(Refresh, OfAViewThatHadNoDataFillsIt) {
    make();
    declare_view();
    kit::Process run = start();
    db.exec("REFRESH MATERIALIZED VIEW m WITH NO DATA");
    EXPECT_TRUE(eventually_is("SELECT last_error LIKE '%has not been populated%' FROM homeostat.pipeline_status", "t"))
        << run.output();
    db.exec("UPDATE base SET body = 'Edited ' || id");
    db.exec("REFRESH MATERIALIZED VIEW m");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

TEST_F(Refresh, IsNoticedWhateverTheViewIsCalled) {
    db.exec(R"(CREATE SCHEMA "S.""x'")");
    make(R"("S.""x'"."m.$1 Ünï")");
    declare_view(R"("S.""x''"."m.$1 Ünï")");
    kit::Process run = start();
    db.exec("UPDATE base SET body = 'Edited ' || id WHERE id <= 20");
    db.exec(R"(REFRESH MATERIALIZED VIEW "S.""x'"."m.$1 Ünï")");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

}  // namespace
}  // namespace homeostat
