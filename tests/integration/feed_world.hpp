// A source of documents whose change feed the real program keeps.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/integration/world.hpp"

namespace homeostat {

class FeedWhole : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text, tag text, seen int NOT NULL DEFAULT 0);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i, 'x' FROM generate_series(1, {}) i",
                        documents));
    }
    void declare_docs(const std::string& columns = "", const std::string& values = "") {
        declare("docs", "docs", "content, drift_interval, sweep_interval, max_prune_ratio" + columns,
                "'body', '1 day', '30 days', 1" + values);
    }
    // Runs until the first sweep is done and the triggers are in place.
    kit::Process start(const kit::Environment& environment = {}) {
        kit::Process run = homeostat.start({"run"}, environment);
        EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history", "t")) << run.output();
        EXPECT_TRUE(feed_is("Active")) << run.output();
        return run;
    }
    bool feed_is(const std::string& reason) {
        return eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = '" + reason + "'",
                             "1");
    }
    bool asleep() { return eventually_is("SELECT asleep FROM homeostat.feed_bell", "t"); }
    std::int64_t sweeps() { return number("SELECT count(*) FROM homeostat.run_history"); }
    // A sweep, to its end.
    void reconcile() {
        const std::int64_t before = sweeps();
        ASSERT_EQ(homeostat.run({"reconcile", "docs"}).exit.code, 0);
        ASSERT_TRUE(kit::eventually([&] { return sweeps() > before; }, std::chrono::seconds(30)));
    }
    // Every stored text is the source's own, and nothing else is stored.
    bool follows(const std::string& source = "SELECT id, body FROM docs", const std::string& stored = "docs_embeddings") {
        return eventually_is(
            fmt::format("SELECT count(*) FROM ((SELECT id::text, body FROM ({0}) s EXCEPT SELECT id::text, chunk_text"
                        " FROM {1}) UNION ALL (SELECT id::text, chunk_text FROM {1} EXCEPT SELECT id::text, body"
                        " FROM ({0}) s)) d",
                        source, stored),
            "0");
    }
};

}  // namespace homeostat
