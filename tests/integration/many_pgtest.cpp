// Many pipelines at rest, with the real program: that they cost next to nothing together, and that rest is not sleep.

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr int kPipelines = 60;

class Many : public World {
protected:
    void make() {
        for (int i = 1; i <= kPipelines; ++i) {
            db.exec(
                fmt::format("CREATE TABLE notes_{0} (id int PRIMARY KEY, body text); INSERT INTO notes_{0} VALUES (1, 'One'), "
                            "(2, 'Two'), (3, 'Three')",
                            i));
        }
        db.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
                        " SELECT 'n' || i, 'notes_' || i, 'body', 'hashing', 16, 'v' || i FROM generate_series(1, {}) i;"
                        // Shorter than may be declared, for time's sake.
                        "SET session_replication_role = replica; UPDATE homeostat.pipeline SET drift_interval = '2 seconds';"
                        "RESET session_replication_role",
                        kPipelines));
    }
    bool all_converged() {
        return eventually_is("SELECT count(*) FROM homeostat.condition WHERE (type, reason) = ('Ready', 'Converged')",
                             std::to_string(kPipelines), 120s);
    }
    // Transactions a second over three seconds, asked for from another database so that asking is not counted.
    double rate() {
        kit::Sql beside(db.cluster().url());
        const auto count = [&] {
            return std::stod(
                beside.value("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '" + db.name() + "'"));
        };
        const double before = count();
        const auto start = std::chrono::steady_clock::now();
        kit::eventually([&] { return std::chrono::steady_clock::now() - start > 3s; });
        return (count() - before) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    // Passes over all of them, one at a time, are some 450 transactions a second here.
    bool rests() {
        return kit::eventually([&] { return rate() < 30; }, 60s);
    }
};

TEST_F(Many, AtRestTheyCostAHandfulOfTransactionsASecondAndWhatIsDoneToOneIsNoticed) {
    make();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_LOOP_POLL", "1s"}});
    ASSERT_TRUE(all_converged()) << run.output();
    ASSERT_TRUE(rests()) << run.output();
    const auto number_of = [&](const std::string& name) {
        return db.value("SELECT uid FROM homeostat.pipeline WHERE name = '" + name + "'");
    };
    const auto feed_of = [&](const std::string& name) { return condition(name, "ChangeFeed", "reason"); };

    db.exec("ALTER TABLE notes_7 DISABLE TRIGGER ALL; UPDATE notes_7 SET body = 'Behind our back'");
    EXPECT_TRUE(kit::eventually([&] { return feed_of("n7") == "TriggersDisabled"; }, 20s)) << run.output();

    db.exec(fmt::format("DROP TRIGGER homeostat_p{}_update ON notes_8", number_of("n8")));
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes_8'::regclass AND NOT tgisinternal", "4"));

    db.exec(fmt::format("DROP FUNCTION homeostat_data.p{}_changed_insert() CASCADE", number_of("n9")));
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes_9'::regclass AND NOT tgisinternal", "4"));

    // Named without a notification, as after one that was lost.
    db.exec(
        fmt::format("SET session_replication_role = replica; UPDATE notes_10 SET body = 'Named in silence' WHERE id = 2;"
                    "INSERT INTO homeostat_data.p{}_change (change, key_1) VALUES ('u', 2); RESET session_replication_role",
                    number_of("n10")));
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM v10 WHERE id = 2", "Named in silence")) << run.output();

    db.exec("ALTER TABLE notes_11 RENAME COLUMN body TO other");
    EXPECT_TRUE(kit::eventually([&] { return condition("n11", "Ready") != "True"; }, 20s)) << run.output();
    db.exec("ALTER TABLE notes_11 RENAME COLUMN other TO body");

    EXPECT_TRUE(eventually_is("SELECT count(*) FROM v7 WHERE chunk_text = 'Behind our back'", "3", 60s)) << run.output();
    end(run);
}

TEST_F(Many, ADeletedPipelineLeavesNothingBehindThatCostsAnything) {
    make();
    kit::Process run = homeostat.start({"run"}, {{"HOMEOSTAT_LOOP_POLL", "1s"}});
    ASSERT_TRUE(all_converged()) << run.output();
    db.exec("DELETE FROM homeostat.pipeline");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipeline", "0", 60s)) << run.output();
    EXPECT_TRUE(rests()) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.lease WHERE resource LIKE 'pipeline/%'", "0"));
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'homeostat%'"), "0");
    end(run);
}

}  // namespace
}  // namespace homeostat
