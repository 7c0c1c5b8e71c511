// What is told of a pipeline is true at that moment: conditions, the view, the command line and the metrics say so where
// something waits, whoever found out, and say that all is well again when it is. With the real program.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kRefusal = R"({"error":{"message":"this text is not allowed"}})";

// What is told within five seconds of the first failed try, with room for a machine that is busy otherwise.
constexpr auto kSoon = 15s;

class Truth : public FeedWhole {
protected:
    bool becomes(const std::string& type, const std::string& told, std::chrono::milliseconds timeout = kSoon) {
        return eventually_is(
            "SELECT coalesce(max(status || ' ' || reason), '') FROM homeostat.condition WHERE type = '" + type + "'", told,
            timeout);
    }
    std::string told(const std::string& type) {
        return db.value("SELECT coalesce(max(status || ' ' || reason), '') FROM homeostat.condition WHERE type = '" + type + "'");
    }
    bool turns(const std::string& type, const std::string& status, std::chrono::milliseconds timeout = kSoon) {
        return eventually_is("SELECT coalesce(max(status), '') FROM homeostat.condition WHERE type = '" + type + "'", status,
                             timeout);
    }
    bool is_well() {
        return turns("Ready", "True", 60s) && turns("Synced", "True") && turns("ProviderHealthy", "True") &&
               eventually_is("SELECT ready || ' ' || drift || ' ' || kstatus FROM homeostat.pipelines", "True 0 Current");
    }
    int until_converged() {
        return homeostat.run({"watch", "--until-converged", "--interval", "20ms", "--timeout", "100ms"}).exit.code;
    }
    static std::string metrics(const kit::Process& run) {
        const std::string said = run.output();
        const std::string before = "/metrics on port ";
        const std::size_t at = said.find(before);
        if (at == std::string::npos) return "";
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(said.substr(at + before.size()))));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        std::string out;
        if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
            const std::string request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            if (::write(fd, request.data(), request.size()) > 0) {
                char buffer[65'536];
                for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(n));
            }
        }
        ::close(fd);
        return out;
    }
    static bool shows(const kit::Process& run, const std::string& text) {
        return kit::eventually([&] { return metrics(run).find(text) != std::string::npos; }, kSoon);
    }
    static std::size_t count(const std::string& text, const std::string& part) {
        std::size_t n = 0;
        for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
        return n;
    }
};

TEST_F(Truth, AProviderThatIsDownUnderAFeedIsToldAndSoIsThatItIsBack) {
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    declare_endpoint(endpoint);
    make(300);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(is_well()) << run.output();
    ASSERT_TRUE(asleep());
    EXPECT_EQ(until_converged(), 0);
    endpoint.always({.status = 503});
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 50");
    EXPECT_EQ(until_converged(), 1) << "nothing is converged that waits, however short a while";
    EXPECT_TRUE(turns("Ready", "False")) << run.output();
    EXPECT_TRUE(turns("Synced", "False"));
    EXPECT_TRUE(turns("ProviderHealthy", "False"));
    EXPECT_THAT(condition("docs", "ProviderHealthy", "message"), HasSubstr("503"));
    EXPECT_TRUE(eventually_is("SELECT drift >= 50 AND lag IS NOT NULL AND kstatus <> 'Current' FROM homeostat.pipelines", "t"));
    EXPECT_TRUE(shows(run, "homeostat_pending_documents{pipeline=\"docs\"} 50")) << metrics(run);
    EXPECT_THAT(metrics(run), HasSubstr("homeostat_oldest_pending_age_seconds"));
    const std::string line = homeostat.run({"get", "pipelines"}).output;
    EXPECT_THAT(line, HasSubstr("LAG"));
    EXPECT_THAT(line, HasSubstr("False"));
    EXPECT_EQ(until_converged(), 1);
    endpoint.forget_script();
    EXPECT_TRUE(is_well()) << run.output();
    EXPECT_TRUE(shows(run, "homeostat_pending_documents{pipeline=\"docs\"} 0"));
    EXPECT_EQ(until_converged(), 0);
    end(run);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

TEST_F(Truth, QuotaAndCredentialsLikewise) {
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    declare_endpoint(endpoint);
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(is_well()) << run.output();
    endpoint.always({.status = 429, .headers = {{"Retry-After", "1"}}});
    db.exec("UPDATE docs SET body = 'Over quota' WHERE id = 1");
    EXPECT_TRUE(turns("Ready", "False")) << run.output();
    EXPECT_TRUE(becomes("ProviderHealthy", "False Throttled")) << told("ProviderHealthy");
    endpoint.forget_script();
    ASSERT_TRUE(is_well()) << run.output();
    endpoint.always({.status = 401});
    db.exec("UPDATE docs SET body = 'Refused' WHERE id = 2");
    EXPECT_TRUE(becomes("ProviderHealthy", "False ProviderRefused")) << told("ProviderHealthy");
    EXPECT_TRUE(turns("Ready", "False")) << run.output();
    EXPECT_TRUE(turns("Synced", "False")) << run.output();
    // A declaration that was put right is tried at once, whatever the last one was told.
    endpoint.forget_script();
    db.exec("UPDATE homeostat.provider SET timeout = '11 seconds' WHERE name = 'fake'");
    EXPECT_TRUE(is_well()) << run.output();
    end(run);
}

// Another pipeline has found out; this one has nothing to do and would have found nothing.
TEST_F(Truth, TheHealthOfAProviderIsThatOfAllWhoUseIt) {
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    declare_endpoint(endpoint);
    make(10);
    declare_docs();
    db.exec("CREATE TABLE notes (id int PRIMARY KEY, body text); INSERT INTO notes VALUES (1, 'Note')");
    declare("notes", "notes", "content, drift_interval", "'body', '1 day'");
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(
        eventually_is("SELECT count(*) FROM homeostat.condition WHERE (type, status) IN (('Ready', 'True'),"
                      " ('ProviderHealthy', 'True'), ('ChangeFeed', 'True'))",
                      "6"))
        << run.output();
    endpoint.always({.status = 503});
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 1");
    const auto health = [](const std::string& status) {
        return "SELECT count(*) FROM homeostat.condition WHERE type = 'ProviderHealthy' AND status = '" + status + "'";
    };
    EXPECT_TRUE(eventually_is(health("False"), "2", kSoon)) << run.output();
    EXPECT_EQ(condition("notes", "Ready"), "True") << "nothing of it waits";
    endpoint.forget_script();
    EXPECT_TRUE(eventually_is(health("True"), "2")) << run.output();
    end(run);
}

// What was to be asked for is gone: that the provider is well again is found out all the same.
TEST_F(Truth, AProviderThatNobodyAsksAnythingIsLookedAt) {
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    declare_endpoint(endpoint);
    make(10);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(is_well()) << run.output();
    endpoint.always({.status = 503});
    db.exec("UPDATE docs SET body = 'Edited' WHERE id = 1");
    const std::string told = "SELECT status FROM homeostat.condition WHERE type = 'ProviderHealthy'";
    EXPECT_TRUE(eventually_is(told, "False")) << run.output();
    db.exec("DELETE FROM docs WHERE id = 1");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.batch", "0")) << run.output();
    EXPECT_EQ(db.value(told), "False");
    endpoint.forget_script();
    EXPECT_TRUE(eventually_is(told, "True")) << run.output();
    EXPECT_TRUE(is_well());
    end(run);
}

TEST_F(Truth, DeadLettersThatTheFeedMakesAreCountedAndSettledByIt) {
    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    endpoint.when_text("poison", {.status = 400, .body = kRefusal});
    declare_endpoint(endpoint);
    make(30);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(is_well()) << run.output();
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'poison ' || id WHERE id <= 3");
    EXPECT_TRUE(eventually_is("SELECT dead_letters FROM homeostat.pipelines", "3", kSoon)) << run.output();
    EXPECT_TRUE(eventually_is("SELECT dead_letters FROM homeostat.pipeline_status", "3", kSoon));
    EXPECT_TRUE(becomes("DeadLetters", "True DocumentsRefused"));
    EXPECT_TRUE(becomes("Ready", "False Incomplete"));
    EXPECT_EQ(until_converged(), 1);
    EXPECT_TRUE(shows(run, "homeostat_dead_letter_documents{pipeline=\"docs\"} 3"));
    db.exec("UPDATE docs SET body = 'harmless' WHERE id = 1; DELETE FROM docs WHERE id = 2");
    EXPECT_TRUE(eventually_is("SELECT dead_letters FROM homeostat.pipelines", "1", kSoon));
    db.exec("UPDATE docs SET body = 'harmless' WHERE id = 3");
    EXPECT_TRUE(becomes("DeadLetters", "False None")) << run.output();
    EXPECT_TRUE(becomes("Ready", "True Converged"));
    EXPECT_EQ(db.value("SELECT dead_letters FROM homeostat.pipeline_status"), "0");
    EXPECT_EQ(sweeps(), before);
    end(run);
}

TEST_F(Truth, APublicationOfAllTablesBreaksNoFeed) {
    make(20);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec("CREATE PUBLICATION everything FOR ALL TABLES");
    const std::int64_t before = sweeps();
    db.exec("UPDATE docs SET body = 'Published' WHERE id <= 5; DELETE FROM docs WHERE id = 6");
    EXPECT_TRUE(follows()) << run.output();
    EXPECT_EQ(sweeps(), before);
    EXPECT_TRUE(is_well()) << run.output();
    homeostat.run({"reconcile", "docs"});
    EXPECT_TRUE(eventually_is("SELECT max(result) FROM homeostat.run_history WHERE trigger = 'requested'", "Converged"));
    end(run);
}

TEST_F(Truth, AFeedThatCannotBeConsumedIsToldOnceAndSweptAround) {
    make(50);
    declare_docs();
    kit::Process run = start();
    ASSERT_TRUE(asleep());
    db.exec(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'these rows stay' USING ERRCODE ="
        " '55000'; END $$; CREATE TRIGGER keep BEFORE DELETE ON homeostat_data.p1_change FOR EACH ROW EXECUTE FUNCTION keep()");
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 10");
    EXPECT_TRUE(becomes("ChangeFeed", "False Failing")) << run.output();
    EXPECT_THAT(condition("docs", "ChangeFeed", "message"), HasSubstr("these rows stay"));
    EXPECT_TRUE(turns("Ready", "False")) << told("Ready");
    EXPECT_TRUE(turns("Synced", "False"));
    EXPECT_EQ(until_converged(), 1);
    EXPECT_TRUE(follows()) << "a sweep heals what the feed does not" << run.output();
    EXPECT_TRUE(eventually_is("SELECT drift >= 10 FROM homeostat.pipelines", "t"));
    EXPECT_EQ(count(run.output(), "these rows stay"), 1U) << run.output();
    db.exec("DROP TRIGGER keep ON homeostat_data.p1_change");
    EXPECT_TRUE(becomes("ChangeFeed", "True Active", 40s)) << run.output();
    EXPECT_TRUE(is_well()) << run.output();
    end(run);
}

TEST_F(Truth, WhatWaitsWhileNobodyRunsIsToldToWhoeverLooks) {
    make(20);
    declare_docs();
    kit::Process first = start();
    ASSERT_TRUE(is_well());
    end(first);
    EXPECT_EQ(until_converged(), 0);
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 7");
    EXPECT_EQ(db.value("SELECT drift FROM homeostat.pipelines"), "7");
    EXPECT_EQ(until_converged(), 1);
    EXPECT_TRUE(
        eventually_is("SELECT ready || ' ' || reason || ' ' || kstatus FROM homeostat.pipelines", "False Behind InProgress"));
    EXPECT_THAT(homeostat.run({"describe", "pipeline", "docs"}).output, HasSubstr("7 documents wait"));
    // Whoever may declare may see it too, and nothing else of the table.
    if (db.value("SELECT count(*) FROM pg_roles WHERE rolname = 'homeostat_declarer'") == "1") {
        db.exec("SET ROLE homeostat_declarer");
        EXPECT_EQ(db.value("SELECT drift FROM homeostat.pipelines"), "7");
        EXPECT_THROW(db.exec("SELECT key_1 FROM homeostat_data.p1_change"), std::runtime_error);
        db.exec("RESET ROLE");
    }
    // A run that somebody waits for sees what was named, and nothing waits after it.
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT ready || ' ' || drift FROM homeostat.pipelines"), "True 0");
    EXPECT_EQ(until_converged(), 0);
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

// The triggers are in place whatever else the feed's condition says: what they could not name is told.
TEST_F(Truth, AGapIsToldWhileTheFeedIsSaidToFail) {
    make(20);
    declare_docs();
    kit::Process first = start();
    ASSERT_TRUE(is_well());
    end(first);
    db.exec("CREATE TABLE kept AS TABLE docs; TRUNCATE docs; INSERT INTO docs SELECT * FROM kept");
    for (const char* reason : {"Active", "Failing", "Overrun", "Bypassed"}) {
        db.exec(std::string("UPDATE homeostat.condition SET reason = '") + reason + "' WHERE type = 'ChangeFeed'");
        EXPECT_TRUE(eventually_is("SELECT ready || ' ' || reason FROM homeostat.pipelines", "False Behind", 20s)) << reason;
    }
    kit::Process second = start();
    EXPECT_TRUE(is_well() && eventually_is("SELECT last_gap_since IS NULL FROM homeostat.feed", "t")) << second.output();
    end(second);
}

// Of what cannot be counted nobody says that it is nothing: a lock on the feed's table, a role without the right.
TEST_F(Truth, WhatCannotBeCountedIsNotCalledConverged) {
    constexpr const char* kTold = "SELECT ready || ' ' || reason || ' ' || kstatus FROM homeostat.pipelines";
    make(20);
    declare_docs();
    kit::Process first = start();
    ASSERT_TRUE(is_well());
    end(first);
    EXPECT_EQ(db.value(kTold), "True Converged Current");
    db.exec("UPDATE docs SET body = 'Edited ' || id WHERE id <= 7");
    {
        kit::Sql holder(db.url());
        holder.exec("BEGIN; LOCK TABLE homeostat_data.p1_change");
        EXPECT_EQ(db.value(kTold), "False Behind InProgress");
        EXPECT_THAT(db.value("SELECT message FROM homeostat.pipelines"), HasSubstr("lock on homeostat_data.p1_change"));
        EXPECT_EQ(until_converged(), 1);
        EXPECT_THAT(homeostat.run({"describe", "pipeline", "docs"}).output, HasSubstr("lock on homeostat_data.p1_change"));
        holder.exec("ROLLBACK");
    }
    // Of a view granted by hand to a role that has no other right.
    db.exec(
        "CREATE ROLE uncounted_watcher; GRANT USAGE ON SCHEMA homeostat TO uncounted_watcher;"
        " GRANT SELECT ON homeostat.pipelines TO uncounted_watcher; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA homeostat TO"
        " uncounted_watcher; SET ROLE uncounted_watcher");
    EXPECT_EQ(db.value(kTold), "Unknown NotCounted InProgress");
    db.exec("RESET ROLE; DROP OWNED BY uncounted_watcher; DROP ROLE uncounted_watcher");
    for (const char* role : {"homeostat_admin", "homeostat_owner"}) {
        if (db.value(std::string("SELECT count(*) FROM pg_roles WHERE rolname = '") + role + "'") == "0") continue;
        db.exec(std::string("SET ROLE ") + role);
        EXPECT_EQ(db.value("SELECT waiting FROM homeostat.pipelines"), "7") << role;
        db.exec("RESET ROLE");
    }
    run_once(kConverged);
    EXPECT_EQ(db.value(kTold), "True Converged Current");
}

TEST_F(Truth, WhatIsSuspendedIsNotReadyFromThatMomentOn) {
    make(5);
    declare_docs();
    run_once(kConverged);
    homeostat.run({"suspend", "docs", "--reason", "a look"});
    EXPECT_EQ(db.value("SELECT ready || ' ' || reason || ' ' || message FROM homeostat.pipelines"), "False Suspended a look");
    EXPECT_THAT(homeostat.run({"get", "pipelines"}).output, HasSubstr("False  Suspended"));
    EXPECT_EQ(until_converged(), 1);
    EXPECT_THAT(homeostat.run({"describe", "pipeline", "docs"}).output, HasSubstr("Ready: False (Suspended)"));
    EXPECT_EQ(homeostat.run({"wait", "pipeline/docs", "--timeout", "100ms"}).exit.code, 1);
    homeostat.run({"resume", "docs"});
    EXPECT_EQ(db.value("SELECT ready || ' ' || reason FROM homeostat.pipelines"), "True Converged");
}

TEST_F(Truth, TheGaugesOfAnIdlePipelineAreThereAfterARestart) {
    make(20);
    declare_docs();
    kit::Process first = start();
    ASSERT_TRUE(is_well());
    end(first);
    const std::int64_t before = sweeps();
    kit::Process run = homeostat.start({"run"});
    for (const char* gauge :
         {"homeostat_documents{pipeline=\"docs\"} 20", "homeostat_source_documents{pipeline=\"docs\"} 20",
          "homeostat_dead_letter_documents{pipeline=\"docs\"} 0", "homeostat_prune_blocked{pipeline=\"docs\"} 0",
          "homeostat_pending_documents{pipeline=\"docs\"} 0"}) {
        EXPECT_TRUE(shows(run, gauge)) << gauge << run.output();
    }
    db.exec("INSERT INTO docs VALUES (21, 'One more', 'x')");
    EXPECT_TRUE(shows(run, "homeostat_documents{pipeline=\"docs\"} 21"));
    EXPECT_EQ(sweeps(), before);
    end(run);
}

TEST_F(Truth, ADependencyThatIsTakenAwayWhileItIsWaitedForIsNoCrash) {
    make(5);
    db.exec("CREATE TABLE notes (id int PRIMARY KEY, body text)");
    declare("a", "docs", "content, suspend", "'body', true");
    declare("b", "docs", "content, depends_on", "'body', 'a'");
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.condition WHERE reason = 'DependencyNotReady'", "1"))
        << run.output();
    db.exec("UPDATE homeostat.pipeline SET depends_on = '{}' WHERE name = 'b'");
    EXPECT_TRUE(kit::eventually([&] { return condition("b", "Ready") == "True"; })) << run.output();
    EXPECT_TRUE(run.running());
    // As an earlier version left it behind: a message, of which nothing follows.
    db.exec("UPDATE homeostat.pipeline_status SET last_error = 'waits for pipeline \"a\" to be ready'");
    db.exec("UPDATE homeostat.pipeline SET suspend = true WHERE name = 'b'");
    EXPECT_TRUE(kit::eventually([&] { return condition("b", "Ready", "reason") == "Suspended"; })) << run.output();
    end(run);
}

TEST_F(Truth, OnlyThePlanThatIsHeldBackCanBeApproved) {
    make(100);
    declare_docs(", capture, prune", ", 'Off', 'Confirm'");
    run_once(kConverged);
    EXPECT_THAT(homeostat.run({"approve", "docs", "anything"}).output, HasSubstr("nothing of it waits for approval"));
    db.exec("DELETE FROM docs WHERE id <= 30");
    // Two observations that agree make a plan.
    run_once(kDriftLeft);
    run_once(kDriftLeft);
    const kit::Program::Outcome refused = homeostat.run({"approve", "docs", "anything"});
    EXPECT_EQ(refused.exit.code, 2);
    EXPECT_THAT(refused.output, HasSubstr("is not the plan that waits for approval"));
    EXPECT_EQ(db.value("SELECT approval IS NULL FROM homeostat.pipeline"), "t");
    // Written past the command: it approves nothing, hides nothing, and begins no run.
    db.exec("UPDATE homeostat.pipeline SET approval = 'held back'");
    EXPECT_THAT(homeostat.run({"plan", "docs"}).output, HasSubstr("Warning: ApprovalNeeded"));
    const std::string plan = db.value("SELECT blocked_plan FROM homeostat.pipeline_status");
    EXPECT_THAT(refused.output, HasSubstr(plan));
    EXPECT_EQ(homeostat.run({"approve", "docs", plan}).exit.code, 0);
    EXPECT_THAT(homeostat.run({"plan", "docs"}).output, Not(HasSubstr("ApprovalNeeded")));
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT blocked_prunes || blocked_plan FROM homeostat.pipeline_status"), "0");
}

}  // namespace
}  // namespace homeostat
