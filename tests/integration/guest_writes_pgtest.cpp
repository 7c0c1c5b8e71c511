// A guest in the user's database: what a writer pays for our triggers, and whom he never waits for.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

class GuestWrites : public FeedWhole {
protected:
    // A text of that many bytes that hardly compresses, of row i.
    static std::string dense(int bytes) {
        return fmt::format("(SELECT left(string_agg(md5(i || 'x' || g), ''), {0}) FROM generate_series(1, {0} / 32 + 1) g)",
                           bytes);
    }
    void fill(const std::string& text, const std::string& columns = "") {
        db.exec("CREATE TABLE docs (id int PRIMARY KEY, body text, tag jsonb, n int NOT NULL DEFAULT 0, other text" + columns +
                ")");
        db.exec("INSERT INTO docs (id, body, tag, other) SELECT i, " + text +
                ", jsonb_build_object('a', 'b'), 'other' FROM generate_series(1, 20) i");
    }
    void capture() {
        declare_docs(", metadata, chunk_size", ", 'tag', 200");
        kit::Process run = start();
        ASSERT_TRUE(asleep());
        end(run);
    }
    // What a session of its own read of values that are apart of their rows.
    std::string read_apart(const std::string& sql) {
        kit::Sql session(db.url());
        session.exec("BEGIN; " + sql);
        std::string read = session.value(
            "SELECT pg_stat_get_xact_numscans(i.indexrelid) FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid"
            " WHERE c.oid = 'docs'::regclass");
        session.exec("COMMIT");
        return read;
    }
    // What is named by a statement of a session of its own.
    std::string named(const std::string& sql) {
        db.exec("DELETE FROM homeostat_data.p1_change");
        kit::Sql session(db.url());
        session.exec(sql);
        EXPECT_EQ(db.value("SELECT last_value FROM homeostat_data.p1_full"), "1") << sql;
        return db.value(
            "SELECT coalesce(string_agg(DISTINCT change::text || key_1, ',' ORDER BY change::text || key_1), '')"
            " FROM homeostat_data.p1_change");
    }
};

// An UPDATE of a counter beside large texts costs what it costs without us: their values stay where they are, and are not read.
TEST_F(GuestWrites, WhatIsNotWrittenIsNotRead) {
    fill(dense(30'000));
    db.exec("UPDATE docs SET tag = jsonb_build_object('a', body)");
    capture();
    EXPECT_EQ(read_apart("UPDATE docs SET n = n + 1"), "0");
    EXPECT_EQ(read_apart("UPDATE docs SET other = 'more' || n; UPDATE docs SET n = n + 1; UPDATE docs SET n = n - 1"), "0");
    EXPECT_EQ(named("UPDATE docs SET n = n + 1 WHERE id < 5; UPDATE docs SET other = 'less'"), "");
    EXPECT_NE(read_apart("UPDATE docs SET body = body || '!' WHERE id = 1"), "0") << "the question is a good one";
}

// Texts of a few pages, kept apart as they are where the table says so, by every way in which they come to be others.
TEST_F(GuestWrites, EveryOtherValueIsNamed) {
    fill(dense(20'000));
    db.exec(
        "CREATE TABLE elsewhere AS SELECT * FROM docs; ALTER TABLE elsewhere ALTER body SET STORAGE EXTERNAL;"
        "UPDATE elsewhere SET body = repeat('abcdefghij', 2000), id = 0 WHERE id = 9");
    capture();
    EXPECT_EQ(named("UPDATE docs SET n = n + 1"), "");
    EXPECT_EQ(named("UPDATE docs SET body = overlay(body PLACING '~' FROM 19999) WHERE id = 1"), "u1") << "of the same length";
    EXPECT_EQ(named("UPDATE docs SET n = n + 1"), "");
    EXPECT_EQ(named("UPDATE docs SET body = (SELECT e.body FROM elsewhere e WHERE e.id = 2) WHERE id = 3"), "u3");
    EXPECT_EQ(named("UPDATE docs SET body = (SELECT e.body FROM docs e WHERE e.id = 5) WHERE id = 4"), "u4") << "a neighbour's";
    EXPECT_EQ(named("UPDATE docs SET body = (SELECT e.body FROM elsewhere e WHERE e.id = 0) WHERE id = 6"), "u6")
        << "apart there, and small here";
    EXPECT_EQ(named("UPDATE docs SET body = translate(body, 'j', '#') WHERE id = 6"), "u6") << "in its row, and compressed";
    EXPECT_EQ(named("UPDATE docs SET body = NULL WHERE id = 7"), "u7");
    EXPECT_EQ(named("UPDATE docs SET body = " + dense(20'000) + " FROM generate_series(7, 7) i WHERE id = 7"), "u7");
    EXPECT_EQ(named("UPDATE docs SET tag = jsonb_build_object('a', body) WHERE id = 8"), "u8") << "metadata";
    EXPECT_EQ(named("UPDATE docs SET tag = jsonb_build_object('a', overlay(body PLACING '~' FROM 19990)) WHERE id = 8"), "u8");
    EXPECT_EQ(named("UPDATE docs SET n = n + 1"), "");
    EXPECT_EQ(named("BEGIN; SAVEPOINT s; UPDATE docs SET body = body || '!' WHERE id = 9; ROLLBACK TO s; UPDATE docs SET n = 1;"
                    " UPDATE docs SET body = reverse(body) WHERE id = 10; UPDATE docs SET n = 2; COMMIT"),
              "u10");
    EXPECT_EQ(named("SET track_counts = off; UPDATE docs SET body = overlay(body PLACING '+' FROM 19999) WHERE id = 11; RESET "
                    "track_counts"),
              "u11");
    EXPECT_EQ(named("INSERT INTO docs SELECT 12, " + dense(20'001) +
                    " FROM generate_series(12, 12) i ON CONFLICT (id) DO UPDATE"
                    " SET body = excluded.body"),
              "u12");
    db.exec("VACUUM FULL docs");
    EXPECT_EQ(named("UPDATE docs SET n = n + 1"), "");
    EXPECT_EQ(named("UPDATE docs SET body = overlay(body PLACING '*' FROM 19999) WHERE id = 13"), "u13") << "its values moved";
}

// However the table is altered afterwards, and whoever changes the value.
TEST_F(GuestWrites, EveryOtherValueIsNamedWhereverItIsKept) {
    fill(dense(20'000));
    capture();
    const std::string late = "UPDATE docs SET body = overlay(body PLACING '{}' FROM 19999) WHERE id = 1";
    for (const char* way :
         {"ALTER TABLE docs ALTER body SET STORAGE EXTERNAL", "ALTER TABLE docs ALTER body SET STORAGE MAIN",
          "ALTER TABLE docs ALTER body SET STORAGE EXTENDED", "ALTER TABLE docs SET (toast_tuple_target = 8160)",
          "ALTER TABLE docs ALTER body SET COMPRESSION pglz", "UPDATE docs SET body = repeat('even ', 4000)"}) {
        db.exec(way);
        // As it is kept from here on, and then another in its place.
        EXPECT_EQ(named(fmt::format(fmt::runtime(late), 'a')), "u1") << way;
        EXPECT_EQ(named(fmt::format(fmt::runtime(late), 'b')), "u1") << way;
        EXPECT_EQ(named("UPDATE docs SET n = n + 1"), "") << way;
    }
    db.exec("ALTER TABLE docs RESET (toast_tuple_target)");
    db.exec(
        "CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := overlay(NEW.body PLACING"
        " NEW.n::text FROM 19900); RETURN NEW; END $$; CREATE TRIGGER a BEFORE UPDATE ON docs FOR EACH ROW"
        " EXECUTE FUNCTION counts()");
    EXPECT_EQ(named("UPDATE docs SET n = n + 1 WHERE id IN (2, 3)"), "u2,u3") << "a trigger of theirs";
}

// Behind a view each column counts: what is large is not read to find that.
TEST_F(GuestWrites, ARowBehindAViewIsNotRead) {
    fill(dense(30'000));
    db.exec("CREATE VIEW library AS SELECT id, other AS body FROM docs");
    declare("docs", "library", "key, content, capture_from, drift_interval, sweep_interval",
            "'id', 'body', '[{\"table\": \"docs\", \"key\": {\"id\": \"id\"}}]', '1 day', '30 days'");
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    end(run);
    EXPECT_EQ(read_apart("UPDATE docs SET n = n + 1"), "0");
    EXPECT_EQ(named("UPDATE docs SET other = 'Edited' WHERE id = 2"), "u2");
}

struct Locked {
    std::string name;
    std::string by;
};
std::ostream& operator<<(std::ostream& out, const Locked& l) { return out << l.name; }

class GuestLocks : public GuestWrites, public ::testing::WithParamInterface<Locked> {};

// Whoever locks what is ours holds up no writer, and what is changed meanwhile is found when he has let go.
TEST_P(GuestLocks, NoWriterWaits) {
    make(40);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    end(run);
    kit::Sql holder(db.url());
    holder.exec("BEGIN; " + GetParam().by);
    kit::Sql writer(db.url());
    writer.exec("SET statement_timeout = '20s'; SET lock_timeout = '17s'");
    writer.exec("UPDATE docs SET body = 'Edited' WHERE id = 1");
    writer.exec("INSERT INTO docs VALUES (100, 'New')");
    writer.exec("DELETE FROM docs WHERE id = 2");
    writer.exec(
        "BEGIN; UPDATE docs SET body = 'Edited' WHERE id BETWEEN 3 AND 30; SAVEPOINT s; UPDATE docs SET id = 200 WHERE id = 31;"
        " ROLLBACK TO s; UPDATE docs SET id = 201 WHERE id = 31; INSERT INTO docs VALUES (101, 'New'); COMMIT");
    EXPECT_EQ(writer.value("SHOW lock_timeout"), "17s");
    // One who had begun goes on as he would.
    holder.exec("ROLLBACK");
    writer.exec("UPDATE docs SET body = 'Edited later' WHERE id = 32");
    kit::Process again = homeostat.start({"run"});
    EXPECT_TRUE(follows()) << again.output();
    EXPECT_TRUE(feed_is("Active")) << again.output();
    end_converged(again, "docs", "SELECT id::text AS key, body AS content FROM docs");
}

INSTANTIATE_TEST_SUITE_P(
    Of, GuestLocks,
    ::testing::Values(
        Locked{"ChangesAlone", "LOCK TABLE homeostat_data.p1_change IN ACCESS EXCLUSIVE MODE"},
        Locked{"ChangesIndexed", "CREATE INDEX ON homeostat_data.p1_change (at)"},
        Locked{"TheBell", "LOCK TABLE homeostat.feed_bell IN ACCESS EXCLUSIVE MODE"},
        Locked{"TheBellShared", "LOCK TABLE homeostat.feed_bell IN SHARE MODE"},
        Locked{"AllDeclared", "LOCK TABLE homeostat.pipeline, homeostat.feed, homeostat.provider IN ACCESS EXCLUSIVE MODE"},
        Locked{"AllOfTheFeed", "LOCK TABLE homeostat_data.p1_change, homeostat.feed_bell IN ACCESS EXCLUSIVE MODE"}),
    [](const auto& c) { return c.param.name; });

// He who holds it while a consumer runs, too: there is a sweep, and then changes are named again.
TEST_F(GuestWrites, ALockThatIsHeldForLongIsSweptFor) {
    make(40);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    kit::Sql holder(db.url());
    holder.exec("BEGIN; LOCK TABLE homeostat_data.p1_change IN SHARE MODE");
    kit::Sql writer(db.url());
    writer.exec("SET statement_timeout = '20s'");
    writer.exec("UPDATE docs SET body = 'Edited' WHERE id < 9");
    EXPECT_TRUE(eventually_is("SELECT least(last_value, 2) FROM homeostat_data.p1_full", "2"));
    holder.exec("COMMIT");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_TRUE(feed_is("Active")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT last_value FROM homeostat_data.p1_full", "1")) << run.output();
    end(run);
}

}  // namespace
}  // namespace homeostat
