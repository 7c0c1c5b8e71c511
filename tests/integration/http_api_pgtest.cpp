// The HTTP API of the real program, as roles that are no superuser: what it reads, what it refuses, whose rights an action has,
// and the stream of events.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/integration/trust_world.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat {
namespace {

// One connection a request; no sleeps.
struct HttpReply {
    int status = 0;
    std::map<std::string, std::string> headers;  // names in small letters
    std::string body;

    nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
    std::string detail() const { return json().value("detail", ""); }
};

class HttpPeer {
public:
    explicit HttpPeer(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }
    ~HttpPeer() { ::close(fd_); }
    HttpPeer(const HttpPeer&) = delete;
    HttpPeer& operator=(const HttpPeer&) = delete;

    void say(const std::string& text) const { (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
    // What comes next; "" where the connection has ended.
    std::string hear() const {
        char buffer[65'536];
        const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
        return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
    }
    // Until `part` has come, or the connection has ended.
    std::string hear_until(const std::string& part) const {
        std::string all;
        while (all.find(part) == std::string::npos) {
            const std::string some = hear();
            if (some.empty()) break;
            all += some;
        }
        return all;
    }
    std::string hear_all() const {
        std::string all;
        for (std::string some; !(some = hear()).empty();) all += some;
        return all;
    }

private:
    int fd_;
    bool connected_ = false;
};

HttpReply http(int port, const std::string& method, const std::string& path, const std::string& headers = "",
               const std::string& body = "") {
    const HttpPeer peer(port);
    const std::string host = headers.find("Host:") == std::string::npos ? "Host: 127.0.0.1\r\n" : "";
    const std::string length = body.empty() && method != "POST" ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n";
    peer.say(method + " " + path + " HTTP/1.1\r\n" + host + headers + length + "Connection: close\r\n\r\n" + body);
    const std::string answer = peer.hear_all();
    HttpReply reply;
    const std::size_t end = answer.find("\r\n\r\n");
    if (end == std::string::npos) return reply;
    reply.status = std::stoi(answer.substr(9, 3));
    reply.body = answer.substr(end + 4);
    for (std::size_t at = answer.find("\r\n") + 2; at < end;) {
        const std::size_t stop = answer.find("\r\n", at);
        const std::size_t colon = answer.find(": ", at);
        std::string name = answer.substr(at, colon - at);
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        reply.headers[name] = answer.substr(colon + 2, stop - colon - 2);
        at = stop + 2;
    }
    return reply;
}

// Of a `run` that has just begun.
int http_port_of(const kit::Process& run) {
    const std::string before = "/metrics on port ";
    kit::eventually([&] { return run.output().find(before) != std::string::npos; });
    const std::string output = run.output();
    const std::size_t at = output.find(before);
    return at == std::string::npos ? 0 : std::stoi(output.substr(at + before.size()));
}

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kToken = "Authorization: Bearer t0ken\r\n";
constexpr const char* kJson = "Content-Type: application/json\r\n";

class HttpApi : public TrustWorld {
protected:
    void SetUp() override {
        TrustWorld::SetUp();
        if (IsSkipped()) return;
        as(ann_).exec(declaration("mine", "ann.docs", "ann.mine_v"));
        as(bob_).exec(declaration("other two", "bob.docs", "bob.other_v"));
    }
    // Until what is declared is embedded.
    kit::Process begin(const kit::Environment& more = {{"HOMEOSTAT_HTTP_TOKEN", "t0ken"}}) {
        kit::Process run = as_controller_.start({"run"}, more);
        port = http_port_of(run);
        EXPECT_TRUE(eventually_is("SELECT count(*) FROM homeostat.pipelines WHERE kstatus = 'Current'", "2")) << run.output();
        return run;
    }
    kit::Environment acting(const std::string& role) const {
        return {{"HOMEOSTAT_HTTP_TOKEN", "t0ken"}, {"HOMEOSTAT_HTTP_ACTION_URL", db.url(role)}};
    }
    HttpReply get(const std::string& path, const std::string& more = "") const { return http(port, "GET", path, kToken + more); }
    HttpReply post(const std::string& path, const std::string& body = "{}", const std::string& headers = "") const {
        return http(port, "POST", path, headers.empty() ? std::string(kToken) + kJson : headers, body);
    }
    // With names in it that there are.
    std::string filled(const std::string& path) {
        std::string name = "mine";
        if (path.find("/runs/") != std::string::npos) name = db.value("SELECT max(id)::text FROM homeostat.run_history");
        if (path.find("/providers/") != std::string::npos) name = "hashing";
        const std::size_t at = path.find("{name}");
        return at == std::string::npos ? path : path.substr(0, at) + name + path.substr(at + 6);
    }

    int port = 0;
};

// The document and the routes are made of one table; here the whole of it answers.
TEST_F(HttpApi, EveryPathOfTheDocumentAnswersAsItSays) {
    kit::Process run = begin();
    const HttpReply document = http(port, "GET", "/openapi.json");
    ASSERT_EQ(document.status, 200);
    const json api = document.json();
    EXPECT_EQ(api["openapi"], "3.1.0");
    std::set<std::string> ids;
    for (const auto& [path, methods] : api["paths"].items()) {
        for (const auto& [method, operation] : methods.items()) {
            EXPECT_TRUE(ids.insert(operation["operationId"]).second) << "an id is one operation's";
            const std::string at = filled(path);
            if (method == "post") {
                EXPECT_EQ(http(port, "GET", at, kToken).status, 405) << path;
                EXPECT_EQ(http(port, "POST", at, kJson, "{}").status, 401) << path;
                const HttpReply none = post(at);
                EXPECT_EQ(none.status, 403) << path;
                EXPECT_THAT(none.detail(), HasSubstr("http.action_url")) << path;
                continue;
            }
            EXPECT_EQ(http(port, "GET", at).status, 401) << path;
            EXPECT_EQ(http(port, "HEAD", at, kToken).status, 200) << path;
            const HttpReply wrong = http(port, "DELETE", at, kToken);
            EXPECT_EQ(wrong.status, 405) << path;
            EXPECT_EQ(wrong.headers.at("allow"), "GET, HEAD") << path;
            if (operation["responses"]["200"]["content"].contains("text/event-stream")) continue;
            const HttpReply good = get(at);
            EXPECT_EQ(good.status, 200) << path << good.body;
            EXPECT_EQ(good.headers.at("content-type"), "application/json") << path;
            EXPECT_TRUE(good.json().is_object()) << path << good.body;
            EXPECT_EQ(get(at, "Accept: text/html\r\n").status, 406) << path;
        }
    }
    EXPECT_EQ(get("/api/v2/pipelines").status, 404);
    EXPECT_EQ(get("/api/v1/").status, 404);
    end(run);
}

TEST_F(HttpApi, APipelineIsToldAsTheCommandsTellIt) {
    kit::Process run = begin();
    const json list = get("/api/v1/pipelines").json();
    EXPECT_EQ(list["totals"]["pipelines"], 2);
    EXPECT_EQ(list["items"].size(), 2U);
    for (const json& p : list["items"]) EXPECT_EQ(p["urgency"], "well") << p;
    const json one = get("/api/v1/pipelines/other%20two").json();
    EXPECT_EQ(one["metadata"]["name"], "other two");
    EXPECT_EQ(one["status"]["documents"], 5);
    EXPECT_EQ(one["revisions"].size(), 1U);
    EXPECT_EQ(one["index"]["method"], "none");
    EXPECT_EQ(one["remedy"], "");
    as(ann_).exec("UPDATE homeostat.pipeline SET suspend = true, suspend_reason = 'a move' WHERE name = 'mine'");
    const json mine = get("/api/v1/pipelines/mine").json();
    EXPECT_EQ(mine["suspension"]["reason"], "a move");
    EXPECT_EQ(mine["summary"]["urgency"], "paused");
    EXPECT_THAT(mine["remedy"].get<std::string>(), HasSubstr("homeostat resume mine"));
    EXPECT_EQ(get("/api/v1/pipelines").json()["items"][0]["name"], "mine") << "the one to look at first is in front";
    const json health = get("/api/v1/health/detailed").json();
    EXPECT_EQ(health["database"]["reachable"], true);
    EXPECT_EQ(health["replicas"].size(), 1U);
    EXPECT_EQ(get("/api/v1/strategies").json()["items"].empty(), false);
    end(run);
}

TEST_F(HttpApi, WhatIsAskedWronglyIsAProblemThatSaysWhatToDo) {
    kit::Process run = begin();
    const auto refused = [&](const std::string& path, int status, const std::string& part) {
        const HttpReply reply = get(path);
        EXPECT_EQ(reply.status, status) << path << reply.body;
        EXPECT_EQ(reply.headers.at("content-type"), "application/problem+json") << path;
        EXPECT_THAT(reply.detail(), HasSubstr(part)) << path;
    };
    refused("/api/v1/pipelines/mien", 404, "did you mean \"mine\"?");
    refused("/api/v1/runs?pipeline=mien", 404, "did you mean \"mine\"?");
    refused("/api/v1/runs?limt=3", 400, "did you mean \"limit\"?");
    refused("/api/v1/runs?limit=0", 400, "from 1 to 1000");
    refused("/api/v1/runs?limit=1e9", 400, "from 1 to 1000");
    refused("/api/v1/runs?limit=1&limit=2", 400, "each name once");
    refused("/api/v1/runs?pipeline=%00", 400, "percent-encoded");
    refused("/api/v1/runs?cursor=yesterday", 400, "leave it out");
    refused("/api/v1/runs?cursor=9223372036854775807.0.00.00", 400, "leave it out");
    refused("/api/v1/pipelines?cursor=6e6f6e65", 409, "begin anew");
    refused("/api/v1/runs/x", 400, "not the number of a run");
    refused("/api/v1/runs/999999999999999999", 404, "does not exist");
    refused("/api/v1/pipelines/%zz", 400, "encoded");
    refused("/api/v1/pipelines/%f0%28", 400, "");
    refused("/api/v1/providers/hashin", 404, "did you mean \"hashing\"?");
    EXPECT_EQ(get("/api/v1/events/stream", "Last-Event-ID: soon\r\n").status, 400);
    EXPECT_EQ(get("/api/v1/events/stream", "Accept: application/json\r\n").status, 406);
    EXPECT_EQ(get("/" + std::string(9000, 'x')).status, 431);
    end(run);
}

TEST_F(HttpApi, PagesHoldEachEventOnceWhateverComesMeanwhile) {
    kit::Process run = begin();
    db.exec(
        "INSERT INTO homeostat.event (at, uid, type, reason, message) SELECT timestamptz '2026-01-01' + i / 3 * interval '1 "
        "hour',"
        " (SELECT uid FROM homeostat.pipeline WHERE name = 'mine'), 'Normal', 'Planted', 'number ' || i FROM generate_series(1, "
        "10) i");
    std::vector<std::string> seen;
    std::string cursor;
    do {
        const json page = get("/api/v1/events?reason=Planted&limit=3" + (cursor.empty() ? "" : "&cursor=" + cursor)).json();
        ASSERT_TRUE(page.contains("items")) << page;
        EXPECT_LE(page["items"].size(), 3U);
        for (const json& e : page["items"]) seen.push_back(e["message"]);
        cursor = page.value("next", "");
        db.exec("INSERT INTO homeostat.event (type, reason, message) VALUES ('Normal', 'Planted', 'newer than all')");
    } while (!cursor.empty());
    std::vector<std::string> wanted;
    for (int i = 10; i >= 1; --i) wanted.push_back(fmt::format("number {}", i));
    EXPECT_EQ(seen, wanted);
    EXPECT_EQ(get("/api/v1/events?pipeline=other%20two&reason=Planted").json()["items"].size(), 0U);
    end(run);
}

// Who has the token may do what the login of http.action_url may, and nothing that the controller's own could.
TEST_F(HttpApi, AnActionHasTheRightsOfItsLoginAlone) {
    kit::Process run = begin(acting(ann_));
    const HttpReply done = post("/api/v1/pipelines/mine/suspend", R"({"reason": "a move", "actor": "ann\u202e at her desk"})");
    EXPECT_EQ(done.status, 200) << done.body;
    EXPECT_EQ(
        db.value("SELECT suspend || coalesce(suspend_reason, '') || suspended_by FROM homeostat.pipeline WHERE name = 'mine'"),
        "truea move" + ann_);
    const HttpReply refused = post("/api/v1/pipelines/other%20two/suspend");
    EXPECT_EQ(refused.status, 403) << refused.body;
    EXPECT_THAT(refused.detail(), HasSubstr("may not change it"));
    for (const char* verb : {"reconcile", "resume", "rollback"})
        EXPECT_EQ(post(fmt::format("/api/v1/pipelines/other%20two/{}", verb)).status, 403) << verb;
    EXPECT_EQ(
        db.value("SELECT count(*) FROM homeostat.pipeline WHERE name = 'other two' AND (suspend OR reconcile_requested IS NOT "
                 "NULL)"),
        "0");
    EXPECT_EQ(post("/api/v1/pipelines/mine/resume").status, 200);
    EXPECT_EQ(post("/api/v1/pipelines/mine/reconcile").status, 200);
    EXPECT_EQ(post("/api/v1/pipelines/mine/retry-dead-letters").json()["retried"], 0);
    EXPECT_EQ(post("/api/v1/pipelines/mine/approve", R"({"plan": "none"})").status, 400);
    const json log = get("/api/v1/actions").json();
    ASSERT_EQ(log["items"].size(), 4U) << log;
    const std::string first = log["items"][3]["message"];
    EXPECT_THAT(first, AllOf(HasSubstr("suspend"), HasSubstr("127.0.0.1"), HasSubstr(ann_), HasSubstr("at her desk"),
                             HasSubstr("a move"), Not(HasSubstr("\xe2\x80\xae"))));
    EXPECT_EQ(log["items"][3]["object"], "pipeline/mine");
    end(run);
}

TEST_F(HttpApi, NoPageOfAnotherSiteActsAndNoBodyIsGuessedAt) {
    kit::Process run = begin(acting(ann_));
    const std::string path = "/api/v1/pipelines/mine/suspend";
    const std::string both = std::string(kToken) + kJson;
    EXPECT_EQ(post(path, "{}", kToken).status, 415);
    EXPECT_EQ(post(path, "{}", std::string(kToken) + "Content-Type: text/plain\r\n").status, 415);
    EXPECT_EQ(post(path, "{}", both + "Origin: http://evil.example\r\n").status, 403);
    EXPECT_EQ(post(path, "{}", both + "Origin: null\r\n").status, 403);
    EXPECT_EQ(post(path, "{}", std::string(kJson) + "Authorization: Bearer guess\r\n").status, 401);
    for (const char* body : {"[]", "{", "null", "\"x\"", R"({"reson": "x"})", R"({"reason": 1})", R"({"for": "soon"})",
                             R"({"for": "-1h"})", R"({"reason": "a\u0000b"})"})
        EXPECT_EQ(post(path, body).status, 400) << body;
    EXPECT_EQ(post(path + "?reason=x").status, 400);
    EXPECT_EQ(post("/api/v1/pipelines/mine/approve").status, 400) << "a plan is named";
    EXPECT_EQ(post("/api/v1/pipelines/mine/rollback", R"({"checkpoint": "a", "run": 1})").status, 400);
    EXPECT_EQ(post("/api/v1/pipelines/mine/rollback", R"({"checkpoint": ""})").status, 400) << "that is not the last run";
    EXPECT_EQ(post("/api/v1/pipelines/mine/retry-dead-letters", R"({"class": ""})").status, 400) << "nor are these all letters";
    EXPECT_EQ(post("/api/v1/pipelines/mine/retry-dead-letters", R"({"class": "naughty"})").status, 400);
    EXPECT_EQ(post(path, std::string(2 << 20, ' ')).status, 413);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline WHERE suspend"), "0");
    EXPECT_EQ(get("/api/v1/actions").json()["items"].size(), 0U);
    EXPECT_EQ(post(path, "{}", both + "Origin: http://127.0.0.1\r\n").status, 200) << "the dashboard's own";
    end(run);
}

TEST_F(HttpApi, WithoutATokenThisMachineReadsAndNobodyActs) {
    kit::Process run = begin({});
    EXPECT_EQ(http(port, "GET", "/api/v1/pipelines").status, 200);
    EXPECT_EQ(http(port, "GET", "/api/v1/pipelines", "Host: evil.example\r\n").status, 421);
    EXPECT_EQ(http(port, "POST", "/api/v1/pipelines/mine/suspend", kJson, "{}").status, 403);
    const HttpReply page = http(port, "GET", "/");
    EXPECT_EQ(page.status, 200);
    EXPECT_THAT(page.headers.at("content-security-policy"), HasSubstr("default-src 'self'"));
    EXPECT_THAT(page.body, HasSubstr("/dashboard/app.js"));
    EXPECT_EQ(http(port, "GET", "/dashboard/app.js").headers.at("content-type"), "text/javascript; charset=utf-8");
    EXPECT_EQ(http(port, "GET", "/dashboard/../dashboard/app.js").status, 404);
    end(run);
}

TEST_F(HttpApi, TheStreamGoesOnWhereItBroke) {
    kit::Process run = begin();
    const auto plant = [&](const std::string& text) {
        return db.value("INSERT INTO homeostat.event (type, reason, message) VALUES ('Normal', 'Planted', '" + text +
                        "') RETURNING id");
    };
    const auto listen = [&](const HttpPeer& peer, const std::string& last) {
        peer.say("GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n" + std::string(kToken) +
                 (last.empty() ? "" : "Last-Event-ID: " + last + "\r\n") + "\r\n");
    };
    plant("from before");
    {
        const HttpPeer peer(port);
        listen(peer, "");
        std::string all = peer.hear_until(": listening");
        plant("while it is listened");
        all += peer.hear_until("while it is listened");
        EXPECT_THAT(all, AllOf(HasSubstr("text/event-stream"), HasSubstr("event: event"), Not(HasSubstr("from before"))));
        as(ann_).exec("UPDATE homeostat.pipeline SET suspend = true WHERE name = 'mine'");
        EXPECT_THAT(peer.hear_until("event: pipeline"), HasSubstr("event: pipeline"));
    }
    const std::string last = db.value("SELECT max(id) FROM homeostat.event");
    plant("while nobody listened");
    {
        const HttpPeer peer(port);
        listen(peer, last);
        EXPECT_THAT(peer.hear_until("while nobody listened"), HasSubstr("while nobody listened"));
    }
    {
        const HttpPeer peer(port);
        listen(peer, "999999999");
        EXPECT_THAT(peer.hear_until("event: reset"), HasSubstr("read everything anew"));
    }
    end(run);
}

// Of 1,000 connections that are slow, idle or half a request, none delays the work, a probe or the API's other clients; the
// process keeps no more of them than it says.
TEST_F(HttpApi, AThousandHostileClientsAreNoneOfTheWorksBusiness) {
    kit::Process run = begin();
    std::vector<std::unique_ptr<HttpPeer>> crowd;
    for (int i = 0; i < 1000; ++i) {
        crowd.push_back(std::make_unique<HttpPeer>(port));
        const HttpPeer& peer = *crowd.back();
        if (i % 4 == 1) peer.say("GET /api/v1/pipelines HTTP/1.1\r\nHost: 127.0.0.1\r\n" + std::string(kToken));
        if (i % 4 == 2) peer.say("GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n" + std::string(kToken) + "\r\n");
        if (i % 4 == 3) peer.say("POST /api/v1/pipelines/mine/suspend HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n{");
        if (i % 100 != 0) continue;
        EXPECT_EQ(http(port, "GET", "/livez").status, 200);
    }
    as(ann_).exec("UPDATE ann.docs SET body = 'changed meanwhile'");
    EXPECT_TRUE(eventually_is("SELECT count(*) FROM ann.mine_v WHERE chunk_text LIKE '%changed meanwhile%'", "5"));
    EXPECT_EQ(http(port, "GET", "/livez").status, 200);
    // Where all that may wait are taken it says so, and is asked again.
    EXPECT_TRUE(kit::eventually([&] { return get("/api/v1/pipelines").status == 200; }));
    const std::string metrics = get("/metrics").body;
    EXPECT_THAT(metrics, HasSubstr("homeostat_"));
    // A request smuggled behind another, and two lengths: refused, and nothing of the second is obeyed.
    const HttpPeer smuggler(port);
    smuggler.say(
        "POST /api/v1/pipelines/mine/suspend HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
        "chunked\r\n\r\n0\r\n\r\n"
        "GET /livez HTTP/1.1\r\n\r\n");
    EXPECT_THAT(smuggler.hear_all(), Not(HasSubstr("200 OK")));
    end(run);
}

TEST_F(HttpApi, HealthAnswersWhereTheDatabaseDoesNot) {
    kit::Process run = begin();
    db.exec("ALTER ROLE " + controller_ + " CONNECTION LIMIT 0");
    db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + controller_ + "'");
    const HttpReply health = get("/api/v1/health/detailed");
    EXPECT_EQ(health.status, 200);
    EXPECT_EQ(health.json()["database"]["reachable"], false) << health.body;
    EXPECT_THAT(health.json()["database"]["message"].get<std::string>(), Not(IsEmpty()));
    const HttpReply list = get("/api/v1/pipelines");
    EXPECT_EQ(list.status, 503) << list.body;
    EXPECT_EQ(list.headers.at("retry-after"), "5");
    EXPECT_EQ(http(port, "GET", "/livez").status, 200);
    db.exec("ALTER ROLE " + controller_ + " CONNECTION LIMIT -1");
    EXPECT_TRUE(kit::eventually([&] { return get("/api/v1/pipelines").status == 200; }));
    end(run);
}

}  // namespace
}  // namespace homeostat
