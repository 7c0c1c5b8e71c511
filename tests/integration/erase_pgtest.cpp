// What must be forgotten: every trace of a document goes, from every table, and the receipt says what an independent look finds.
#include "core/fault_point.hpp"
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";
constexpr const char* kMarker = "Zyxwvut";

class Erase : public World {
protected:
    Erase() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s says this and that.', p, i), ' ')"
            " FROM generate_series(1, 12) p) FROM generate_series(1, 20) i;"
            "UPDATE docs SET body = 'Zyxwvut lives here. ' || body || ' And Zyxwvut again.' WHERE id = 7");
        declare_endpoint(endpoint);
    }
    // Every row of every table that has the word in it, but of the source: what a dump of the database would show.
    std::vector<std::string> traces(const std::string& word = kMarker) {
        std::vector<std::string> out;
        for (const kit::Row& table : db.query(
                 "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN"
                 " ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'")) {
            const std::string rows = db.value("SELECT count(*) FROM " + *table[0] + " t WHERE t::text LIKE '%" + word + "%'");
            if (rows != "0") out.push_back(rows + " in " + *table[0]);
        }
        return out;
    }
    std::vector<std::string> traces_but_source() {
        std::vector<std::string> all = traces();
        std::erase_if(all, [](const std::string& t) { return t.ends_with(" in docs"); });
        return all;
    }
    kit::Program::Outcome erase(const std::string& key, const std::string& more = "--timeout=20s") {
        return homeostat.run({"erase", "docs", key, more});
    }
    // An older revision, a journal with what the document was before, and a vector that is kept for all replicas.
    void make_history() {
        declare("docs", "docs", "content, chunk_size", "'body', 40");
        run_once(kConverged, shared);
        db.exec("UPDATE docs SET body = 'Once more ' || body WHERE id IN (3, 7)");
        run_once(kConverged, shared);
        db.exec("UPDATE homeostat.pipeline SET chunk_size = 60");
        run_once(kConverged, shared);
        db.exec("UPDATE docs SET body = 'A third time ' || body WHERE id IN (3, 7)");
        run_once(kConverged, shared);
    }

    const kit::Environment shared{{"HOMEOSTAT_CACHE_SHARED_BYTES", "10MiB"}};
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(Erase, EveryTraceGoesAndTheReceiptSaysSo) {
    // What is published cannot be deleted from without an identity.
    db.exec("CREATE PUBLICATION everything FOR ALL TABLES");
    make_history();
    ASSERT_GE(traces_but_source().size(), 4U) << "two revisions' chunks and journals";
    const std::int64_t kept = number("SELECT count(*) FROM homeostat.kept_vector");
    kit::Process run = homeostat.start({"run"}, shared);
    const kit::Program::Outcome refused = erase("7");
    EXPECT_EQ(refused.exit.code, kFailed);
    EXPECT_THAT(refused.output, HasSubstr("it is still in table public.docs, from where it would be embedded again"));
    db.exec("DELETE FROM docs WHERE id = 7");
    const kit::Program::Outcome erased = homeostat.run({"erase", "docs", "id=7", "--timeout", "20s", "-o", "json"});
    EXPECT_EQ(erased.exit.code, 0) << erased.output << run.output();
    EXPECT_THAT(traces(), IsEmpty());
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.own_erasure WHERE state = 'erased' AND key IS NULL AND key_hash ="
                     " encode(sha256(convert_to('[\"7\"]', 'UTF8')), 'hex')"),
              1);
    EXPECT_EQ(number("SELECT sum(value::int) FROM homeostat.erasure, jsonb_each_text(remaining) WHERE state = 'erased'"), 0);
    EXPECT_GE(number("SELECT count(*) FROM homeostat.erasure, jsonb_object_keys(remaining) WHERE state = 'erased'"), 12);
    EXPECT_GT(number("SELECT sum(value::int) FROM homeostat.erasure, jsonb_each_text(found) WHERE state = 'erased'"), 10);
    EXPECT_LT(number("SELECT count(*) FROM homeostat.kept_vector"), kept);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat_data.p1_r1_document WHERE key_1 = 7") +
                  number("SELECT count(*) FROM homeostat_data.p1_r2_document WHERE key_1 = 7"),
              0);
    end_converged(run, "docs", kWanted);
    EXPECT_GT(number("SELECT count(*) FROM homeostat_data.p1_r2_journal"), 0) << "the other document's history stays";
    EXPECT_EQ(number("SELECT documents FROM homeostat.pipeline_status"), 19);
    const kit::Program::Outcome receipts = homeostat.run({"erase", "docs"});
    EXPECT_THAT(receipts.output, AllOf(HasSubstr("refused"), HasSubstr("erased"), HasSubstr("KEY HASH")));
}

// A text that is at its provider when its document is erased: what comes of it is neither stored nor kept.
TEST_F(Erase, WhatIsUnderWayComesToNothing) {
    declare("docs", "docs", "content, chunk_size", "'body', 40");
    kit::Process run = homeostat.start({"run"}, shared);
    ASSERT_TRUE(kit::eventually([&] {
        return condition("docs", "ChangeFeed") == "True" && condition("docs", "Ready") == "True";
    })) << run.output();
    endpoint.withhold();
    const std::uint64_t before = endpoint.calls();
    db.exec("UPDATE docs SET body = 'Another Zyxwvut text that nobody has seen' WHERE id IN (7, 8)");
    ASSERT_TRUE(endpoint.wait_for_requests(before + 1));
    db.exec("DELETE FROM docs WHERE id = 7");
    db.exec("UPDATE docs SET body = 'Something else' WHERE id = 8");
    const kit::Program::Outcome erased = erase("7");
    EXPECT_EQ(erased.exit.code, 0) << erased.output;
    endpoint.release();
    EXPECT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); })) << run.output();
    EXPECT_EQ(erase("8").exit.code, kFailed);
    db.exec("DELETE FROM docs WHERE id = 8");
    EXPECT_EQ(erase("8").exit.code, 0);
    EXPECT_THAT(traces(), IsEmpty());
    end_converged(run, "docs", kWanted);
}

// A batch that has lost a document to an erasure writes the others: what they have cost is paid once. What is declared again
// afterwards is another batch's. So it is wherever the claimant dies.
TEST_F(Erase, WhatElseABatchHasAskedForIsKept) {
    const kit::Environment no_cache{{"HOMEOSTAT_CACHE_BYTES", "0"}};
    declare("docs", "docs", "content, chunk_size", "'body', 400");
    run_once(kConverged);
    for (const std::string point : {"", "embed.after", "write.after_vectors", "write.before_commit"}) {
        kit::Environment environment = no_cache;
        if (!point.empty()) environment["HOMEOSTAT_FAULT_POINT"] = point;
        kit::Process run = homeostat.start({"run"}, environment);
        ASSERT_TRUE(kit::eventually([&] {
            return condition("docs", "ChangeFeed") == "True" && condition("docs", "Ready") == "True";
        })) << run.output();
        endpoint.withhold();
        const std::uint64_t calls = endpoint.calls();
        const std::uint64_t texts = endpoint.texts();
        db.exec(
            "UPDATE docs SET body = CASE WHEN id = 7 THEN 'Zyxwvut' ELSE 'Text' END || ' that is paid for ' || id || now()"
            " WHERE id <= 12");
        ASSERT_TRUE(endpoint.wait_for_requests(calls + 1));
        db.exec("DELETE FROM docs WHERE id = 7");
        const kit::Program::Outcome erased = erase("7");
        EXPECT_EQ(erased.exit.code, 0) << erased.output << run.output();
        EXPECT_THAT(traces(), IsEmpty());
        EXPECT_GT(number("SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL"), 0) << "it goes on";
        db.exec("INSERT INTO docs VALUES (7, 'Declared again')");
        endpoint.release();
        const auto ends_well = [&](kit::Process& process) {
            EXPECT_TRUE(kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); }))
                << point << process.output();
            EXPECT_THAT(traces(), IsEmpty()) << point;
            end_converged(process, "docs", kWanted);
        };
        if (point.empty()) {
            ends_well(run);
            EXPECT_EQ(endpoint.texts() - texts, 13U) << "twelve, and the one that is declared again: none twice";
            continue;
        }
        EXPECT_EQ(run.wait(std::chrono::seconds(30)).value_or(kit::Exit{}).signal, SIGKILL) << point << run.output();
        kit::Process again = homeostat.start({"run"}, no_cache);
        ends_well(again);
    }
}

TEST_F(Erase, KilledAnywhereItIsTakenUpAgain) {
    make_history();
    db.exec("DELETE FROM docs WHERE id = 7");
    for (const std::string_view point : kErasureFaultPoints) {
        db.exec("INSERT INTO homeostat.erasure (pipeline, key) VALUES ('docs', '{7}')");
        kit::Process doomed = homeostat.start({"run"}, {{"HOMEOSTAT_FAULT_POINT", std::string(point)}});
        EXPECT_EQ(doomed.wait(std::chrono::seconds(30)).value_or(kit::Exit{}).signal, SIGKILL) << point << doomed.output();
        kit::Process again = homeostat.start({"run"}, shared);
        EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.erasure WHERE state = 'requested'", "0"))
            << point << again.output();
        EXPECT_THAT(traces(), IsEmpty()) << point;
        end_converged(again, "docs", kWanted);
        // There is something to take away the next time as well.
        db.exec("INSERT INTO docs VALUES (7, 'Back with Zyxwvut')");
        run_once(kConverged, shared);
        db.exec("UPDATE docs SET body = body || ' and more' WHERE id = 7");
        run_once(kConverged, shared);
        EXPECT_GE(traces_but_source().size(), 2U);
        db.exec("DELETE FROM docs WHERE id = 7");
    }
}

TEST_F(Erase, WhatLeavesTheSourceIsErasedWhereThatIsDeclared) {
    make_history();
    db.exec("UPDATE homeostat.pipeline SET erase_on_delete = true, max_prune_ratio = 1");
    kit::Process run = homeostat.start({"run"}, shared);
    ASSERT_TRUE(kit::eventually([&] {
        return condition("docs", "ChangeFeed") == "True" && condition("docs", "Ready") == "True";
    })) << run.output();
    db.exec("DELETE FROM docs WHERE id IN (6, 7)");
    EXPECT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.erasure WHERE state = 'erased' AND requested_by = 'eraseOnDelete'", "2"))
        << run.output();
    EXPECT_THAT(traces(), IsEmpty());
    end_converged(run, "docs", kWanted);
    // What a sweep finds is gone as well.
    db.exec("INSERT INTO docs VALUES (7, 'Back with Zyxwvut')");
    run_once(kConverged);
    db.exec("DELETE FROM docs WHERE id = 7");
    run_once(kConverged);
    run_once(kConverged);
    EXPECT_THAT(traces(), IsEmpty());
    expect_converged("docs", kWanted);
}

TEST_F(Erase, ASuspendedPipelineForgetsAsWell) {
    make_history();
    db.exec("UPDATE homeostat.pipeline SET suspend = true");
    db.exec("DELETE FROM docs WHERE id = 7");
    kit::Process run = homeostat.start({"run"}, shared);
    const kit::Program::Outcome erased = erase("7");
    EXPECT_EQ(erased.exit.code, 0) << erased.output;
    EXPECT_THAT(traces(), IsEmpty());
    db.exec("UPDATE homeostat.pipeline SET suspend = false");
    end_converged(run, "docs", kWanted);
}

TEST_F(Erase, WhatCannotBeErasedIsRefusedWithTheReason) {
    declare("docs", "docs", "content, chunk_size", "'body', 40");
    run_once(kConverged);
    const auto says = [&](const kit::Arguments& arguments) {
        const kit::Program::Outcome outcome = homeostat.run(arguments);
        EXPECT_EQ(outcome.exit.code, kFailed) << outcome.output;
        return outcome.output;
    };
    EXPECT_THAT(says({"erase", "dosc", "7"}), HasSubstr("did you mean \"docs\"?"));
    EXPECT_THAT(says({"erase", "docs", "7", "8"}), HasSubstr("the key has 1 column: id; 2 values given"));
    EXPECT_THAT(says({"erase", "docs", "7", "--timeout", "never"}), HasSubstr("--timeout"));
    const auto asked = [&](const std::string& key) -> std::string {
        try {
            db.exec("INSERT INTO homeostat.own_erasure (pipeline, key) VALUES ('docs', '" + key + "')");
        } catch (const std::exception& e) {
            return e.what();
        }
        return "";
    };
    EXPECT_THAT(asked("{{1},{2}}"), HasSubstr("this one is a list of lists"));
    EXPECT_THAT(asked("{NULL}"), HasSubstr("value 1 of the document's key is NULL"));
    EXPECT_THAT(asked("{1,2}"), HasSubstr("a document's key has 1 column(s) (id), and 2 value(s) were given"));
    EXPECT_THAT(homeostat.run({"erase", "--help"}).output, HasSubstr("A key that begins with a dash goes behind --"));
    kit::Process run = homeostat.start({"run"});
    EXPECT_EQ(homeostat.run({"erase", "docs", "--timeout=20s", "--", "-7"}).exit.code, 0) << run.output();
    EXPECT_THAT(says({"erase", "docs", "seven"}), HasSubstr("its key is no value of the key columns"));
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.erasure WHERE key IS NOT NULL"), 0);
    // A document that there never was leaves a receipt too: nothing was found, and nothing is left.
    const kit::Program::Outcome never = erase("4711");
    EXPECT_EQ(never.exit.code, 0) << never.output;
    EXPECT_THAT(never.output, AllOf(HasSubstr("0 rows taken away"), HasSubstr("found 0")));
    end(run);
    // Nobody works: it is said, and the request stays.
    db.exec("DELETE FROM homeostat.replica");
    const kit::Program::Outcome alone = erase("5", "--timeout=1s");
    EXPECT_EQ(alone.exit.code, kDriftLeft);
    EXPECT_THAT(alone.output, AllOf(HasSubstr("no controller runs"), HasSubstr("goes on without you")));
    // Whose pipeline goes takes the key with it.
    db.exec("UPDATE homeostat.pipeline SET finalizers = '{}'; DELETE FROM homeostat.pipeline");
    EXPECT_EQ(db.value("SELECT state || coalesce(key::text, '') FROM homeostat.erasure ORDER BY id DESC LIMIT 1"), "refused");
}

// One of them a text that messages quote, and a provider that repeats what it refuses.
TEST_F(Erase, KeysOfSeveralColumns) {
    db.exec(
        "CREATE TABLE letters (patient text, number int, body text, PRIMARY KEY (patient, number));"
        "INSERT INTO letters SELECT 'patient-' || i % 3, i, 'Letter ' || i FROM generate_series(1, 9) i;"
        "UPDATE letters SET body = 'About Zyxwvut' WHERE number = 4");
    declare("letters", "letters", "content, chunk_size", "'body', 40");
    endpoint.when_text("About Zyxwvut", {.status = 400, .body = R"({"error":{"message":"refused: About Zyxwvut is unfit"}})"});
    run_once(kDriftLeft);
    kit::Process run = homeostat.start({"run"});
    db.exec("DELETE FROM letters WHERE number = 4; DELETE FROM docs WHERE id = 7");
    EXPECT_EQ(homeostat.run({"erase", "letters", "patient-1", "4", "--timeout", "20s"}).exit.code, 0) << run.output();
    EXPECT_THAT(traces(), IsEmpty());
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.dead_letter"), 0);
    end_converged(run, "letters", "SELECT concat_ws('|', patient, number), body FROM letters");
}

}  // namespace
}  // namespace homeostat
