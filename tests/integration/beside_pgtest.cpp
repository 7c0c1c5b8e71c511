// While the next revision is built, what search finds follows the source: edits, new rows and deletions reach the served
// revision, made by its own model, however long the next one takes. The provider of the next one answers when it is told to.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "core/fault_point.hpp"
#include "tests/chaos/audit_vectors.hpp"
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::IsEmpty;

constexpr const char* kWanted = "SELECT id::text AS key, body AS content FROM docs";
constexpr const char* kNext = "UPDATE homeostat.pipeline SET provider = 'other'";

class Beside : public FeedWhole {
protected:
    void begin(int documents, const std::string& columns = "", const std::string& values = "") {
        make(documents);
        declare_endpoint(fake, "; UPDATE homeostat.provider SET timeout = '1 minute'");
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                        " VALUES ('other', '{}', 'n', 16, 16, 2, '1 minute')",
                        other.url()));
        declare_docs(columns, values);
    }
    // The next revision is there, and its provider does not answer.
    void hold_next(kit::Process& run, const std::string& declaration = kNext) {
        other.withhold();
        const std::uint64_t before = other.requests().size();
        db.exec(declaration);
        ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.revision WHERE state = 'building'", "1")) << run.output();
        ASSERT_TRUE(kit::eventually([&] { return other.requests().size() > before; })) << run.output();
    }
    void edit_all_ways(int round = 0) {
        db.exec(
            fmt::format("UPDATE docs SET body = 'Edited {0}' WHERE id = {1}; INSERT INTO docs VALUES ({2}, 'New {0}', 'x');"
                        " DELETE FROM docs WHERE id = {3}",
                        round, 2 + round, 1'000 + round, 20 - round));
    }
    // Of the first revision, whole, and of one model.
    void expect_followed(kit::Process& run) {
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_EQ(db.value("SELECT string_agg(revision || ' ' || state, ', ' ORDER BY revision) FROM homeostat.revision"),
                  "1 served, 2 building");
        EXPECT_THAT(chaos::wrong_vectors(db.sql(), "docs_embeddings", 0), IsEmpty());
    }
    void expect_taken_over(kit::Process& run) {
        EXPECT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
        EXPECT_TRUE(follows()) << run.output();
        EXPECT_THAT(chaos::wrong_vectors(db.sql(), "docs_embeddings", 0), IsEmpty());
        end_converged(run, "docs", kWanted);
        EXPECT_TRUE(
            eventually_is("SELECT documents = (SELECT count(*) FROM docs) AND source_documents = documents"
                          " FROM homeostat.pipeline_status",
                          "t"));
    }

    kit::FakeEndpoint fake{{.dimensions = 16}};
    kit::FakeEndpoint other{{.dimensions = 16, .salt = "other"}};
};

TEST_F(Beside, WhatChangesIsSearchedWhileTheNextRevisionIsFilled) {
    begin(40);
    kit::Process run = start();
    const std::uint64_t before = fake.texts();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    for (int round = 0; round < 3; ++round) {
        edit_all_ways(round);
        expect_followed(run);
    }
    // Each edit once, and nothing for whom it was not meant.
    EXPECT_EQ(fake.texts() - before, 6U);
    EXPECT_EQ(other.texts(), 0U);
    EXPECT_TRUE(eventually_is("SELECT documents FROM homeostat.pipeline_status", "40"));
    EXPECT_EQ(db.value("SELECT feed_documents || ' ' || failing || ' ' || behind FROM homeostat.waiting"), "0 0 false");
    EXPECT_EQ(db.value("SELECT ready || ' ' || kstatus FROM homeostat.pipelines"), "True InProgress");
    other.release();
    expect_taken_over(run);
    EXPECT_GE(other.texts(), 40U);
}

// What is open for the one before goes with it, claimed or not, and whoever works on it writes nothing.
TEST_F(Beside, WhatIsOpenForTheOneBeforeGoesWithIt) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    fake.withhold();
    const std::uint64_t before = fake.requests().size();
    edit_all_ways();
    ASSERT_TRUE(kit::eventually([&] { return fake.requests().size() > before; })) << run.output();
    EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.batch WHERE revision = 1", "t"));
    EXPECT_TRUE(eventually_is("SELECT ready || ' ' || reason FROM homeostat.pipelines", "False Behind")) << run.output();
    other.release();
    EXPECT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.batch WHERE revision = 1"), "0");
    EXPECT_TRUE(follows()) << run.output();
    fake.release();
    expect_taken_over(run);
}

// What was on the way when the declaration changed is not taken from what is searched.
TEST_F(Beside, WhatWasOnTheWayWhenTheDeclarationChangedArrives) {
    begin(20);
    kit::Process run = start();
    fake.withhold();
    const std::uint64_t before = fake.requests().size();
    edit_all_ways();
    ASSERT_TRUE(kit::eventually([&] { return fake.requests().size() > before; })) << run.output();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    fake.release();
    expect_followed(run);
    other.release();
    expect_taken_over(run);
}

// A provider whose row was edited in place makes other vectors by the same name: none of them is put into what is searched.
TEST_F(Beside, AProviderThatIsAnotherNowEmbedsNothingForTheOneBefore) {
    begin(20);
    kit::Process run = start();
    const std::uint64_t before = fake.texts();
    ASSERT_NO_FATAL_FAILURE(
        hold_next(run, fmt::format("UPDATE homeostat.provider SET endpoint = '{}', model = 'n' WHERE name = 'fake';"
                                   " UPDATE homeostat.pipeline SET reconcile_requested = 'now'",
                                   other.url())));
    edit_all_ways();
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM docs_embeddings WHERE id = 20", "0")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT ready FROM homeostat.pipelines", "False")) << run.output();
    EXPECT_TRUE(
        eventually_is("SELECT status || ' ' || reason FROM homeostat.condition WHERE type = 'Ready'", "False ServedOutdated"))
        << run.output();
    EXPECT_THAT(condition("docs", "Ready", "message"), ::testing::HasSubstr("no provider makes its vectors any more"));
    EXPECT_EQ(db.value("SELECT unnamed FROM homeostat.waiting"), "t");
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id = 2"), "Body of 2");
    EXPECT_EQ(fake.texts(), before);
    EXPECT_THAT(chaos::wrong_vectors(db.sql(), "docs_embeddings", 0), IsEmpty());
    other.release();
    expect_taken_over(run);
    EXPECT_EQ(condition("docs", "Ready"), "True");
}

TEST_F(Beside, ADeclarationThatIsTakenBackFindsWhatChangedMeanwhile) {
    begin(30);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    edit_all_ways();
    expect_followed(run);
    const std::int64_t before = sweeps();
    db.exec("UPDATE homeostat.pipeline SET provider = 'fake'");
    EXPECT_TRUE(eventually_is("SELECT count(*) > " + std::to_string(before + 1) +
                                  " AND NOT EXISTS (SELECT FROM homeostat.run)"
                                  " FROM homeostat.run_history",
                              "t"))
        << run.output();
    EXPECT_EQ(db.value("SELECT string_agg(revision || ' ' || state, ', ' ORDER BY revision) FROM homeostat.revision"),
              "1 served, 2 retired");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(db.value("SELECT served_gap_since IS NULL FROM homeostat.feed"), "t");
    other.release();
    end_converged(run, "docs", kWanted);
}

// Made of other columns from now on: those that what is searched is made of are watched until it is replaced.
TEST_F(Beside, WhatIsSearchedFollowsTheColumnsThatItIsMadeOf) {
    begin(20);
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(hold_next(run, "UPDATE homeostat.pipeline SET provider = 'other', content = 'tag'"));
    edit_all_ways();
    expect_followed(run);
    EXPECT_EQ(db.value("SELECT served_gap_since IS NULL FROM homeostat.feed"), "t");
    EXPECT_TRUE(eventually_is("SELECT ready FROM homeostat.pipelines", "True")) << run.output();
    other.release();
    EXPECT_TRUE(eventually_is("SELECT model FROM homeostat.revision WHERE state = 'served'", "n")) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) || ' ' || string_agg(DISTINCT chunk_text, ',') FROM docs_embeddings"), "20 x");
    end(run);
}

// A text that one model refuses keeps neither from the other.
TEST_F(Beside, ATextThatTheModelBeforeRefusesIsNoHindranceToTheNext) {
    begin(20);
    fake.when_text("Poison", {.status = 400});
    kit::Process run = start();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    db.exec("UPDATE docs SET body = 'Poison' WHERE id = 2; UPDATE docs SET body = 'Sound' WHERE id = 3");
    EXPECT_TRUE(eventually_is("SELECT string_agg(revision || ' ' || key[1], ',') FROM homeostat.dead_letter", "1 2"))
        << run.output();
    EXPECT_TRUE(eventually_is("SELECT chunk_text FROM docs_embeddings WHERE id = 3", "Sound")) << run.output();
    EXPECT_TRUE(eventually_is("SELECT dead_letters FROM homeostat.pipelines", "1")) << run.output();
    other.release();
    expect_taken_over(run);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
}

// Where no feed names what changes, what is searched gets older meanwhile, and that is said.
TEST_F(Beside, WithoutAFeedItIsToldThatWhatIsSearchedGetsOlder) {
    begin(20, ", capture", ", 'Off'");
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.run_history", "t")) << run.output();
    ASSERT_NO_FATAL_FAILURE(hold_next(run));
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 2");
    EXPECT_TRUE(
        eventually_is("SELECT status || ' ' || reason FROM homeostat.condition WHERE type = 'Ready'", "False ServedOutdated"))
        << run.output();
    other.release();
    expect_taken_over(run);
}

// Killed between two steps that a change takes, and when the next revision takes over.
TEST_F(Beside, KilledAtItsFaultPointsNothingIsLost) {
    const auto quick = [](const char* point) {
        kit::Environment e{{"HOMEOSTAT_LEASE_TTL", "3s"}, {"HOMEOSTAT_LEASE_RENEW", "1s"}, {"HOMEOSTAT_CLAIM_TTL", "5s"}};
        if (*point != '\0') e["HOMEOSTAT_FAULT_POINT"] = point;
        return e;
    };
    begin(40);
    {
        kit::Process run = start(quick(""));
        ASSERT_NO_FATAL_FAILURE(hold_next(run));
        run.signal(SIGKILL);
    }
    {
        // No more deaths than these while the next one hangs: what it works on would be suspected of them, and tried alone.
        kit::Process doomed = homeostat.start({"run"}, quick("write.before_commit"));
        edit_all_ways();
        EXPECT_EQ(doomed.wait(60s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
        kit::Process again = homeostat.start({"run"}, quick(""));
        expect_followed(again);
        again.signal(SIGKILL);
    }
    other.release();
    for (const char* point : {"finish.before_commit", "finish.after_commit"}) {
        kit::Process doomed = homeostat.start({"run"}, quick(point));
        EXPECT_EQ(doomed.wait(60s).value_or(kit::Exit{}).signal, SIGKILL) << point << '\n' << doomed.output();
        EXPECT_TRUE(follows()) << point;
        EXPECT_THAT(chaos::wrong_vectors(db.sql(), "docs_embeddings", 0), IsEmpty()) << point;
    }
    kit::Process last = homeostat.start({"run"}, quick(""));
    db.exec("UPDATE docs SET body = 'Last' WHERE id = 30");
    expect_taken_over(last);
}

}  // namespace
}  // namespace homeostat
