// Traces of the real program: one a run, over all replicas; kept in the database and drawn without a collector; sent to one by
// OTLP; with nothing of a document in them.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "controller/http/server.hpp"
#include "core/sync.hpp"
#include "tests/integration/world.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using kit::FakeEndpoint;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kWanted = "SELECT id, body FROM docs";
constexpr const char* kSpansOfRuns =
    "SELECT t.trace_id, s.n, coalesce(s.p, ''), s.i, coalesce(s.a ->> 'db.system.name', '') FROM homeostat.trace_part t"
    " CROSS JOIN LATERAL jsonb_to_recordset(t.body) AS s(n text, p text, i text, a jsonb) WHERE t.run_id > 0";

class Traces : public World {
protected:
    void make(int documents) {
        db.exec(
            fmt::format("CREATE TABLE docs (id text PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT 'Key-' || i, 'Zyxwvut body of ' || i FROM generate_series(1, {}) i",
                        documents));
    }
    void declare_docs() { declare("docs", "docs", "content", "'body'"); }
    bool converged(std::chrono::milliseconds within = 60s) {
        return eventually_is("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines", "Current0", within);
    }
    bool fed() {
        return kit::eventually([&] { return condition("docs", "ChangeFeed") == "True" && condition("docs", "Ready") == "True"; });
    }
    std::string shown(const kit::Arguments& arguments, int code = 0) {
        const kit::Program::Outcome outcome = homeostat.run(arguments);
        EXPECT_EQ(outcome.exit.code, code) << outcome.output;
        return outcome.output;
    }
};

TEST_F(Traces, ARunIsOneTraceWhicheverReplicasTakePart) {
    FakeEndpoint endpoint({.dimensions = 16, .delay = 20ms});
    make(600);
    declare_endpoint(endpoint);
    const kit::Environment settings{{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_BATCH_IN_FLIGHT", "2"}};
    kit::Process one = homeostat.start({"run"}, settings);
    kit::Process two = homeostat.start({"run"}, settings);
    kit::Process three = homeostat.start({"run"}, settings);
    ASSERT_TRUE(eventually_is("SELECT count(*) FROM homeostat.replica", "3")) << one.output();
    declare_docs();
    ASSERT_TRUE(converged()) << one.output();
    ASSERT_TRUE(kit::eventually([&] {
        return number(
                   "SELECT count(*) FROM homeostat.trace_part t CROSS JOIN LATERAL jsonb_to_recordset(t.body) AS s(n text)"
                   " WHERE s.n = 'process embedding_batch' AND run_id = (SELECT min(id) FROM homeostat.run_history)") >= 38;
    })) << one.output();
    end(one);
    end(two);
    end(three);
    EXPECT_GE(number("SELECT count(DISTINCT replica) FROM homeostat.trace_part WHERE run_id > 0"), 2);
    EXPECT_EQ(number("SELECT count(*) FROM (SELECT run_id FROM homeostat.trace_part WHERE run_id > 0 GROUP BY run_id"
                     " HAVING count(DISTINCT trace_id) > 1) w"),
              0);
    std::set<std::pair<std::string, std::string>> known;
    std::map<std::string, int> roots;
    std::set<std::string> names;
    int statements = 0;
    const std::vector<kit::Row> spans = db.query(kSpansOfRuns);
    for (const kit::Row& row : spans) known.emplace(*row[0], *row[3]);
    for (const kit::Row& row : spans) {
        names.insert(*row[1]);
        statements += row[4] == "postgresql" ? 1 : 0;
        if (row[2]->empty()) {
            ++roots[*row[0]];
            EXPECT_EQ(*row[1], "reconcile");
        } else {
            EXPECT_TRUE(known.contains({*row[0], *row[2]})) << *row[1] << " has a parent that nobody kept";
        }
    }
    for (const auto& [trace, n] : roots) EXPECT_EQ(n, 1) << trace;
    for (const char* name :
         {"reconcile", "observe", "plan", "process embedding_batch", "read documents", "embeddings m", "POST", "write vectors"})
        EXPECT_TRUE(names.contains(name)) << name;
    EXPECT_GT(statements, 100);
    EXPECT_GT(
        number(
            "SELECT count(*) FROM homeostat.event e JOIN homeostat.run_history r ON r.traceparent LIKE '%' || e.trace_id || '%'"
            " WHERE e.trace_id <> ''"),
        0);
    // Neither texts nor keys.
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.trace_part WHERE body::text ~ 'Zyxwvut|Key-'"), 0);
    const std::string drawn = shown({"trace", "docs"});
    EXPECT_THAT(drawn, AllOf(HasSubstr("of pipeline docs"), HasSubstr("process embedding_batch"), HasSubstr("#")));
    std::istringstream lines(drawn);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
    const std::string run = db.value("SELECT min(id) FROM homeostat.run_history");
    const json parsed = json::parse(shown({"trace", run, "-o", "json"}));
    EXPECT_EQ(parsed["run"], std::stoll(run));
    EXPECT_EQ(parsed["spans"].size(), parsed["spanCount"].get<std::size_t>());
    EXPECT_EQ(parsed["spansDropped"], 0);
    EXPECT_EQ(json::parse(shown({"trace", "run/" + run, "-o", "json"})), parsed);
    EXPECT_EQ(json::parse(shown({"trace", parsed["traceId"], "-o", "json"})), parsed);
    EXPECT_THAT(shown({"trace", "docs", "--list"}), HasSubstr("run " + run));
    EXPECT_THAT(shown({"trace", "999999"}, kFailed), HasSubstr("no trace of run 999999 is kept"));
    EXPECT_THAT(shown({"trace", "dosc"}, kFailed), HasSubstr("did you mean \"docs\"?"));
    expect_converged("docs", kWanted);
}

TEST_F(Traces, TheWayOfOneDocumentIsATimelineAndItsKeyGoesWhenItIsErased) {
    FakeEndpoint endpoint({.dimensions = 16});
    make(20);
    declare_endpoint(endpoint);
    declare_docs();
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(fed()) << run.output();
    const json swept = json::parse([&] {
        EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.trace_batch", "t"));
        return shown({"trace", "docs", "Key-3", "-o", "json"});
    }());
    EXPECT_EQ(swept["key"]["id"], "Key-3");
    EXPECT_EQ(swept["timelines"][0]["steps"][1]["note"], "by a sweep");
    db.exec("UPDATE docs SET body = 'another Zyxwvut' WHERE id = 'Key-3'");
    const char* kEdits =
        "SELECT count(*) FROM homeostat.trace_part t CROSS JOIN LATERAL jsonb_to_recordset(t.body) AS s(n text)"
        " WHERE run_id = 0 AND s.n = 'process embedding_batch'";
    ASSERT_TRUE(kit::eventually([&] { return number(kEdits) >= 1; })) << run.output();
    const json edited = json::parse(shown({"trace", "docs", "id=Key-3", "-o", "json"}));
    ASSERT_EQ(edited["timelines"].size(), 2U) << edited;
    std::vector<std::string> names;
    std::string before;
    for (const json& step : edited["timelines"][0]["steps"]) {
        names.push_back(step["step"]);
        EXPECT_TRUE(step.contains("at")) << step;
        // What is read ahead of its batch comes before the claim is told of.
        if (step["step"] != "read") {
            EXPECT_LE(before, step.value("at", "")) << edited;
            before = step.value("at", "");
        }
    }
    EXPECT_THAT(names,
                ::testing::ElementsAre("edited", "noticed", "planned", "claimed", "read", "embedded", "written", "served"));
    const std::string told = shown({"trace", "docs", "Key-3"});
    EXPECT_THAT(told, AllOf(HasSubstr("document Key-3 of pipeline docs"), HasSubstr("by the change feed"), HasSubstr("--all")));
    EXPECT_THAT(shown({"trace", "docs", "Key-99"}, kFailed), HasSubstr("no trace of document Key-99"));
    EXPECT_THAT(shown({"trace", "docs", "a", "b"}, kFailed), HasSubstr("the key has 1 column"));
    // What else the batch was about stays.
    db.exec("DELETE FROM docs WHERE id = 'Key-3'");
    EXPECT_EQ(homeostat.run({"erase", "docs", "Key-3", "--timeout", "20s"}).exit.code, 0) << run.output();
    const auto holds = [&](const char* key) {
        return number(fmt::format("SELECT count(*) FROM homeostat.trace_batch WHERE keys::text LIKE '%{}%'", key));
    };
    EXPECT_EQ(holds("Key-3"), 0);
    EXPECT_GT(holds("Key-4"), 0);
    EXPECT_GT(number("SELECT (found ->> 'trace_batch')::int FROM homeostat.erasure"), 0);
    EXPECT_EQ(number("SELECT (remaining ->> 'trace_batch')::int FROM homeostat.erasure"), 0);
    // What is written down later than the receipt leaves it out.
    db.exec("INSERT INTO docs VALUES ('Key-3', 'back at once'), ('Key-98', 'new')");
    ASSERT_TRUE(kit::eventually([&] { return holds("Key-98") == 1; })) << run.output();
    EXPECT_EQ(holds("Key-3"), 0);
    end_converged(run, "docs", kWanted);
}

TEST_F(Traces, AreBoundedAndMayBeOff) {
    make(20);
    declare_docs();
    run_once(kConverged, {{"HOMEOSTAT_TRACE_KEEP", "0"}});
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.trace_part"), 0);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.trace_batch"), 0);
    EXPECT_EQ(db.value("SELECT max(traceparent) FROM homeostat.run_history"), "");
    for (int i = 0; i < 4; ++i) {
        db.exec("UPDATE docs SET body = body || '.'");
        run_once(kConverged, {{"HOMEOSTAT_TRACE_KEEP", "2"}});
    }
    EXPECT_EQ(db.value("SELECT string_agg(DISTINCT run_id::text, ',') FROM homeostat.trace_part WHERE run_id > 0"),
              db.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM (SELECT id FROM homeostat.run_history ORDER BY id DESC "
                       "LIMIT 2) w"));
    EXPECT_EQ(number("SELECT count(DISTINCT trace_id) FROM homeostat.trace_batch"), 2);
    db.exec("UPDATE homeostat.trace_part SET bytes = 70000");
    db.exec("UPDATE docs SET body = body || '.'");
    run_once(kConverged, {{"HOMEOSTAT_TRACE_BYTES", "64KiB"}});
    EXPECT_EQ(number("SELECT count(DISTINCT run_id) FROM homeostat.trace_part WHERE run_id > 0"), 1) << "the newest stays";
    db.exec("UPDATE homeostat.pipeline SET finalizers = '{}'; DELETE FROM homeostat.pipeline");
    EXPECT_EQ(number("SELECT (SELECT count(*) FROM homeostat.trace_part) + (SELECT count(*) FROM homeostat.trace_batch)"), 0);
}

// A table that nobody may write is no reason to stop, nor to be told of more than in a whisper.
TEST_F(Traces, AreInNobodysWay) {
    make(30);
    declare_docs();
    db.exec("ALTER TABLE homeostat.trace_part ADD CHECK (false)");
    run_once(kConverged);
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.trace_part"), 0);
    db.exec("ALTER TABLE homeostat.trace_part DROP CONSTRAINT trace_part_check");
    // Killed before anything was written down, it has lost its trace and nothing else.
    db.exec("UPDATE docs SET body = body || '.'");
    kit::Process doomed = homeostat.start({"run", "--once"}, {{"HOMEOSTAT_FAULT_POINT", "write.after_commit"}});
    EXPECT_EQ(doomed.wait(40s).value_or(kit::Exit{}).signal, SIGKILL) << doomed.output();
    run_once(kConverged);
    expect_converged("docs", kWanted);
}

// What a collector is sent, over HTTP as it is.
class Collector {
public:
    Collector() : server_(io_.executor(), {}) {
        server_.route("POST", "/v1/traces", [this](const HttpRequest& r) {
            const Lock lock(mutex_);
            bodies_.push_back(r.body);
            return HttpResponse{.status = 200, .content_type = "application/json", .body = "{}"};
        });
        if (!server_.start()) throw std::runtime_error("the collector cannot listen");
    }
    ~Collector() { server_.stop(1s); }
    Collector(const Collector&) = delete;
    Collector& operator=(const Collector&) = delete;

    kit::Environment environment() const {
        return {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:" + std::to_string(server_.port())},
                {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"},
                {"HOMEOSTAT_TRACE_KEEP", "0"}};
    }
    std::vector<json> spans() const {
        std::vector<json> out;
        const Lock lock(mutex_);
        for (const std::string& body : bodies_) {
            const json request = json::parse(body);
            for (const json& resource : request["resourceSpans"]) {
                for (const json& scope : resource["scopeSpans"])
                    out.insert(out.end(), scope["spans"].begin(), scope["spans"].end());
            }
        }
        return out;
    }
    std::string text() const {
        const Lock lock(mutex_);
        std::string all;
        for (const std::string& body : bodies_) all += body;
        return all;
    }

private:
    kit::IoThread io_;
    mutable Mutex mutex_;
    std::vector<std::string> bodies_ GUARDED_BY(mutex_);
    HttpServer server_;
};

TEST_F(Traces, GoToACollectorWholeAndAsTheSamplerSays) {
    const Collector collector;
    FakeEndpoint endpoint({.dimensions = 16});
    make(40);
    declare_endpoint(endpoint);
    declare_docs();
    const kit::Program::Outcome outcome = run_once(kConverged, collector.environment());
    if (outcome.output.find("was built without it") != std::string::npos) GTEST_SKIP() << "no OTLP in this build";
    const std::vector<json> spans = collector.spans();
    std::set<std::string> known;
    for (const json& s : spans) known.insert(s["traceId"].get<std::string>() + s["spanId"].get<std::string>());
    std::set<std::string> of_run;
    for (const json& s : spans) {
        const std::string parent = s.value("parentSpanId", "");
        EXPECT_TRUE(parent.empty() || known.contains(s["traceId"].get<std::string>() + parent)) << s;
        if (s["name"] == "process embedding_batch" || s["name"] == "plan" || s["name"] == "observe") of_run.insert(s["traceId"]);
    }
    EXPECT_EQ(of_run.size(), 1U);
    EXPECT_EQ(db.value("SELECT substr(traceparent, 4, 32) FROM homeostat.run_history"), of_run.empty() ? "" : *of_run.begin());
    EXPECT_THAT(collector.text(), AllOf(Not(HasSubstr("Zyxwvut")), Not(HasSubstr("Key-")), HasSubstr("db.query.summary"),
                                        HasSubstr("gen_ai.operation.name")));
    EXPECT_THAT(endpoint.requests().back().http.headers.at("traceparent"), EndsWith("-01"));
    // Nothing is exported of what is not sampled, and the provider is told so.
    const std::size_t sent = spans.size();
    db.exec("UPDATE docs SET body = body || '.'");
    kit::Environment off = collector.environment();
    off["OTEL_TRACES_SAMPLER"] = "parentbased_always_off";
    run_once(kConverged, off);
    EXPECT_EQ(collector.spans().size(), sent);
    EXPECT_THAT(endpoint.requests().back().http.headers.at("traceparent"), EndsWith("-00"));
}

}  // namespace
}  // namespace homeostat
