// The HTTP server over real sockets: routes, limits, stopping; and what /livez and /readyz say.
#include "controller/http/server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "controller/http/health.hpp"
#include "controller/http/stream.hpp"
#include "reconcilers/embed/http_client.hpp"
#include "tests/kit/io_thread.hpp"
#include "tests/kit/sim_clock.hpp"
#include "tests/kit/soon.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A client that can be as rude as a test needs.
class RawClient {
public:
    explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }
    ~RawClient() { ::close(fd_); }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    bool connected() const { return connected_; }
    void say(std::string_view text) { (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
    // What comes next; "" where the connection has ended.
    std::string hear_some() {
        char buffer[4096];
        const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
        return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
    }
    // All that comes until the server ends the connection.
    std::string hear() {
        std::string out;
        char buffer[4096];
        for (ssize_t n = 0; (n = ::recv(fd_, buffer, sizeof buffer, 0)) > 0;) out.append(buffer, static_cast<std::size_t>(n));
        return out;
    }

private:
    int fd_;
    bool connected_ = false;
};

class HttpServerTest : public ::testing::Test {
protected:
    HttpServer& start(HttpServerOptions options = {}) {
        server = std::make_unique<HttpServer>(io.executor(), std::move(options));
        server->route("GET", "/hello", [](const HttpRequest& r) { return HttpResponse{.body = "hello " + r.query}; });
        server->route("POST", "/echo", [](const HttpRequest& r) { return HttpResponse{.status = 201, .body = r.body}; });
        server->route_open("GET", "/open", [](const HttpRequest&) { return HttpResponse{.body = "open"}; });
        server->route("GET", "/throws", [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("a secret"); });
        const auto started = server->start();
        EXPECT_TRUE(started) << started.error().message;
        return *server;
    }
    Result<HttpAnswer> ask(std::string method, const std::string& path, std::string body = {}) {
        HttpCall call{.method = std::move(method),
                      .url = *parse_url("http://127.0.0.1:" + std::to_string(server->port()) + path),
                      .headers = {},
                      .body = std::move(body)};
        return io.run(client->send(std::move(call), clock.steady_now() + 10s, {}));
    }
    std::string raw(std::string_view request) {
        RawClient c(server->port());
        c.say(request);
        return c.hear();
    }

    SystemClock clock;
    kit::IoThread io{2};
    std::unique_ptr<HttpClient> client = *HttpClient::create(io.executor(), clock);
    std::unique_ptr<HttpServer> server;
};

TEST_F(HttpServerTest, RoutesByPathAndMethod) {
    start();
    EXPECT_NE(server->port(), 0);
    const auto hello = ask("GET", "/hello?x=1&y=2");
    ASSERT_TRUE(hello) << hello.error().message;
    EXPECT_EQ(hello->status, 200U);
    EXPECT_EQ(hello->body, "hello x=1&y=2");
    EXPECT_EQ(ask("POST", "/echo", "body")->body, "body");
    EXPECT_EQ(ask("POST", "/echo", "body")->status, 201U);
    EXPECT_EQ(ask("GET", "/nothing")->status, 404U);
    const auto wrong = ask("DELETE", "/hello");
    EXPECT_EQ(wrong->status, 405U);
    EXPECT_EQ(find_header(wrong->headers, "allow"), "GET, HEAD");
    EXPECT_EQ(client->connections_opened(), 1U);
}

TEST_F(HttpServerTest, HeadIsGetWithoutTheBody) {
    start();
    const std::string answer = raw("HEAD /hello?abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(answer, HasSubstr("Content-Length: 9\r\n"));
    EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
    const std::string twice =
        raw("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(twice.ends_with("hello "));
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsA500ThatTellsNothing) {
    start();
    const auto answer = ask("GET", "/throws");
    EXPECT_EQ(answer->status, 500U);
    EXPECT_EQ(answer->body.find("secret"), std::string::npos);
}

TEST_F(HttpServerTest, RefusesWhatIsTooLargeOrNotHttp) {
    start({.max_header_bytes = 1024, .max_body_bytes = 100});
    EXPECT_THAT(raw("GET /hello HTTP/1.1\r\nX: " + std::string(2000, 'a') + "\r\n\r\n"), StartsWith("HTTP/1.1 431"));
    EXPECT_THAT(raw("POST /echo HTTP/1.1\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'a')), StartsWith("HTTP/1.1 413"));
    EXPECT_THAT(raw("what is this\r\n\r\n"), StartsWith("HTTP/1.1 400"));
    EXPECT_EQ(ask("GET", "/hello")->status, 200U);
}

TEST_F(HttpServerTest, ASlowClientIsLetGo) {
    start({.request_timeout = 50ms, .idle_timeout = 50ms});
    RawClient silent(server->port());
    RawClient slow(server->port());
    slow.say("GET /hello HTTP/1.1\r\nHo");
    EXPECT_EQ(slow.hear(), "");
    EXPECT_EQ(silent.hear(), "");
}

TEST_F(HttpServerTest, OfTooManyConnectionsTheOneThatIsSilentForLongestIsClosed) {
    start({.max_connections = 2});
    RawClient a(server->port());
    RawClient b(server->port());
    a.say("GET /hello HTTP/1.1\r\n");
    b.say("GET /hello HTTP/1.1\r\n");
    RawClient c(server->port());
    c.say("GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(c.hear(), HasSubstr("hello"));
    EXPECT_EQ(a.hear(), "");
    b.say("Connection: close\r\n\r\n");
    EXPECT_THAT(b.hear(), HasSubstr("hello"));
}

// Idle ones, and such as send a letter now and then: probes are answered meanwhile, on connections of their own and on kept ones.
TEST_F(HttpServerTest, AThousandConnectionsDoNotStarveProbes) {
    rlimit files{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    start({.token = "t0ken"});
    std::vector<std::unique_ptr<RawClient>> crowd;
    for (int i = 0; i < 1000; ++i) {
        crowd.push_back(std::make_unique<RawClient>(server->port()));
        if (i % 2 == 0) crowd.back()->say("GET /hello HTT");
        if (i % 100 != 0) continue;
        const auto answer = ask("GET", "/open");
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_EQ(answer->status, 200U);
    }
    for (int i = 0; i < 50; ++i) {
        for (int j = 0; j < 20; ++j) crowd[static_cast<std::size_t>(i * 20 + j)]->say("X");
        EXPECT_THAT(raw("GET /open HTTP/1.1\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    }
}

TEST_F(HttpServerTest, WhatIsNotOpenWantsTheToken) {
    start({.token = "t0ken"});
    const auto said = [&](const std::string& path, const std::string& header) {
        return raw("GET " + path + " HTTP/1.1\r\n" + header + "Connection: close\r\n\r\n");
    };
    EXPECT_THAT(said("/open", ""), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(said("/hello", ""), AllOf(StartsWith("HTTP/1.1 401"), HasSubstr("WWW-Authenticate: Bearer")));
    for (const char* wrong : {"Bearer t0ke", "Bearer t0kenx", "Bearer ", "bearer", "Basic t0ken", "t0ken"})
        EXPECT_THAT(said("/hello", fmt::format("Authorization: {}\r\n", wrong)), StartsWith("HTTP/1.1 401")) << wrong;
    EXPECT_THAT(said("/hello", "Authorization: Bearer t0ken\r\n"), StartsWith("HTTP/1.1 200"));
}

// Those that may wait for the database have a place of their own: when it is full, who comes is told so, and probes go on.
TEST_F(HttpServerTest, HandlersThatWaitHoldUpNobodyElse) {
    kit::IoThread beside{2};
    std::promise<void> release;
    std::atomic<int> entered{0};
    server = std::make_unique<HttpServer>(io.executor(), HttpServerOptions{.max_blocking = 2});
    server->block_on(beside.executor());
    server->route("GET", "/waits/{name}",
                  [&, wait = release.get_future().share()](const HttpRequest& r) {
                      ++entered;
                      wait.wait();
                      return HttpResponse{.body = std::string(r.parameter("name"))};
                  },
                  {.blocking = true});
    server->route_open("GET", "/open", [](const HttpRequest&) { return HttpResponse{.body = "open"}; });
    ASSERT_TRUE(server->start());
    RawClient a(server->port());
    RawClient b(server->port());
    a.say("GET /waits/first HTTP/1.1\r\nConnection: close\r\n\r\n");
    b.say("GET /waits/second HTTP/1.1\r\nConnection: close\r\n\r\n");
    ASSERT_TRUE(kit::soon([&] { return entered == 2; }));
    EXPECT_THAT(raw("GET /waits/third HTTP/1.1\r\nConnection: close\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: 1"), HasSubstr("application/problem+json")));
    for (int i = 0; i < 10; ++i) EXPECT_EQ(ask("GET", "/open")->status, 200U);
    release.set_value();
    EXPECT_TRUE(a.hear().ends_with("first"));
    EXPECT_TRUE(b.hear().ends_with("second"));
    EXPECT_THAT(raw("GET /waits/again HTTP/1.1\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    server->stop(10s);
}

TEST_F(HttpServerTest, AStreamIsSentAsItComesAndEndsWithTheServer) {
    const auto stream = std::make_shared<HttpStream>();
    server = std::make_unique<HttpServer>(io.executor(), HttpServerOptions{.heartbeat = 5ms, .max_streams = 1});
    server->route("GET", "/stream", [&](const HttpRequest&) {
        HttpResponse response{.content_type = "text/event-stream"};
        response.stream = stream;
        return response;
    });
    ASSERT_TRUE(server->start());
    RawClient listener(server->port());
    listener.say("GET /stream HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(stream->send("data: one\n\n"));
    std::string heard;
    while (heard.find("data: one") == std::string::npos || heard.find(": still here") == std::string::npos) {
        const std::string some = listener.hear_some();
        ASSERT_FALSE(some.empty()) << heard;
        heard += some;
    }
    EXPECT_THAT(heard, AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("text/event-stream"), Not(HasSubstr("Content-Length"))));
    EXPECT_THAT(raw("GET /stream HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 503")) << "one more than is kept";
    const std::string head = raw("HEAD /stream HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
    server->stop(10s);
    EXPECT_TRUE(stream->closed());
}

TEST_F(HttpServerTest, StopLetsARunningRequestFinishAndClosesTheRest) {
    std::promise<void> entered;
    std::promise<void> release;
    server = std::make_unique<HttpServer>(io.executor(), HttpServerOptions{});
    server->route("GET", "/slow", [&, wait = release.get_future().share()](const HttpRequest&) {
        entered.set_value();
        wait.wait();
        return HttpResponse{.body = "done"};
    });
    ASSERT_TRUE(server->start());
    RawClient idle(server->port());
    RawClient busy(server->port());
    busy.say("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    entered.get_future().wait();
    auto stopped = std::async(std::launch::async, [&] { server->stop(10s); });
    EXPECT_EQ(idle.hear(), "");
    release.set_value();
    EXPECT_TRUE(busy.hear().ends_with("done"));
    stopped.get();
    EXPECT_FALSE(RawClient(server->port()).connected());
    server->stop(10s);
}

TEST_F(HttpServerTest, StopCutsWhatIsLeftAfterTheGrace) {
    start();
    RawClient stuck(server->port());
    stuck.say("GET /hello HTTP/1.1\r\n");
    server->stop(20ms);
    EXPECT_EQ(stuck.hear(), "");
}

TEST_F(HttpServerTest, AnAddressThatIsTakenOrNoneIsASentence) {
    start();
    HttpServer second(io.executor(), {.port = server->port()});
    const auto taken = second.start();
    ASSERT_FALSE(taken);
    EXPECT_THAT(taken.error().message, HasSubstr("in use"));
    HttpServer wrong(io.executor(), {.address = "localhost"});
    EXPECT_EQ(wrong.start().error().cls, ErrorClass::invalid);
}

TEST_F(HttpServerTest, HealthIsServed) {
    kit::SimulatedClock sim;
    Health health(sim);
    server = std::make_unique<HttpServer>(io.executor(), HttpServerOptions{});
    health.add_routes(*server);
    ASSERT_TRUE(server->start());
    EXPECT_EQ(ask("GET", "/livez")->body, "ok\n");
    EXPECT_EQ(ask("GET", "/readyz")->status, 503U);
    health.set_ready({});
    EXPECT_EQ(ask("GET", "/readyz")->status, 200U);
    health.set_ready(Error{.cls = ErrorClass::db_transient, .message = "the database cannot be reached"});
    EXPECT_EQ(ask("GET", "/readyz")->body, "the database cannot be reached\n");
    EXPECT_EQ(ask("GET", "/livez")->status, 200U) << "a database that is away never makes the process dead";
    sim.advance(60s);
    EXPECT_EQ(ask("GET", "/livez")->status, 200U);
    sim.advance(1s);
    EXPECT_EQ(ask("GET", "/livez")->body, "the main loop has not ticked for 61 s\n");
    health.tick();
    EXPECT_EQ(ask("GET", "/livez")->status, 200U);
    server->stop(1s);
}

}  // namespace
}  // namespace homeostat
