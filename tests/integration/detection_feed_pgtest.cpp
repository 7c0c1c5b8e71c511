// What a change feed is complete by: whatever else can change a source's rows, or which rows it has, is followed by a sweep.
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

class FeedDetection : public FeedWhole {
protected:
    // A partitioned source of 200 documents, a hundred in each of two partitions.
    void make_partitioned() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
            "CREATE TABLE low PARTITION OF docs FOR VALUES FROM (MINVALUE) TO (101);"
            "CREATE TABLE high PARTITION OF docs FOR VALUES FROM (101) TO (MAXVALUE);"
            "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 200) i");
    }
};

TEST_F(FeedDetection, APartitionThatWasAwayAndEditedMeanwhileIsFollowed) {
    make_partitioned();
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec(
        "ALTER TABLE docs DETACH PARTITION high; ALTER TABLE high DISABLE TRIGGER ALL; UPDATE high SET body = 'Edited ' || id;"
        "ALTER TABLE high ENABLE TRIGGER ALL; ALTER TABLE docs ATTACH PARTITION high FOR VALUES FROM (101) TO (MAXVALUE)");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// Its own triggers name what changes while it is away, which are no documents then.
TEST_F(FeedDetection, APartitionThatWasTakenForGoneComesBack) {
    make_partitioned();
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs DETACH PARTITION high; UPDATE high SET body = 'Edited ' || id");
    EXPECT_TRUE(follows()) << run.output();
    ASSERT_EQ(number("SELECT count(*) FROM docs_embeddings"), 100);
    db.exec("ALTER TABLE docs ATTACH PARTITION high FOR VALUES FROM (101) TO (MAXVALUE)");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(feed_is("Active"));
    end(run);
}

TEST_F(FeedDetection, ATableThatIsAttachedWithItsRowsIsFollowed) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF docs FOR VALUES FROM (MINVALUE) TO (101);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 100) i;"
        "CREATE TABLE high (id int PRIMARY KEY, body text); INSERT INTO high SELECT i, 'High ' || i FROM generate_series(101, "
        "200) i");
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("ALTER TABLE docs ATTACH PARTITION high FOR VALUES FROM (101) TO (201)");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("UPDATE high SET body = 'Named through the partition ' || id WHERE id % 10 = 0");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("ALTER TABLE docs DETACH PARTITION high CONCURRENTLY");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), 100);
    end(run);
}

TEST_F(FeedDetection, AChildThatInheritsIsFollowedAsLongAsItDoes) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); CREATE TABLE child (more text, PRIMARY KEY (id)) INHERITS (docs);"
        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, 50) i;"
        "INSERT INTO child SELECT i, 'Child ' || i FROM generate_series(51, 100) i");
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    ASSERT_EQ(number("SELECT count(*) FROM docs_embeddings"), 100);
    db.exec(
        "UPDATE child SET body = 'Edited ' || id WHERE id % 10 = 5; DELETE FROM child WHERE id = 60; INSERT INTO child VALUES "
        "(101, 'new')");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("UPDATE docs SET body = 'Through the parent ' || id WHERE id % 10 = 3");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("ALTER TABLE child NO INHERIT docs");
    EXPECT_TRUE(follows()) << run.output();
    ASSERT_EQ(number("SELECT count(*) FROM docs_embeddings"), 50);
    db.exec("UPDATE child SET body = 'Alone ' || id; ALTER TABLE child INHERIT docs");
    EXPECT_TRUE(follows()) << run.output();
    end(run);
}

// ---- what a trigger compares ----

TEST_F(FeedDetection, AChangeThatTheWritersSettingsWouldHideIsNamed) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, n float8, m real, j jsonb, a float8[], p numeric, tag text);"
        "INSERT INTO docs SELECT i, i + 0.5, i, jsonb_build_object('i', i), ARRAY[i + 0.5], i, 'x' FROM generate_series(1, 40) "
        "i");
    declare("docs", "docs", "template, metadata, drift_interval, sweep_interval",
            "'x {n} {m} {j} {a} {p}', 'n', '1 day', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    kit::Sql writer(db.url());
    writer.exec("SET extra_float_digits = -10");
    const std::string wanted = "SELECT id, concat('x ', n, ' ', m, ' ', j, ' ', a, ' ', p) AS body FROM docs";
    for (const char* edit :
         {"n = n + 1e-13 WHERE id <= 10", "m = m * 1.000001 WHERE id BETWEEN 11 AND 15",
          "a = ARRAY[a[1] + 1e-13] WHERE id BETWEEN 16 AND 20", "p = p::numeric(20, 3) WHERE id BETWEEN 21 AND 25",
          "n = '-0' WHERE id = 26", "n = NULL WHERE id = 27", "j = NULL WHERE id = 28"}) {
        writer.exec(fmt::format("UPDATE docs SET {}", edit));
        EXPECT_TRUE(follows(wanted)) << edit;
    }
    EXPECT_EQ(sweeps(), 1);
    end(run);
}

struct RespelledCase {
    std::string name;
    std::string type;   // of the key
    std::string value;  // of the i-th
    std::string edit;   // SET clause that spells it otherwise
    std::string before;
};
std::ostream& operator<<(std::ostream& out, const RespelledCase& c) { return out << c.name; }

class Respelled : public FeedWhole, public ::testing::WithParamInterface<RespelledCase> {
protected:
    void make_respelled(const std::string& options = "") {
        const RespelledCase& c = GetParam();
        db.exec(c.before + fmt::format("CREATE TABLE docs (id {} PRIMARY KEY, n int, body text){};", c.type, options));
        if (!options.empty()) db.exec("CREATE TABLE docs_all PARTITION OF docs FOR VALUES WITH (MODULUS 1, REMAINDER 0)");
        db.exec(fmt::format("INSERT INTO docs SELECT {}, i, 'Body of ' || i FROM generate_series(1, 40) i", c.value));
    }
};

TEST_P(Respelled, AKeyThatIsEqualAndReadsOtherwiseIsServedAsItReads) {
    make_respelled();
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec(fmt::format("UPDATE docs SET {} WHERE n <= 20", GetParam().edit));
    EXPECT_TRUE(follows()) << run.output();
    db.exec(fmt::format("UPDATE docs SET {}, body = 'Edited ' || n WHERE n > 20", GetParam().edit));
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), 1);
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), 40);
    EXPECT_EQ(number("SELECT documents FROM homeostat.pipeline_status"), 40);
    end(run);
}

TEST_P(Respelled, ASweepFindsItToo) {
    make_respelled(" PARTITION BY HASH (id)");
    declare_docs();
    run_once(kConverged);
    db.exec(fmt::format("UPDATE docs SET {} WHERE n <= 20", GetParam().edit));
    db.exec(fmt::format("UPDATE docs SET {}, body = 'Edited ' || n WHERE n > 35", GetParam().edit));
    run_once(kConverged);
    EXPECT_TRUE(follows());
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.dead_letter"), 0);
    run_once(kConverged);
    EXPECT_EQ(number("SELECT planned FROM homeostat.run_history ORDER BY id DESC LIMIT 1"), 0);
}

INSTANTIATE_TEST_SUITE_P(
    , Respelled,
    ::testing::Values(
        RespelledCase{"Citext", "citext", "'Key ' || i", "id = upper(id::text)", "CREATE EXTENSION citext;"},
        RespelledCase{"Numeric", "numeric", "i", "id = id::numeric(10, 2)", ""},
        RespelledCase{"Collation", "text COLLATE blind", "'Key ' || i", "id = upper(id)",
                      "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"},
        RespelledCase{"Interval", "interval", "i * interval '1 day'", "id = id - interval '1 day' + interval '24 hours'", ""}),
    [](const auto& c) { return c.param.name; });

// ---- what else it is complete by ----

TEST_F(FeedDetection, AViewThatIsReplacedUnderItsFeedIsSwept) {
    make(60);
    db.exec("CREATE VIEW shown AS SELECT id, body FROM docs");
    declare("docs", "shown", "key, content, capture_from, drift_interval, sweep_interval",
            "'id', 'body', '[{\"table\": \"docs\", \"key\": {\"id\": \"id\"}}]', '1 day', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("CREATE OR REPLACE VIEW shown AS SELECT id, upper(body) AS body FROM docs");
    EXPECT_TRUE(follows("SELECT id, body FROM shown")) << run.output();
    EXPECT_TRUE(feed_is("Active"));
    end(run);
}

TEST_F(FeedDetection, AFeedThatWasRestoredFromAnOlderClusterBecomesCompleteAgain) {
    make(60);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    end(run);
    db.exec("UPDATE homeostat.feed SET settles = 4000000000, trusted_since = NULL, fingerprint = 'of another cluster'");
    kit::Process again = homeostat.start({"run"});
    EXPECT_TRUE(eventually_is("SELECT trusted_since IS NOT NULL FROM homeostat.feed", "t")) << again.output();
    EXPECT_TRUE(feed_is("Active"));
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id < 10");
    EXPECT_TRUE(follows());
    end(again);
}

// No feed names anything there, and the next sweep is minutes away.
TEST_F(FeedDetection, WhatIsAlteredIsSweptAtOnceWithoutAFeedToo) {
    db.exec(
        "CREATE TABLE base (id int PRIMARY KEY, body text); INSERT INTO base SELECT i, 'Body of ' || i FROM generate_series(1, "
        "30) i;"
        "CREATE VIEW docs AS SELECT id, body FROM base");
    declare("docs", "docs", "key, content, capture", "'id', 'body', 'Off'");
    declare("base", "base", "content, capture", "'body', 'Off'");
    kit::Process run = homeostat.start({"run"});
    const auto state = [&](const std::string& name, const std::string& wanted) {
        return eventually_is("SELECT ready || ' ' || reason FROM homeostat.pipelines WHERE name = '" + name + "'", wanted);
    };
    ASSERT_TRUE(state("docs", "True Converged") && state("base", "True Converged")) << run.output();
    db.exec("CREATE OR REPLACE VIEW docs AS SELECT id, upper(body) AS body FROM base");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE 'BODY%'", "30")) << run.output();
    db.exec("ALTER TABLE base RENAME TO another");
    EXPECT_TRUE(state("base", "Unknown SourceUnusable")) << run.output();
    db.exec("ALTER TABLE another RENAME TO base");
    EXPECT_TRUE(state("base", "True Converged")) << run.output();
    db.exec(
        "ALTER TABLE base RENAME TO old; CREATE TABLE base AS SELECT id, 'Swapped ' || id AS body FROM old;"
        " ALTER TABLE base ADD PRIMARY KEY (id)");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM base_embeddings WHERE chunk_text LIKE 'Swapped%'", "30")) << run.output();
    db.exec("DROP VIEW base_embeddings");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM pg_views WHERE viewname = 'base_embeddings'", "1")) << run.output();
    end(run);
}

// The apply worker of a subscription fires no triggers of statements. That one is there is enough; that it works is PostgreSQL's.
TEST_F(FeedDetection, ASubscribedTableIsSweptAndItsFeedSaysSo) {
    make(60);
    declare("docs", "docs", "content, drift_interval, sweep_interval", "'body', '10 seconds', '30 days'");
    db.exec(fmt::format("CREATE SUBSCRIPTION s_{0} CONNECTION 'dbname={0}' PUBLICATION none WITH (connect = false)", db.name()));
    db.exec(
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, 'docs'::regclass, 'r' FROM pg_subscription");
    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(feed_is("Subscribed")) << run.output();
    db.exec(
        "SET session_replication_role = replica; UPDATE docs SET body = 'Applied ' || id WHERE id < 10; RESET "
        "session_replication_role");
    EXPECT_TRUE(follows()) << run.output();
    db.exec("DELETE FROM pg_subscription_rel");
    EXPECT_TRUE(feed_is("Active")) << run.output();
    end(run);
    db.exec(fmt::format("ALTER SUBSCRIPTION s_{0} SET (slot_name = NONE); DROP SUBSCRIPTION s_{0}", db.name()));
}

}  // namespace
}  // namespace homeostat
