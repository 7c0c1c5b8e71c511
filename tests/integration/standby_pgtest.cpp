// Sweeps on a standby: what it shows counts once it has caught up, and where it does not the primary is read. Never is anything
// removed, or said to be in step, on the word of a standby that lags.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/integration/world.hpp"
#include "tests/kit/standby.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kPrimary = "sweeps read database.url for now";

class StandbyWorld : public ::testing::Test {
protected:
    static void SetUpTestSuite() { cluster = std::make_unique<kit::Cluster>(); }
    static void TearDownTestSuite() { cluster.reset(); }

    void SetUp() override {
        db = std::make_unique<kit::Database>(kit::Schema::migrated, *cluster);
        db->exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body ' || i FROM generate_series(1, "
            "40) i");
        standby = std::make_unique<kit::Standby>(*cluster);
        homeostat = std::make_unique<kit::Program>(db->url());
        with = {{"HOMEOSTAT_DATABASE_OBSERVE_URL", standby->url(db->name())}, {"HOMEOSTAT_DATABASE_OBSERVE_MAX_LAG", "30s"}};
    }

    void declare(const std::string& source = "docs") {
        db->exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target, index_method,"
                        " max_prune_ratio) VALUES ('docs', 'public.{}', 'id', 'body', 'hashing', 16, 'public.served', 'none', 1)",
                        source));
    }
    std::string run_once(const kit::Environment& more, const kit::Arguments& arguments = {"run", "--once", "--deep"}) {
        const kit::Program::Outcome outcome = homeostat->run(arguments, more);
        EXPECT_EQ(outcome.exit.code, kConverged) << outcome.output;
        return outcome.output;
    }
    std::string served() { return db->value("SELECT string_agg(id || ':' || chunk_text, ',' ORDER BY id) FROM served"); }
    std::string wanted() { return db->value("SELECT string_agg(id || ':' || body, ',' ORDER BY id) FROM docs"); }
    // How often a whole server has been asked for rows of that table. A session hands in what it counted when it ends, before it
    // leaves pg_stat_activity; this one, which has read the table too, when it is told to.
    static std::int64_t looks(kit::Sql& at) {
        EXPECT_TRUE(kit::eventually([&] {
            return at.value(
                       "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                       " AND backend_type = 'client backend' AND pid <> pg_backend_pid()") == "0";
        }));
        at.exec("SELECT pg_stat_force_next_flush()");
        return std::stoll(at.value("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'docs'"));
    }
    // What there was when the standby stopped to follow, and is not any more, and the other way round.
    void change_source() {
        db->exec(
            "DELETE FROM docs WHERE id <= 3; UPDATE docs SET body = 'Edited ' || id WHERE id IN (10, 11);"
            "INSERT INTO docs SELECT i, 'New ' || i FROM generate_series(100, 110) i");
    }

    static std::unique_ptr<kit::Cluster> cluster;
    std::unique_ptr<kit::Database> db;
    std::unique_ptr<kit::Standby> standby;
    std::unique_ptr<kit::Program> homeostat;
    kit::Environment with;
};

std::unique_ptr<kit::Cluster> StandbyWorld::cluster;

TEST_F(StandbyWorld, WhoNamesItAsTheDatabaseIsToldThatItTakesNoWrites) {
    for (const kit::Arguments& verb : {kit::Arguments{"get"}, {"plan"}, {"suspend", "docs"}, {"migrate", "up"}}) {
        kit::Arguments words = verb;
        words.insert(words.end(), {"--database", standby->url(db->name())});
        EXPECT_THAT(homeostat->run(words).output, HasSubstr("takes no writes, as a standby does: name the primary"))
            << verb.front();
    }
}

TEST_F(StandbyWorld, SweepsReadTheStandbyAndNotThePrimary) {
    declare();
    EXPECT_THAT(run_once(with), Not(HasSubstr("database.observe_url")));
    EXPECT_EQ(served(), wanted());
    kit::Sql there(standby->url(db->name()));
    const std::int64_t before = looks(there);
    const std::int64_t before_here = looks(db->sql());
    run_once(with);
    EXPECT_GT(looks(there), before);
    EXPECT_EQ(looks(db->sql()), before_here);
    EXPECT_THAT(homeostat->run({"doctor"}, with).output, HasSubstr("sweeps are read there"));
    // What it finds is healed, from the primary.
    change_source();
    run_once(with);
    EXPECT_EQ(served(), wanted());
}

TEST_F(StandbyWorld, AStandbyThatLagsIsNotBelieved) {
    declare();
    run_once(with);
    kit::Sql there(standby->url(db->name()));
    there.exec("SELECT pg_wal_replay_pause()");
    ASSERT_TRUE(kit::eventually([&] { return there.value("SELECT pg_get_wal_replay_pause_state()") == "paused"; }));
    change_source();
    EXPECT_THAT(run_once(with),
                HasSubstr(fmt::format("{}, and not the standby (database.observe_url): its replay is paused", kPrimary)));
    EXPECT_EQ(served(), wanted());
    // What is stored by now it does not show either: nothing of it may go.
    run_once(with);
    EXPECT_EQ(served(), wanted());
    there.exec("SELECT pg_wal_replay_resume()");
    EXPECT_THAT(run_once(with), Not(HasSubstr(kPrimary)));
    EXPECT_EQ(served(), wanted());
    standby->fall_behind();
    with["HOMEOSTAT_DATABASE_OBSERVE_MAX_LAG"] = "500ms";
    db->exec("DELETE FROM docs WHERE id < 12; INSERT INTO docs VALUES (200, 'Last')");
    EXPECT_THAT(run_once(with), HasSubstr("it did not replay within 500 ms (database.observe_max_lag)"));
    EXPECT_EQ(served(), wanted());
}

TEST_F(StandbyWorld, AStandbyThatIsAwayOrNoneAnyMoreIsDoneWithout) {
    declare();
    run_once(with);
    standby->promote();
    kit::Sql(standby->url(db->name())).exec("DELETE FROM docs WHERE id > 20; UPDATE docs SET body = 'Elsewhere'");
    change_source();
    EXPECT_THAT(run_once(with), HasSubstr("it was promoted"));
    EXPECT_EQ(served(), wanted());
    EXPECT_THAT(homeostat->run({"doctor"}, with).output, HasSubstr("observe_url: it is no standby"));
    standby->stop();
    EXPECT_THAT(run_once(with), HasSubstr(std::string(kPrimary)));
    EXPECT_EQ(served(), wanted());
    // Another cluster, and the primary itself.
    kit::Environment other = with;
    other["HOMEOSTAT_DATABASE_OBSERVE_URL"] = kit::Cluster::shared().url();
    EXPECT_THAT(run_once(other), HasSubstr("it is of another cluster"));
    other["HOMEOSTAT_DATABASE_OBSERVE_URL"] = db->url();
    EXPECT_THAT(run_once(other), Not(HasSubstr(kPrimary)));
}

// What replays takes precedence of what reads there.
TEST_F(StandbyWorld, AQueryThatIsCancelledForReplayIsAskedOfThePrimary) {
    db->exec(
        "CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF pg_is_in_recovery() THEN PERFORM pg_sleep(60);"
        " END IF; RETURN true; END $$; CREATE VIEW seen AS SELECT id, body FROM docs WHERE (SELECT slow())");
    declare("seen");
    kit::Environment patient = with;
    patient["HOMEOSTAT_DATABASE_STATEMENT_TIMEOUT"] = "50s";
    kit::Sql there(standby->url(db->name()));
    // A second, for what is quick on the way there: not that is to be cancelled, by whatever else is replayed.
    there.exec("ALTER SYSTEM SET max_standby_streaming_delay = '1s'");
    there.exec("SELECT pg_reload_conf()");
    kit::Process run = homeostat->start({"run", "--once"}, patient);
    ASSERT_TRUE(kit::eventually([&] {
        return there.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0";
    })) << run.output();
    // Each query that sleeps there is met by a lock that is replayed.
    EXPECT_TRUE(kit::eventually([&] {
        db->exec("BEGIN; LOCK TABLE docs IN ACCESS EXCLUSIVE MODE; SELECT pg_current_xact_id(); COMMIT");
        return !run.running();
    }));
    EXPECT_EQ(run.wait(std::chrono::seconds(1)).value_or(kit::Exit{}).code, kConverged) << run.output();
    EXPECT_THAT(run.output(), HasSubstr("a query on the standby (database.observe_url) was cancelled"));
    EXPECT_EQ(served(), wanted());
}

// Sources are read there by the login that reads them, and all else by a role that is no superuser.
TEST_F(StandbyWorld, TheReaderReadsOnTheStandbyToo) {
    const std::string runs = "standby_run_" + db->name();
    const std::string reads = "standby_read_" + db->name();
    db->exec(
        fmt::format("CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE ROLE {1} LOGIN;"
                    "GRANT SELECT ON docs TO {1}; GRANT TRIGGER ON docs TO homeostat_controller;"
                    "GRANT USAGE, CREATE ON SCHEMA public TO homeostat_controller",
                    runs, reads));
    declare();
    homeostat = std::make_unique<kit::Program>(db->url(runs));
    kit::Environment apart = with;
    apart["HOMEOSTAT_DATABASE_READER_URL"] = db->url(reads);
    // A login of other rights is not taken.
    EXPECT_THAT(run_once(apart), HasSubstr("its login acts as role postgres"));
    EXPECT_EQ(served(), wanted());
    apart["HOMEOSTAT_DATABASE_OBSERVE_URL"] = standby->url(db->name(), runs);
    kit::Sql there(standby->url(db->name()));
    const std::int64_t before = looks(there);
    const std::int64_t before_here = looks(db->sql());
    EXPECT_THAT(run_once(apart), Not(HasSubstr("database.observe_url")));
    EXPECT_GT(looks(there), before);
    EXPECT_EQ(looks(db->sql()), before_here);
    change_source();
    run_once(apart);
    EXPECT_EQ(served(), wanted());
    db.reset();
    kit::Sql(cluster->url()).exec(fmt::format("DROP ROLE {}; DROP ROLE {}", runs, reads));
}

}  // namespace
}  // namespace homeostat
