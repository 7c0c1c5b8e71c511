// Providers that are put right, edited, or deleted and declared again, by the real program: asked as they are now, and at once.
#include <filesystem>
#include <fstream>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using namespace std::chrono_literals;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class ProvidersAgain : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of <' || i || '>' FROM generate_series(1, {}) i",
                        documents));
    }
    void declare_docs() { declare("docs", "docs", "content", "'body'"); }
    kit::Process start() { return homeostat.start({"run"}, more); }
    kit::Environment more;
    bool converged() {
        return kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); });
    }
    bool well() {
        return converged() && kit::eventually([&] { return condition("docs", "Ready") == "True"; });
    }
};

TEST_F(ProvidersAgain, WhoIsDeletedAndDeclaredAgainIsAskedAtTheNewAddressOnly) {
    FakeEndpoint old({.dimensions = 16});
    FakeEndpoint fresh({.dimensions = 16});
    make(40);
    declare_endpoint(old);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(well()) << run.output();
    db.exec("UPDATE homeostat.pipeline SET deletion_policy = 'Delete'; DELETE FROM homeostat.pipeline WHERE name = 'docs'");
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipeline", "0")) << run.output();
    const std::size_t asked = old.requests().size();
    db.exec("DELETE FROM homeostat.provider WHERE name = 'fake'");
    declare_endpoint(fresh);
    declare_docs();
    ASSERT_TRUE(well()) << run.output();
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    EXPECT_TRUE(converged()) << run.output();
    EXPECT_EQ(old.requests().size(), asked);
    EXPECT_GE(fresh.texts(), 80U);
    end(run);
}

TEST_F(ProvidersAgain, AnEditAfterTheAddressWasChangedGoesToTheNewOne) {
    FakeEndpoint old({.dimensions = 16});
    FakeEndpoint fresh({.dimensions = 16});
    make(40);
    declare_endpoint(old);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(well()) << run.output();
    db.exec("UPDATE docs SET body = 'Known well' WHERE id = 1");
    ASSERT_TRUE(well()) << run.output();
    const std::size_t asked = old.requests().size();
    db.exec(fmt::format("UPDATE homeostat.provider SET endpoint = '{}' WHERE name = 'fake'", fresh.url()));
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    EXPECT_TRUE(well()) << run.output();
    EXPECT_EQ(old.requests().size(), asked);
    EXPECT_GE(fresh.texts(), 40U);
    end(run);
}

// A program that prints tokens of a second: they are printed again before they end, a refused one at once, and where the program
// fails the pipeline says so until it prints again. The token is in no table and no log.
// It asks for other vectors as an edit of the pipeline does; one that does not is seen, and costs no sweep.
TEST_F(ProvidersAgain, AnEditOfTheModelIsSeenAtOnceAndNobodySaysCurrentBefore) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(40);
    declare_endpoint(endpoint);
    declare_docs();
    constexpr const char* kStatus = "SELECT kstatus FROM homeostat.pipelines";
    db.exec("UPDATE homeostat.provider SET model = 'other' WHERE name = 'fake'");
    db.exec("UPDATE homeostat.provider SET model = 'small' WHERE name = 'fake'");
    kit::Process run = start();
    ASSERT_TRUE(well() && eventually_is(kStatus, "Current")) << run.output();
    db.exec("UPDATE homeostat.provider SET model = 'large' WHERE name = 'fake'");
    if (db.value("SELECT observed_provider_generation < (SELECT generation FROM homeostat.provider WHERE name = 'fake')"
                 " FROM homeostat.pipeline_status") == "t") {
        EXPECT_EQ(db.value(kStatus), "InProgress");
    }
    EXPECT_EQ(homeostat.run({"wait", "docs", "--timeout", "60s"}).exit.code, 0);
    EXPECT_EQ(db.value("SELECT count(*) || ' ' || min(model) FROM homeostat.revision WHERE state = 'served'"), "1 large");
    EXPECT_TRUE(converged()) << run.output();
    const std::string runs = db.value("SELECT count(*) FROM homeostat.run_history");
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 3, currency = 'EUR' WHERE name = 'fake'");
    EXPECT_TRUE(
        eventually_is("SELECT s.observed_provider_generation = o.generation FROM homeostat.pipeline_status s,"
                      " homeostat.provider o WHERE o.name = 'fake'",
                      "t"));
    EXPECT_EQ(db.value(kStatus), "Current");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run_history"), runs)
        << db.value("SELECT string_agg(trigger || ' ' || message, ', ' ORDER BY started_at) FROM homeostat.run_history")
        << run.output();
    end(run);
}

// A provider that was refused, and throttles once its key is right, is said to throttle.
TEST_F(ProvidersAgain, WhatIsSaidIsWhatItSaysNowNotWhatOpenedTheBreaker) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(20);
    declare_endpoint(endpoint);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(well()) << run.output();
    constexpr const char* kTold = "SELECT coalesce(max(reason), '') FROM homeostat.provider_status";
    endpoint.always({.status = 401});
    db.exec("UPDATE docs SET body = 'Refused' WHERE id = 1");
    ASSERT_TRUE(eventually_is(kTold, "ProviderRefused")) << run.output();
    endpoint.always({});
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 3, currency = 'EUR' WHERE name = 'fake'");
    ASSERT_TRUE(converged()) << run.output();
    endpoint.always({.status = 429, .headers = {{"retry-after", "60"}}});
    db.exec("UPDATE docs SET body = 'Throttled ' || id WHERE id <= 10");
    EXPECT_TRUE(eventually_is(kTold, "Throttled")) << run.output();
    EXPECT_THAT(db.value("SELECT message FROM homeostat.provider_status"), ::testing::HasSubstr("429"));
    end(run);
}

TEST_F(ProvidersAgain, WhatAProgramPrintsIsPrintedAgainWhenItEndsOrIsRefused) {
    FakeEndpoint endpoint({.dimensions = 16});
    const std::string folder = db.cluster().folder() + "/token_" + db.name();
    std::filesystem::create_directory(folder);
    const std::string program = folder + "/print";
    std::ofstream(program) << "#!/bin/sh\necho run >> " << folder << "/runs; N=$(grep -c run " << folder << "/runs)\n"
                           << "if [ -e " << folder
                           << "/out ]; then echo 'no login' >&2; echo hush-token-$N; echo hush-token-$N >&2; exit 7; fi\n"
                           << "echo \"{\\\"token\\\": \\\"hush-token-$N\\\", \\\"expires_in\\\": $1}\"\n";
    std::filesystem::permissions(program, std::filesystem::perms::all);
    more["HOMEOSTAT_SECRETS"] =
        fmt::format("printed \"exec:{} 2\" {}", program, endpoint.url().substr(0, endpoint.url().rfind('/')));
    make(40);
    declare_endpoint(endpoint, "; UPDATE homeostat.provider SET credential = 'secret:printed' WHERE name = 'fake'");
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(well()) << run.output();
    const auto last = [&] { return endpoint.requests().back().http.headers.at("authorization"); };
    const std::string first = last();
    EXPECT_TRUE(kit::eventually([&] {
        db.exec("UPDATE docs SET body = 'Edited ' || clock_timestamp() WHERE id = 1");
        return converged() && last() != first;
    })) << run.output();
    endpoint.next({.status = 401});
    db.exec("UPDATE docs SET body = 'Refused ' || id");
    EXPECT_TRUE(well()) << run.output();
    std::ofstream(folder + "/out") << "x";
    EXPECT_TRUE(kit::eventually([&] {
        db.exec("UPDATE docs SET body = 'Later ' || clock_timestamp() WHERE id = 1");
        return condition("docs", "ProviderHealthy", "message").find("ended with code 7; it wrote: no login") != std::string::npos;
    })) << run.output();
    std::filesystem::remove(folder + "/out");
    EXPECT_TRUE(well()) << run.output();
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    for (const char* table : {"condition", "run_history", "batch_history", "provider_status", "event"})
        EXPECT_EQ(number(fmt::format("SELECT count(*) FROM homeostat.{} t WHERE t::text LIKE '%hush-token%'", table)), 0)
            << table;
    end(run);
    EXPECT_EQ(run.output().find("hush-token"), std::string::npos);
    std::filesystem::remove_all(folder);
}

// What the run that failed had found is found again by the next one, whatever that is for: no trigger has missed it.
TEST_F(ProvidersAgain, WhatARunFoundThatFailedIsNotCalledBypassedOnceTheProviderIsPutRight) {
    FakeEndpoint endpoint({.dimensions = 16});
    endpoint.always({.status = 401});
    make(10);
    declare_endpoint(endpoint);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(kit::eventually([&] {
        return number("SELECT count(*) FROM homeostat.run_history WHERE result = 'Failed'") > 0 &&
               condition("docs", "ChangeFeed") == "True";
    })) << run.output();
    endpoint.forget_script();
    db.exec("UPDATE homeostat.provider SET timeout = '11 seconds' WHERE name = 'fake'");
    EXPECT_TRUE(well()) << run.output();
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.event WHERE reason = 'Bypassed'"), 0);
    end(run);
}

struct Trouble {
    const char* name;
    FakeAnswer answer;
};
enum class Way { secret, edit, reconcile, restart };
struct Back {
    Trouble trouble;
    Way way;
    const char* name;
};

class BackAtOnce : public ProvidersAgain, public ::testing::WithParamInterface<Back> {};

// Left alone for half an hour, or for as long as it asked; what is put right is seen long before that.
TEST_P(BackAtOnce, WhateverWasWrongAndHoweverItWasPutRight) {
    FakeEndpoint endpoint({.dimensions = 16});
    const std::string key_file = db.cluster().folder() + "/key_" + db.name();
    std::ofstream(key_file) << "old-key\n";
    more["HOMEOSTAT_SECRETS"] = fmt::format("key file:{} {}", key_file, endpoint.url().substr(0, endpoint.url().rfind('/')));
    make(40);
    declare_endpoint(endpoint,
                     fmt::format("; UPDATE homeostat.provider SET credential = 'file:{}' WHERE name = 'fake'", key_file));
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(well()) << run.output();
    endpoint.always(GetParam().trouble.answer);
    db.exec("UPDATE docs SET body = 'Edited ' || id");
    ASSERT_TRUE(kit::eventually([&] { return condition("docs", "ProviderHealthy") == "False"; })) << run.output();
    endpoint.forget_script();
    std::optional<kit::Process> again;
    switch (GetParam().way) {
        case Way::secret: std::ofstream(key_file) << "new-key\n"; break;
        case Way::edit: db.exec("UPDATE homeostat.provider SET timeout = '11 seconds' WHERE name = 'fake'"); break;
        case Way::reconcile: db.exec("UPDATE homeostat.pipeline SET reconcile_requested = 'now' WHERE name = 'docs'"); break;
        case Way::restart:
            end(run);
            again.emplace(start());
            break;
    }
    kit::Process& now = again ? *again : run;
    EXPECT_TRUE(well()) << now.output();
    if (GetParam().way == Way::secret) {
        EXPECT_EQ(endpoint.requests().back().http.headers.at("authorization"), "Bearer new-key");
    }
    end(now);
}

const Trouble kRefused{"Refused", {.status = 401}};
const Trouble kLongPause{"LongPause", {.status = 429, .headers = {{"Retry-After", "600"}}}};

INSTANTIATE_TEST_SUITE_P(
    All, BackAtOnce,
    ::testing::Values(Back{kRefused, Way::secret, "RefusedSecret"}, Back{kRefused, Way::edit, "RefusedEdit"},
                      Back{kRefused, Way::reconcile, "RefusedReconcile"}, Back{kRefused, Way::restart, "RefusedRestart"},
                      Back{kLongPause, Way::secret, "LongPauseSecret"}, Back{kLongPause, Way::edit, "LongPauseEdit"},
                      Back{kLongPause, Way::reconcile, "LongPauseReconcile"}, Back{kLongPause, Way::restart, "LongPauseRestart"}),
    [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace homeostat
