#include "tests/kit/cluster.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

namespace homeostat::kit {
namespace {

TEST(Database, IsEmptyButForTheExtension) {
    Database db(Schema::empty);
    EXPECT_EQ(db.value("SELECT '[1,2]'::vector <-> '[1,4]'::vector"), "2");
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'homeostat'"), "0");
}

TEST(Database, MigratedHasTheDeclaredHalf) {
    Database db;
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
}

TEST(Database, TwoAreApart) {
    Database a(Schema::empty);
    Database b(Schema::empty);
    a.exec("CREATE TABLE t (id int)");
    EXPECT_NE(a.name(), b.name());
    EXPECT_EQ(b.value("SELECT to_regclass('t') IS NULL"), "t");
}

TEST(Database, IsDroppedWithWhoeverIsConnected) {
    std::string name;
    std::optional<Sql> lingering;
    {
        Database db(Schema::empty);
        name = db.name();
        lingering.emplace(db.url());
    }
    Sql admin(Cluster::shared().url());
    EXPECT_EQ(admin.value("SELECT count(*) FROM pg_database WHERE datname = '" + name + "'"), "0");
    EXPECT_THROW(lingering->exec("SELECT 1"), std::runtime_error);
}

TEST(Sql, SaysWhichStatementFailedAndWhy) {
    Database db(Schema::empty);
    try {
        db.exec("SELECT * FROM nowhere");
        FAIL() << "a missing table was read";
    } catch (const std::runtime_error& e) {
        EXPECT_NE(std::string(e.what()).find("\"nowhere\" does not exist"), std::string::npos) << e.what();
    }
}

TEST(Sql, TellsNullFromEmpty) {
    Database db(Schema::empty);
    const auto rows = db.query("SELECT NULL, ''");
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_FALSE(rows[0][0].has_value());
    EXPECT_EQ(rows[0][1], "");
}

TEST(Cluster, StopsAndStartsWithItsDataAndSettings) {
    Cluster own({"work_mem=5MB"});
    Sql(own.url()).exec("CREATE TABLE kept AS SELECT 1 AS x");
    own.stop("immediate");
    EXPECT_THROW(Sql(own.url()), std::runtime_error);
    own.start();
    Sql sql(own.url());
    EXPECT_EQ(sql.value("SELECT x FROM kept"), "1");
    EXPECT_EQ(sql.value("SHOW work_mem"), "5MB");
}

TEST(Cluster, GoesAwayWithItsOwnerEvenWhenThatIsKilled) {
    const pid_t owner = fork();
    if (owner == 0) {
        pause();
        _exit(0);
    }
    std::string folder;
    {
        Cluster cluster({}, owner);
        folder = cluster.folder();
        cluster.release();
        EXPECT_EQ(Sql(cluster.url()).value("SELECT 1"), "1");
    }
    kill(owner, SIGKILL);
    ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
    // The watchdog removes the folder last. Bounded by the test's own time limit.
    while (std::filesystem::exists(folder)) usleep(20'000);
}

}  // namespace
}  // namespace homeostat::kit
