// What a session promises about transactions whose statements travel together: their order, what fails them, what is left after.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "store/control/providers.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/named_statement.hpp"
#include "store/pg/session.hpp"
#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"

namespace homeostat {
namespace {

class StoreSession : public ::testing::Test {
protected:
    StoreSession() { db.exec("CREATE TABLE public.t (id int PRIMARY KEY, note text)"); }

    static Statement insert() { return {"t_insert", "INSERT INTO public.t VALUES ($1::int, $2) RETURNING id"}; }
    std::string rows() { return db.value("SELECT coalesce(string_agg(id || note, ' ' ORDER BY id), '') FROM public.t"); }
    // Of our session, as others see it.
    std::string state() {
        return db.value(
            "SELECT state FROM pg_stat_activity WHERE application_name = 'under test' AND datname = current_database()");
    }
    std::string code_of(const std::function<void()>& f) {
        const Status done = guarded(f);
        if (done) return "";
        return done.error().code.empty() ? std::string(to_string(done.error().cls)) : done.error().code;
    }

    kit::Database db{kit::Schema::empty};
    std::unique_ptr<Session> session = *Session::connect({.url = db.url(), .application_name = "under test"});
};

// Cast, quoted colon, one name twice.
TEST_F(StoreSession, AParameterWithANameIsGivenByItsName) {
    const NamedStatement named{"t_named", "SELECT :a::text || ' at 12:b ' || :b || :a || '::a ''x:a'"};
    EXPECT_EQ(session->exec(named.statement(), named.with({{"b", "second"}, {"a", 1}})).text(0, 0), "1 at 12:b second1::a 'x:a");
    EXPECT_EQ(code_of([&] { named.with({{"a", 1}}); }), "internal");
    EXPECT_EQ(code_of([&] { named.with({{"a", 1}, {"b", 2}, {"c", 3}}); }), "internal");
}

TEST_F(StoreSession, BeginsWithItsFirstStatementAndEndsWithItsCommit) {
    {
        Transaction tx = session->begin();
        EXPECT_EQ(state(), "idle");
        tx.exec(insert(), Params::of(1, "a"));
        EXPECT_EQ(state(), "idle in transaction");
        tx.commit();
    }
    EXPECT_EQ(state(), "idle");
    {
        session->begin().exec(insert(), Params::of(2, "b"));
    }
    EXPECT_EQ(state(), "idle");
    session->begin().commit();
    EXPECT_EQ(rows(), "1a");
}

TEST_F(StoreSession, WhatWaitsGoesInOrderWithWhatComesNext) {
    std::vector<int> told;
    const auto tell = [&](const Rows& answer) { told.push_back(static_cast<int>(answer.i64(0, 0))); };
    Transaction tx = session->begin();
    tx.later(insert(), Params::of(1, "a"), tell);
    tx.later({"t_update", "UPDATE public.t SET note = note || 'x' WHERE id = $1::int"}, Params::of(1));
    EXPECT_EQ(state(), "idle");
    EXPECT_EQ(tx.exec({"t_notes", "SELECT note FROM public.t"}, {}).text(0, 0), "ax");
    EXPECT_EQ(told, std::vector<int>{1});
    tx.later(insert(), Params::of(2, "b"), tell);
    tx.at_commit(insert(), Params::of(3, "c"), tell);
    tx.commit();
    EXPECT_EQ(told, (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(rows(), "1ax 2b 3c");
}

TEST_F(StoreSession, OutsideATransactionEachIsByItself) {
    Transaction tx = session->begin(TxMode::none);
    tx.later(insert(), Params::of(1, "a"));
    tx.commit();
    tx.exec(insert(), Params::of(2, "b"));
    EXPECT_EQ(state(), "idle");
    EXPECT_EQ(rows(), "1a 2b");
}

TEST_F(StoreSession, ACheckThatThrowsIsHeardBeforeTheCommit) {
    const auto refuse = [](const Rows&) { throw StoreFailure({.cls = ErrorClass::fenced, .message = "no", .code = "No"}); };
    for (const bool with_more : {false, true}) {
        EXPECT_EQ(code_of([&] {
                      Transaction tx = session->begin();
                      tx.later(insert(), Params::of(1, "a"), refuse);
                      if (with_more) tx.exec(insert(), Params::of(2, "b"));
                      tx.commit();
                  }),
                  "No");
        EXPECT_EQ(state(), "idle");
        EXPECT_EQ(rows(), "");
    }
    // Nothing goes on after it, whoever did not listen.
    EXPECT_EQ(code_of([&] {
                  Transaction tx = session->begin();
                  tx.later(insert(), Params::of(1, "a"), refuse);
                  EXPECT_EQ(code_of([&] { tx.exec(insert(), Params::of(2, "b")); }), "No");
                  tx.commit();
              }),
              "internal");
    EXPECT_EQ(rows(), "");
    // It explains what fails after it.
    EXPECT_EQ(code_of([&] {
                  Transaction tx = session->begin();
                  tx.later(insert(), Params::of(1, "a"), refuse);
                  tx.exec(insert(), Params::of(1, "twice"));
              }),
              "No");
}

TEST_F(StoreSession, OneThatFailsUndoesAllAndTheSessionGoesOn) {
    for (int round = 0; round < 4; ++round) {
        EXPECT_EQ(code_of([&] {
                      Transaction tx = session->begin();
                      tx.later(insert(), Params::of(1, "a"));
                      tx.later({"t_fails", "SELECT 1 / ($1::int - 1)"}, Params::of(1));
                      tx.later({fmt::format("t_after_{}", round / 2), "SELECT 1"}, {});
                      tx.commit();
                  }),
                  "22012");
        EXPECT_EQ(state(), "idle");
        EXPECT_TRUE(session->usable());
        EXPECT_EQ(session->exec({fmt::format("t_after_{}", round / 2), "SELECT 1"}, {}).i64(0, 0), 1);
    }
    EXPECT_EQ(rows(), "");
    // A statement that failed, then was ignored: what is committed after it is not.
    EXPECT_EQ(code_of([&] {
                  Transaction tx = session->begin();
                  tx.exec(insert(), Params::of(1, "a"));
                  EXPECT_EQ(code_of([&] { tx.exec("SELECT 1 / 0"); }), "22012");
                  tx.commit();
              }),
              "internal");
    EXPECT_EQ(rows(), "");
}

// More statements than are kept prepared, some of them in transactions that fail while one is prepared and another forgotten.
TEST_F(StoreSession, PreparedStatementsSurviveFailures) {
    for (int i = 0; i < 1'000; ++i) {
        const Statement one{fmt::format("s{}", i % 450), fmt::format("SELECT {}", i % 450)};
        const bool fails = i % 7 == 0;
        const std::string code = code_of([&] {
            Transaction tx = session->begin();
            if (fails) tx.later({"", "SELECT 1 / 0"}, {});
            for (int again = 0; again < 2; ++again) tx.later(one, {});
            EXPECT_EQ(tx.exec(one).i64(0, 0), i % 450);
            tx.commit();
        });
        ASSERT_EQ(code, fails ? "22012" : "") << i;
    }
    EXPECT_LE(session->exec("SELECT count(*) FROM pg_prepared_statements").i64(0, 0), 384);
}

TEST_F(StoreSession, APlanThatATableOutgrewIsMadeAnew) {
    const Statement all{"t_all", "SELECT * FROM public.t"};
    for (int i = 0; i < 3; ++i) session->exec(all);
    db.exec("ALTER TABLE public.t ADD COLUMN more int");
    const Status first = guarded([&] { session->exec(all); });
    ASSERT_FALSE(first);
    EXPECT_EQ(first.error().cls, ErrorClass::db_transient);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(session->exec(all).empty());
}

TEST_F(StoreSession, ALinkThatIsCutSaysSoAndWhetherACommitMayBeDone) {
    const std::string kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'under test' AND datname = "
        "current_database()";
    const Status cut = guarded([&] {
        Transaction tx = session->begin();
        tx.exec(insert(), Params::of(1, "a"));
        db.value(kill);
        tx.exec(insert(), Params::of(2, "b"));
    });
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().cls, ErrorClass::db_transient);
    EXPECT_FALSE(cut.error().outcome_unknown);
    EXPECT_FALSE(session->usable());
    session = *Session::connect({.url = db.url(), .application_name = "under test"});
    const Status unknown = guarded([&] {
        Transaction tx = session->begin();
        tx.exec(insert(), Params::of(1, "a"));
        db.value(kill);
        tx.commit();
    });
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().cls, ErrorClass::db_transient);
    EXPECT_TRUE(unknown.error().outcome_unknown);
    EXPECT_EQ(rows(), "");
}

TEST_F(StoreSession, IsNotUsedTwiceAtATime) {
    Transaction tx = session->begin();
    EXPECT_EQ(code_of([&] { session->exec("SELECT 1"); }), "internal");
    EXPECT_EQ(code_of([&] { session->begin(); }), "internal");
}

TEST_F(StoreSession, NotificationsReachWhoeverListens) {
    std::string heard;
    session->listen("A channel", [&](std::string_view payload) { heard = payload; });
    EXPECT_FALSE(session->await_notification(1));
    db.exec("NOTIFY \"A channel\", 'one'");
    EXPECT_TRUE(session->await_notification(10'000));
    EXPECT_EQ(heard, "one");
    // What arrives while a statement runs is not lost.
    db.exec("NOTIFY \"A channel\", 'two'");
    session->exec("SELECT 1");
    EXPECT_TRUE(session->await_notification(10'000));
    EXPECT_EQ(heard, "two");
}

TEST_F(StoreSession, TextIsUtf8WhateverTheDatabaseIsMadeOf) {
    db.exec("CREATE DATABASE homeostat_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    {
        const std::unique_ptr<Session> other = *Session::connect({.url = kit::Cluster::shared().url("homeostat_latin1")});
        EXPECT_EQ(other->exec("SELECT chr(252)").text(0, 0), "\xc3\xbc");
        EXPECT_EQ(other->exec({"", "SELECT ascii($1)"}, Params::of("\xc3\xbc")).i64(0, 0), 252);
    }
    db.exec("DROP DATABASE homeostat_latin1");
}

// The point is read while the youngest transaction of all has written and not ended: it may have read the flag as it was before.
TEST(StoreFeed, IsNotSettledBeforeTheYoungestWriterHasEnded) {
    kit::Database db;
    const std::unique_ptr<Session> session = *Session::connect({.url = db.url()});
    db.exec("CREATE TABLE public.t (id int)");
    kit::Sql writer(db.url());
    writer.exec("BEGIN; INSERT INTO public.t VALUES (1)");
    const Result<std::optional<std::int64_t>> point = let_feed_sleep(*session, 1);
    ASSERT_TRUE(point.ok() && point->has_value());
    EXPECT_FALSE(*feed_settled(*session, **point));
    writer.exec("COMMIT");
    // Other tests write to other databases of the same server.
    EXPECT_TRUE(kit::eventually([&] { return *feed_settled(*session, **point); }, std::chrono::seconds(30)));
}

// What we alter is given up at once where somebody reads it, by name, and the transaction goes on as it was.
TEST_F(StoreSession, WhatSomebodyHoldsIsNotWaitedForLong) {
    kit::Sql reader(db.url());
    reader.exec("SET application_name = 'nightly-dump'; BEGIN; SELECT count(*) FROM t");
    Transaction tx = session->begin();
    tx.exec(insert(), Params::of(1, "a"));
    const std::string before = tx.exec("SHOW lock_timeout").text(0, 0);
    const auto alter = [&] { with_short_locks(tx, {"public.t"}, [&] { tx.exec("ALTER TABLE public.t ADD extra int"); }); };
    const Status held = guarded(alter);
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().code, kLockHeld);
    EXPECT_THAT(held.error().message, ::testing::AllOf(::testing::HasSubstr("nightly-dump"), ::testing::HasSubstr(" t")));
    EXPECT_EQ(tx.exec("SHOW lock_timeout").text(0, 0), before);
    reader.exec("COMMIT");
    EXPECT_EQ(code_of(alter), "");
    EXPECT_EQ(tx.exec("SHOW lock_timeout").text(0, 0), before);
    tx.commit();
    EXPECT_EQ(db.value("SELECT count(extra) || note FROM t GROUP BY note"), "0a");
}

// A reader who has what we want and wants what we have is not the one who fails.
TEST_F(StoreSession, AReaderIsNeverChosenInADeadlock) {
    db.exec("CREATE TABLE public.u (id int)");
    kit::Sql reader(db.url());
    reader.exec("BEGIN; SELECT count(*) FROM t");
    Transaction tx = session->begin();
    tx.exec("LOCK TABLE public.u");
    kit::Sql asking(db.url());
    std::jthread other([&] { reader.exec("SELECT count(*) FROM u; COMMIT"); });
    // Other tests' locks are in the same cluster.
    ASSERT_TRUE(kit::eventually([&] {
        return asking.value(
                   "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'public.u'::regclass AND database ="
                   " (SELECT oid FROM pg_database WHERE datname = current_database())") == "1";
    }));
    const auto alter = [&] { with_short_locks(tx, {"public.t"}, [&] { tx.exec("ALTER TABLE public.t ADD extra int"); }); };
    EXPECT_EQ(code_of(alter), kLockHeld);
    tx.exec("ROLLBACK");
}

// A replica that heard nothing since does not speak over one that did; what was learnt of its limits is kept all the same.
TEST(ProviderRecords, AreAsOldAsWhatWasHeard) {
    kit::Database db;
    const std::unique_ptr<Session> session = *Session::connect({.url = db.url()});
    db.exec("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('p', 'http://127.0.0.1:1', 'm', 16)");
    ProviderRecord r{.uid = std::stoll(db.value("SELECT uid FROM homeostat.provider WHERE name = 'p'")), .model = "m"};
    r.generation = std::stoll(db.value("SELECT generation FROM homeostat.provider WHERE name = 'p'"));
    const auto told = [&](const char* replica, bool healthy, std::chrono::milliseconds ago) {
        r.healthy = healthy;
        r.heard_ago = ago;
        EXPECT_TRUE(write_provider_record(*session, r, replica));
        return db.value("SELECT healthy || replica || coalesce(max_texts::text, '') FROM homeostat.provider_status");
    };
    EXPECT_EQ(told("a", true, std::chrono::seconds(0)), "truea");
    r.max_texts = 64;
    EXPECT_EQ(told("b", false, std::chrono::seconds(5)), "truea64") << "it failed before";
    r.max_texts = 0;
    EXPECT_EQ(told("a", false, std::chrono::seconds(20)), "truea64");
    EXPECT_EQ(told("b", false, std::chrono::milliseconds(0)), "falseb64");
    EXPECT_EQ(told("a", true, std::chrono::milliseconds(0)), "truea64");
    r.pace = 12;
    r.in_flight = 3;
    r.encoding = "float";
    told("a", true, std::chrono::milliseconds(0));
    const auto learnt = [&] {
        return db.value("SELECT coalesce(pace || ' ' || in_flight || ' ' || encoding, 'nothing') FROM homeostat.provider_status");
    };
    r.pace = 0;
    r.in_flight = 0;
    r.encoding.clear();
    told("b", true, std::chrono::milliseconds(0));
    EXPECT_EQ(learnt(), "12 3 float") << "whoever has learnt nothing has taken it back";
    r.generation += 1;
    EXPECT_EQ(told("b", false, std::chrono::hours(1)), "falseb") << "another declaration";
    EXPECT_EQ(learnt(), "nothing");
    const Result<std::optional<ProviderRecord>> read = read_provider_record(*session, r.uid, "m");
    ASSERT_TRUE(read && *read);
    EXPECT_GE((*read)->heard_ago, std::chrono::hours(1));
}

// A statement that has waited for a row goes on with what it saw before: what is planned would be for a revision that is retired.
TEST(FeedGates, SeeWhatIsThereOnceTheyHoldThePipeline) {
    kit::Database db;
    db.exec("CREATE TABLE docs (id int PRIMARY KEY, body text)");
    const std::int64_t uid = std::stoll(db.value(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target) VALUES ('docs', 'docs', 'body',"
        " 'hashing', 16, 'docs_embeddings') RETURNING uid"));
    db.exec(fmt::format(
        "INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, vector_type, state) VALUES"
        " ({0}, 1, '{{}}', 'hashing', 'm', 16, 'vector', 'served'), ({0}, 2, '{{}}', 'hashing', 'n', 16, 'vector',"
        " 'building'); INSERT INTO homeostat.lease (resource, holder, epoch, timeline, acquired_at, expires_at) VALUES"
        " ('pipeline/{0}', 'us', 7, 1, now(), 'infinity')",
        uid));
    const std::unique_ptr<Session> session = *Session::connect({.url = db.url(), .application_name = "gate"});
    {
        Transaction tx = session->begin();
        keep_feed(tx, uid, "triggers", true);
        tx.commit();
    }
    kit::Sql other(db.url());
    other.exec("BEGIN; SELECT FROM homeostat.pipeline FOR UPDATE");
    FeedGate gate;
    std::jthread feed([&] {
        Transaction tx = session->begin();
        gate = feed_gate(tx, uid, 7);
        tx.commit();
    });
    EXPECT_TRUE(kit::eventually([&] {
        return db.value(
                   "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                   " AND application_name = 'gate'") == "1";
    }));
    other.exec("UPDATE homeostat.revision SET state = 'retired' WHERE revision = 2; COMMIT");
    feed.join();
    EXPECT_TRUE(gate.kept);
    EXPECT_EQ(gate.revision, 1);
}

}  // namespace
}  // namespace homeostat
