// Whoever was told that what he has committed is served finds it by search: with the real program, which is killed meanwhile, and
// a provider that answers when it is told to. What is asserted is what search would find at that moment.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <random>
#include <thread>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class Freshness : public FeedWhole {
protected:
    // The transaction that did it.
    std::string did(const std::string& sql) { return db.value(sql + " RETURNING pg_current_xact_id()"); }
    std::string edit(int id, const std::string& body) {
        return did(fmt::format("UPDATE docs SET body = '{}' WHERE id = {}", body, id));
    }
    std::string wait(const std::string& xact, const std::string& timeout = "30 s") {
        return db.value(fmt::format("SELECT reason FROM homeostat.freshness('docs', '{}'::xid8, '{}')", xact, timeout));
    }
    std::string body(int id) { return db.value(fmt::format("SELECT chunk_text FROM docs_embeddings WHERE id = {}", id)); }
    void begin(int documents, const std::string& columns = "", const std::string& values = "") {
        make(documents);
        declare_endpoint(endpoint);
        declare_docs(columns, values);
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(Freshness, IsSaidOfWhatIsServedAndOfNothingElse) {
    begin(20);
    kit::Process run = start();
    EXPECT_EQ(wait(edit(1, "One")), "Served") << run.output();
    EXPECT_EQ(body(1), "One");
    // Of the same content, of nothing, of a row that comes and of one that goes.
    EXPECT_EQ(wait(edit(1, "One")), "Served");
    EXPECT_EQ(wait(did("UPDATE docs SET seen = 7 WHERE id = 2")), "Served");
    EXPECT_EQ(wait(did("INSERT INTO docs VALUES (50, 'Fifty', 'x')")), "Served");
    EXPECT_EQ(body(50), "Fifty");
    EXPECT_EQ(wait(did("DELETE FROM docs WHERE id = 50")), "Served");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE id = 50"), "0");

    endpoint.withhold();
    const std::string edited = edit(3, "Three");
    EXPECT_EQ(wait(edited, "0 s"), "Behind");
    EXPECT_EQ(wait(edited, "200 ms"), "Behind");
    EXPECT_EQ(db.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8, '100 ms')", edited)), "f");
    endpoint.release();
    EXPECT_EQ(db.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8)", edited)), "t");
    EXPECT_EQ(body(3), "Three");
    // By the place in the log, and by whoever asks later.
    edit(4, "Four");
    EXPECT_EQ(db.value("SELECT homeostat.wait_until_fresh('docs', pg_current_wal_insert_lsn())"), "t");
    EXPECT_EQ(body(4), "Four");
    EXPECT_EQ(wait(edited, "0 s"), "Served");
    EXPECT_EQ(db.value("SELECT reason FROM homeostat.freshness('docs', pg_current_wal_insert_lsn() + 1000000)"), "NotWritten");
    end(run);
}

TEST_F(Freshness, OfTransactionsThatHaveNotCommitted) {
    begin(20);
    kit::Process run = start();
    kit::Sql other(db.url());
    other.query("BEGIN");
    const std::string first = other.value("UPDATE docs SET body = 'First' WHERE id = 1 RETURNING pg_current_xact_id()");
    other.query("SAVEPOINT s");
    other.query("UPDATE docs SET body = 'Second' WHERE id = 2");
    const std::string inner = other.value("SELECT xmin FROM docs WHERE id = 2");
    EXPECT_EQ(wait(first, "100 ms"), "InProgress");
    EXPECT_EQ(wait(inner, "100 ms"), "InProgress");
    // One that is younger, and has ended.
    EXPECT_EQ(wait(edit(3, "Three")), "Served");
    EXPECT_EQ(body(3), "Three");
    EXPECT_EQ(db.value("SELECT reason FROM homeostat.freshness('docs', pg_current_wal_insert_lsn(), '100 ms')"), "InProgress");
    try {
        other.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8)", first));
        FAIL() << "it would have waited for itself";
    } catch (const std::exception& e) {
        EXPECT_NE(std::string(e.what()).find("commit, then ask"), std::string::npos) << e.what();
    }
    other.query("ROLLBACK");
    EXPECT_EQ(wait(first, "0 s"), "Aborted");
    other.query("BEGIN");
    other.query("SAVEPOINT s");
    other.query("UPDATE docs SET body = 'Second' WHERE id = 2");
    const std::string whole = other.value("SELECT pg_current_xact_id()");
    const std::string part = other.value("SELECT xmin FROM docs WHERE id = 2");
    EXPECT_NE(whole, part);
    other.query("COMMIT");
    EXPECT_EQ(wait(part), "Served");
    EXPECT_EQ(body(2), "Second");
    EXPECT_EQ(wait(whole), "Served");
    for (const char* refused :
         {"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT homeostat.wait_until_fresh('docs', '3'::xid8)",
          "SELECT homeostat.wait_until_fresh('docs', '9000000000'::xid8)", "SELECT homeostat.wait_until_fresh('no', '3'::xid8)",
          "SELECT homeostat.wait_until_fresh('docs', NULL::xid8)"}) {
        kit::Sql asks(db.url());
        EXPECT_THROW(asks.query(refused), std::exception) << refused;
    }
    end(run);
}

TEST_F(Freshness, IsNotSaidOfWhatIsRefusedSuspendedOrUnknown) {
    begin(20);
    kit::Process run = start();
    endpoint.when_text("POISON", {.status = 400});
    const std::string before = edit(1, "Fine");
    EXPECT_EQ(wait(before), "Served");
    const std::string refused = edit(2, "POISON");
    EXPECT_EQ(wait(refused), "Refused") << run.output();
    EXPECT_EQ(body(2), "Body of 2");
    EXPECT_EQ(wait(edit(3, "Three")), "Served") << "that another document was refused before is nothing to this one";
    EXPECT_EQ(body(3), "Three");
    EXPECT_EQ(wait(edit(2, "Good again")), "Served");
    EXPECT_EQ(wait(refused, "0 s"), "Served") << "what it wrote was overwritten, and that is served";

    const std::string served = edit(4, "Four");
    EXPECT_EQ(wait(served), "Served");
    db.exec("UPDATE homeostat.pipeline SET suspend = true");
    const std::string waits = edit(5, "Five");
    EXPECT_EQ(wait(waits, "1 hour"), "Suspended");
    db.exec("UPDATE homeostat.pipeline SET suspend = false");
    EXPECT_EQ(wait(waits), "Served") << run.output();
    EXPECT_EQ(body(5), "Five");

    // What nobody names: a full feed, triggers that are switched off.
    db.exec("SELECT setval('homeostat_data.p1_full', 2)");
    const std::string unnamed = edit(6, "Six");
    EXPECT_NE(wait(unnamed, "0 s"), "Served");
    EXPECT_EQ(wait(unnamed), "Served") << run.output();
    EXPECT_EQ(body(6), "Six");
    db.exec("ALTER TABLE docs DISABLE TRIGGER ALL");
    const std::string untold = edit(7, "Seven");
    EXPECT_NE(wait(untold, "0 s"), "Served");
    EXPECT_NE(wait(untold, "1 s"), "Served");
    db.exec("ALTER TABLE docs ENABLE TRIGGER ALL");
    EXPECT_NE(wait(untold, "0 s"), "Served");
    EXPECT_EQ(wait(untold), "Served") << run.output();
    EXPECT_EQ(body(7), "Seven");
    end(run);
    EXPECT_EQ(wait(served, "0 s"), "Served") << "nothing has changed, though nobody runs";
}

TEST_F(Freshness, WithoutAFeedIsSaidByASweepThatBeganLater) {
    begin(20, ", capture", ", 'Off'");
    run_once(kConverged);
    const std::string edited = edit(1, "One");
    EXPECT_EQ(wait(edited, "0 s"), "NotSwept");
    run_once(kConverged);
    EXPECT_EQ(wait(edited, "0 s"), "Served");
    EXPECT_EQ(body(1), "One");
    kit::Sql other(db.url());
    other.query("BEGIN");
    const std::string late = other.value("UPDATE docs SET body = 'Two' WHERE id = 2 RETURNING pg_current_xact_id()");
    run_once(kConverged);
    other.query("COMMIT");
    EXPECT_EQ(wait(late, "0 s"), "NotSwept") << "the sweep began before it ended";
    run_once(kConverged);
    EXPECT_EQ(wait(late, "0 s"), "Served");
    // What a rollback takes back is served no more, until a sweep has brought it again.
    ASSERT_EQ(homeostat.run({"checkpoint", "docs", "here", "--no-wait"}).exit.code, 0);
    run_once(kConverged);
    const std::string undone = edit(3, "Three");
    run_once(kConverged);
    EXPECT_EQ(wait(undone, "0 s"), "Served");
    ASSERT_EQ(homeostat.run({"rollback", "docs", "--to", "here", "--reason", "wrong", "--no-wait"}).exit.code, 0);
    const kit::Program::Outcome back = homeostat.run_once();
    ASSERT_EQ(body(3), "Body of 3") << back.output;
    EXPECT_EQ(wait(undone, "0 s"), "Suspended");
    ASSERT_EQ(homeostat.run({"resume", "docs"}).exit.code, 0);
    EXPECT_NE(wait(undone, "0 s"), "Served");
    run_once(kConverged);
    EXPECT_EQ(wait(undone, "0 s"), "Served");
    EXPECT_EQ(body(3), "Three");
}

TEST_F(Freshness, IsAskedWithTheLeastOfRights) {
    begin(5);
    kit::Process run = start();
    const std::string edited = edit(1, "One");
    db.exec("CREATE ROLE fresh_app LOGIN");
    db.exec(
        "GRANT USAGE ON SCHEMA homeostat TO fresh_app; GRANT EXECUTE ON FUNCTION homeostat.wait_until_fresh(text, xid8, interval)"
        " TO fresh_app");
    kit::Sql app(db.url());
    app.query("SET ROLE fresh_app");
    EXPECT_EQ(app.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8)", edited)), "t");
    EXPECT_THROW(app.query("SELECT * FROM homeostat.swept"), std::exception);
    app.query("RESET ROLE");
    app.query("SET ROLE homeostat_declarer");
    EXPECT_EQ(app.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8)", edited)), "t");
    app.query("RESET ROLE");
    end(run);
    db.exec("DROP OWNED BY fresh_app; DROP ROLE fresh_app");
}

TEST_F(Freshness, IsSaidOfWhatIsSearchedWhileTheNextRevisionIsFilled) {
    begin(20);
    kit::FakeEndpoint other{{.dimensions = 16, .salt = "other"}};
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                    " VALUES ('other', '{}', 'n', 16, 16, 2, '1 minute')",
                    other.url()));
    kit::Process run = start();
    other.withhold();
    db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.revision WHERE state = 'building'", "1")) << run.output();
    ASSERT_TRUE(kit::eventually([&] { return !other.requests().empty(); })) << run.output();
    EXPECT_EQ(wait(edit(1, "One")), "Served") << run.output();
    EXPECT_EQ(body(1), "One");
    endpoint.withhold();
    const std::string edited = edit(2, "Two");
    EXPECT_EQ(wait(edited, "300 ms"), "Behind");
    // What was open for the revision before goes when the next one takes over.
    other.release();
    ASSERT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
    EXPECT_EQ(wait(edited), "Served") << run.output();
    EXPECT_EQ(body(2), "Two");
    endpoint.release();
    end(run);
}

TEST_F(Freshness, APromiseIsJudgedByEvidence) {
    begin(20, ", max_staleness", ", '1 hour'");
    const auto fresh = [&](const std::string& wanted) {
        return eventually_is(
            "SELECT coalesce((SELECT status || ' ' || reason FROM homeostat.condition"
            " WHERE uid = 1 AND type = 'Fresh'), '')",
            wanted);
    };
    EXPECT_EQ(db.value("SELECT evidence IS NULL AND age IS NULL FROM homeostat.staleness"), "t");
    kit::Process run = start();
    EXPECT_TRUE(fresh("True WithinPromise")) << run.output();
    EXPECT_EQ(db.value("SELECT evidence || ' ' || age FROM homeostat.staleness"), "feed 00:00:00");
    db.exec("UPDATE homeostat.pipeline SET max_staleness = '1 second'");
    ASSERT_TRUE(eventually_is("SELECT observed_generation FROM homeostat.pipeline_status",
                              db.value("SELECT generation FROM homeostat.pipeline")));
    EXPECT_TRUE(fresh("True WithinPromise")) << run.output();
    endpoint.withhold();
    edit(1, "One");
    EXPECT_TRUE(fresh("False TooOld")) << run.output();
    endpoint.release();
    EXPECT_TRUE(fresh("True WithinPromise")) << run.output();
    // Without a feed it is the beginning of the last sweep that tells.
    db.exec("UPDATE homeostat.pipeline SET capture = 'Off'");
    EXPECT_TRUE(fresh("False TooOld")) << run.output();
    EXPECT_EQ(db.value("SELECT evidence FROM homeostat.staleness"), "sweep");
    db.exec("UPDATE homeostat.pipeline SET max_staleness = NULL");
    EXPECT_TRUE(fresh("Unknown NoPromise")) << run.output();
    // Nothing is known of what was never served.
    db.exec("CREATE TABLE more (id int PRIMARY KEY, body text)");
    declare("more", "more", "content, max_staleness, suspend", "'body', '1 hour', true");
    EXPECT_TRUE(
        eventually_is("SELECT coalesce((SELECT status || ' ' || reason FROM homeostat.condition"
                      " WHERE uid = 2 AND type = 'Fresh'), '')",
                      "Unknown NoEvidence"))
        << run.output();
    end(run);
}

// From many clients, while the replicas are killed. HOMEOSTAT_FRESH_EDITS and HOMEOSTAT_FRESH_CLIENTS make more of it.
TEST_F(Freshness, NoReadIsStaleAfterATrueAnswerWhileReplicasAreKilled) {
    const auto asked = [](const char* name, int otherwise) {
        const char* value = std::getenv(name);
        return value == nullptr ? otherwise : std::atoi(value);
    };
    const int edits = asked("HOMEOSTAT_FRESH_EDITS", 300);
    const int clients = asked("HOMEOSTAT_FRESH_CLIENTS", 6);
    constexpr int kDocuments = 400;
    make(kDocuments);
    db.exec("ALTER TABLE docs ADD COLUMN n bigint NOT NULL DEFAULT 0");
    declare_docs();
    std::optional<kit::Process> replicas[2];
    replicas[0].emplace(start());
    replicas[1].emplace(homeostat.start({"run"}));
    std::atomic<int> left = edits, told = 0, untold = 0, stale = 0;
    const auto client = [&](unsigned seed) {
        kit::Sql sql(db.url());
        std::mt19937 random(seed);
        while (left.fetch_sub(1) > 0) {
            const int id = static_cast<int>(random() % kDocuments) + 1;
            // Each version has the number of the one before, and one more: so an older one is known.
            const bool anew = random() % 8 == 0;  // the row goes and comes
            const std::string change =
                anew ? fmt::format(
                           "WITH gone AS (DELETE FROM docs WHERE id = {} RETURNING id, n) INSERT INTO docs (id, n, body)"
                           " SELECT id, n + 1, (n + 1)::text FROM gone",
                           id)
                     : fmt::format("UPDATE docs SET n = n + 1, body = (n + 1)::text WHERE id = {}", id);
            const auto rows = sql.query(change + " RETURNING pg_current_xact_id(), n");
            if (rows.empty()) continue;  // another client has it between its deletion and its coming
            const std::string xact = rows.at(0).at(0).value();
            const std::int64_t n = std::stoll(rows.at(0).at(1).value());
            if (sql.value(fmt::format("SELECT homeostat.wait_until_fresh('docs', '{}'::xid8, '20 s')", xact)) != "t") {
                ++untold;
                continue;
            }
            ++told;
            const auto found = sql.query(fmt::format("SELECT chunk_text FROM docs_embeddings WHERE id = {}", id));
            if (found.size() != 1 || std::stoll(found[0].at(0).value()) < n) ++stale;
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(static_cast<std::size_t>(clients));
    for (int c = 0; c < clients; ++c) threads.emplace_back(client, static_cast<unsigned>(c + 1));
    int kills = 0;
    const int each = std::clamp(edits / 12, 1, 200);
    for (int at = edits - each; left > 0; at -= each) {
        kit::eventually([&] { return left <= at; }, 120s);
        if (left <= 0) break;
        std::optional<kit::Process>& victim = replicas[kills++ % 2];
        victim->signal(SIGKILL);
        (void)victim->wait(10s);
        victim.emplace(homeostat.start({"run"}));
    }
    for (std::thread& t : threads) t.join();
    fmt::print("{} edits by {} clients, {} kills: {} true answers, {} false, {} stale reads\n", edits, clients, kills,
               told.load(), untold.load(), stale.load());
    EXPECT_EQ(stale, 0);
    EXPECT_GT(told, edits / 2);
    EXPECT_GT(kills, 2);
    for (std::optional<kit::Process>& p : replicas) end(*p);
}

}  // namespace
}  // namespace homeostat
