// What the factory remembers of its targets: looked up once for all who ask, believed again after one statement for all of them,
// and taken up anew where source, provider or revision have changed. Statements are counted by the server.
#include "reconcilers/factory/targets.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <future>
#include <set>

#include "tests/integration/counting_cluster.hpp"
#include "tests/kit/io_thread.hpp"
#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;

class TargetsCase : public ::testing::Test {
protected:
    TargetsCase() { db.exec("CREATE EXTENSION pg_stat_statements; CREATE TABLE docs (id int PRIMARY KEY, body text, tag text)"); }

    // A pipeline over `source` with its first revision; its uid.
    std::int64_t declare(const std::string& name, const std::string& source = "docs", const std::string& more = "NULL") {
        const std::string uid = db.value(fmt::format(
            "INSERT INTO homeostat.pipeline (name, source, key, content, metadata, provider, dimensions, target) VALUES"
            " ('{0}', '{1}', 'id', 'body', {2}, 'hashing', 16, '{0}_embeddings') RETURNING uid",
            name, source, more));
        auto session = Session::connect({.url = db.url()});
        const auto spec = read_pipeline(**session, std::stoll(uid));
        const auto provider = find_provider(**session, "hashing");
        db.exec(fmt::format(
            "INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, vector_type, state,"
            " metadata_slots) VALUES ({}, 1, '{}', 'hashing', 'm', 16, 'vector', 'served',"
            " coalesce(string_to_array({}, ','), '{{}}'))",
            uid, RevisionSettings::of(*spec, *provider).to_json(), more));
        return std::stoll(uid);
    }

    Result<Targets::Info> get(std::int64_t uid, std::int64_t generation = 1) {
        Context context;
        return io.run(targets.get(uid, generation, 1, std::move(context)));
    }
    Targets::Info got(std::int64_t uid) {
        const auto info = get(uid);
        if (!info) throw std::runtime_error(info.error().message);
        return *info;
    }
    void pass() { clock.advance(Targets::kFresh); }

    // Statements of the look-ups since the last call, without what begins and ends transactions.
    std::int64_t statements() {
        const std::string n = db.value(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE d.datname = current_database() AND query ~* "
            "'to_regclass|pg_attribute|homeostat[.](pipeline|provider|revision)'"
            " AND query !~* 'pg_stat_statements|INSERT|UPDATE|ALTER'");
        db.exec("SELECT pg_stat_statements_reset()");
        return std::stoll(n);
    }

    kit::Database db{kit::Schema::migrated, counting_cluster()};
    kit::SimulatedClock clock;
    Registry metrics;
    Pool reads{{.url = db.url()}, 4};
    boost::asio::thread_pool blocking{4};
    kit::IoThread io{2};
    Targets targets{reads, blocking.get_executor(), clock, metrics};
};

TEST_F(TargetsCase, AHundredWhoAskForOneTargetMakeOneLookUp) {
    const auto uid = declare("docs");
    statements();
    got(uid);
    const std::int64_t one = statements();
    EXPECT_GT(one, 0);
    targets.forget(uid);
    std::vector<std::future<Result<Targets::Info>>> askers;
    for (int i = 0; i < 100; ++i) {
        Context context;
        askers.push_back(io.start(targets.get(uid, 1, 1, std::move(context))));
    }
    std::set<const TargetInfo*> infos;
    for (auto& a : askers) infos.insert(a.get()->get());
    EXPECT_EQ(infos.size(), 1U);
    EXPECT_EQ(statements(), one);
}

TEST_F(TargetsCase, WhereNothingHasChangedAllThatIsInUseCostsOneStatementAndWhatIsIdleNone) {
    std::vector<std::int64_t> uids;
    for (int i = 0; i < 30; ++i) uids.push_back(declare("p" + std::to_string(i)));
    std::vector<Targets::Info> before;
    for (const auto uid : uids) before.push_back(got(uid));
    statements();
    for (int round = 0; round < 3; ++round) {
        pass();
        for (std::size_t i = 0; i < uids.size(); ++i) EXPECT_EQ(got(uids[i]), before[i]);
        EXPECT_EQ(statements(), 1) << "round " << round;
    }
    // What was asked for since the last look is looked at once more, and then only what still is.
    for (const char* looked_at : {"30", "1", "1"}) {
        pass();
        got(uids[0]);
        EXPECT_EQ(
            db.value("SELECT sum(rows) FROM pg_stat_statements WHERE query LIKE '%rests_on%' AND query NOT LIKE '%pg_stat%'"),
            looked_at);
        statements();
    }
}

TEST_F(TargetsCase, VacuumTruncateAndWritingChangeNothing) {
    const auto uid = declare("docs");
    const auto before = got(uid);
    db.exec("INSERT INTO docs SELECT i, 'x', 'y' FROM generate_series(1, 1000) i");
    db.exec("VACUUM ANALYZE docs");
    db.exec("TRUNCATE docs");
    db.exec("UPDATE homeostat.pipeline SET reconcile_requested = 'now'");
    statements();
    pass();
    EXPECT_EQ(got(uid), before);
    EXPECT_EQ(statements(), 1);
}

TEST_F(TargetsCase, AnAlteredSourceIsTakenUpWithinItsTime) {
    const auto uid = declare("docs", "docs", "'tag'");
    EXPECT_EQ(got(uid)->source.metadata.at(0).type, "text");
    db.exec("ALTER TABLE docs ALTER COLUMN tag TYPE int USING 1, ALTER COLUMN id TYPE bigint");
    EXPECT_EQ(got(uid)->source.metadata.at(0).type, "text") << "it is not looked at each time";
    pass();
    EXPECT_EQ(got(uid)->source.metadata.at(0).type, "integer");
    EXPECT_EQ(got(uid)->source.key.at(0).type, "bigint");
    db.exec("ALTER TABLE docs RENAME COLUMN body TO text");
    pass();
    EXPECT_THAT(get(uid).error().message, HasSubstr("column \"body\" is not in table public.docs"));
    db.exec("ALTER TABLE docs RENAME COLUMN text TO body");
    EXPECT_EQ(got(uid)->source.relation, "public.docs") << "a failure is not remembered";
    db.exec("ALTER TABLE docs DROP COLUMN body");
    pass();
    EXPECT_FALSE(get(uid).ok());
}

TEST_F(TargetsCase, WhatAViewRestsOnBelongsToIt) {
    db.exec("CREATE VIEW inner_view AS SELECT id, body FROM docs; CREATE VIEW outer_view AS SELECT * FROM inner_view");
    const auto uid = declare("docs", "outer_view");
    const auto before = got(uid);
    for (const char* change : {"ALTER TABLE docs ADD COLUMN more int", "CREATE UNIQUE INDEX ON docs (tag)",
                               "CREATE OR REPLACE VIEW inner_view AS SELECT id, upper(body) AS body FROM docs",
                               "GRANT SELECT ON outer_view TO homeostat_declarer"}) {
        pass();
        const auto known = got(uid);
        db.exec(change);
        EXPECT_EQ(got(uid), known) << change;
        pass();
        EXPECT_NE(got(uid), known) << change;
    }
}

TEST_F(TargetsCase, AnEditedProviderAndItsPoolAreTakenUp) {
    db.exec(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, pool) VALUES ('a', 'http://a', 'm', 16, 'p'),"
        " ('b', 'http://b', 'm', 16, 'p')");
    const auto uid = declare("docs");
    got(uid);
    // And its revision is made by that one: an older one would still be embedded by the provider it had.
    db.exec(
        "UPDATE homeostat.pipeline SET provider = 'a'; UPDATE homeostat.revision SET settings = settings ||"
        " '{\"provider\": \"a\", \"model\": \"m\", \"dimensions\": 16}'");
    const auto of_two = get(uid, 2);
    ASSERT_TRUE(of_two.ok());
    EXPECT_EQ((*of_two)->peers.size(), 1U);
    db.exec("UPDATE homeostat.provider SET max_batch = 7 WHERE name = 'b'");
    pass();
    EXPECT_EQ((*get(uid, 2))->peers.at(0).max_batch, 7U);
    db.exec("UPDATE homeostat.provider SET pool = NULL WHERE name = 'b'");
    pass();
    EXPECT_TRUE((*get(uid, 2))->peers.empty());
}

TEST_F(TargetsCase, AfterAFailureItIsKnownWhetherTheGroundHasMoved) {
    const auto uid = declare("docs");
    const auto info = got(uid);
    EXPECT_FALSE(targets.outdated(*info, Context{}));
    db.exec("ALTER TABLE docs RENAME COLUMN body TO text");
    EXPECT_TRUE(targets.outdated(*info, Context{}));
    targets.forget(uid);
    EXPECT_FALSE(get(uid).ok()) << "at once, not after its time";
}

TEST_F(TargetsCase, AStatementWhoseResultChangedIsPreparedAnew) {
    auto session = Session::connect({.url = db.url()});
    const Statement all{"all_docs", "SELECT * FROM public.docs"};
    for (int use = 0; use < 2; ++use) (*session)->exec(all);  // the second prepares it
    db.exec("ALTER TABLE docs ADD COLUMN more int");
    try {
        (*session)->exec(all);
        FAIL() << "the server takes it: this test is of no use any more";
    } catch (const StoreFailure& e) {
        EXPECT_EQ(e.error.cls, ErrorClass::db_transient) << e.error.message;
        EXPECT_EQ(e.error.code, "0A000");
    }
    EXPECT_TRUE((*session)->exec(all).empty());
}

}  // namespace
}  // namespace homeostat
