// The HTTP client against a real server on loopback, plain and TLS.
#include "reconcilers/embed/http_client.hpp"

#include <gtest/gtest.h>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using kit::Flaw;
using namespace std::chrono_literals;

constexpr std::string_view kBody = R"({"model":"m","input":["a","b"],"encoding_format":"base64"})";

struct Fixture {
    explicit Fixture(kit::FakeEndpointOptions endpoint_options = {}, HttpClientOptions options = {}, int threads = 1)
        : endpoint(std::move(endpoint_options)), io(threads) {
        if (options.ca_file.empty()) options.ca_file = endpoint.ca_file();
        client = *HttpClient::create(io.executor(), clock, std::move(options));
    }
    HttpCall call(std::string_view url = {}) {
        HttpCall c;
        c.url = *parse_url(url.empty() ? endpoint.url() + "/embeddings" : std::string(url));
        c.body = std::string(kBody);
        return c;
    }
    auto start(HttpCall c, Duration timeout = 10s, std::stop_token stop = {}) {
        return io.start(client->send(std::move(c), clock.steady_now() + timeout, std::move(stop)));
    }
    Result<HttpAnswer> send(HttpCall c, Duration timeout = 10s) { return start(std::move(c), timeout).get(); }

    SystemClock clock;
    FakeEndpoint endpoint;
    kit::IoThread io;
    std::unique_ptr<HttpClient> client;
};

class HttpClientBoth : public ::testing::TestWithParam<bool> {
protected:
    Fixture f{kit::FakeEndpointOptions{.tls = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(PlainAndTls, HttpClientBoth, ::testing::Bool(), [](const auto& p) { return p.param ? "Tls" : "Plain"; });

TEST_P(HttpClientBoth, SendsWhatItIsGivenAndKeepsTheConnection) {
    for (int i = 0; i < 5; ++i) {
        auto call = f.call();
        call.headers.emplace_back("X-Extra", "yes");
        const auto answer = f.send(std::move(call));
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_EQ(answer->status, 200U);
        EXPECT_EQ(find_header(answer->headers, "CONTENT-TYPE"), "application/json");
    }
    EXPECT_EQ(f.endpoint.connections(), 1U);
    const auto request = f.endpoint.requests().front().http;
    EXPECT_EQ(request.headers.at("x-extra"), "yes");
    EXPECT_EQ(request.headers.at("user-agent"), "homeostat");
    EXPECT_EQ(request.body, kBody);
    EXPECT_EQ(request.path, "/v1/embeddings");
}

TEST_P(HttpClientBoth, ReadsChunkedAnswers) {
    f.endpoint.next({.flaw = Flaw::chunked});
    const auto chunked = f.send(f.call());
    const auto plain = f.send(f.call());
    ASSERT_TRUE(chunked) << chunked.error().message;
    EXPECT_EQ(chunked->body, plain->body);
}

TEST_P(HttpClientBoth, AConnectionThatTheServerClosedIsReplacedUnseen) {
    ASSERT_TRUE(f.send(f.call()));
    f.endpoint.drop_connections();
    const auto answer = f.send(f.call());
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(f.endpoint.connections(), 2U);
}

TEST_P(HttpClientBoth, ADropOnAFreshConnectionIsTransientAndNotRepeated) {
    for (const Flaw flaw : {Flaw::drop_before, Flaw::drop_after, Flaw::truncated}) {
        f.endpoint.next({.flaw = flaw});
        const auto before = f.endpoint.connections();
        auto call = f.call();
        call.headers.emplace_back("Connection", "close");
        const auto answer = f.send(std::move(call));
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().cls, ErrorClass::transient) << answer.error().message;
        EXPECT_EQ(f.endpoint.connections(), before + 1);
    }
}

TEST_P(HttpClientBoth, TheDeadlineCoversAllOfIt) {
    f.endpoint.always({.delay = 1h});
    const auto answer = f.send(f.call(), 50ms);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::timeout);
    const auto late = f.send(f.call(), -1s);
    EXPECT_EQ(late.error().cls, ErrorClass::timeout);
}

TEST_P(HttpClientBoth, StopEndsAWaitingCallAtOnce) {
    f.endpoint.always({.delay = 1h});
    std::stop_source stop;
    auto pending = f.start(f.call(), 1h, stop.get_token());
    ASSERT_TRUE(f.endpoint.wait_for_requests(1));
    stop.request_stop();
    const auto answer = pending.get();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::cancelled);
    EXPECT_EQ(f.start(f.call(), 1h, stop.get_token()).get().error().cls, ErrorClass::cancelled);
}

TEST_P(HttpClientBoth, RedirectsAreHandedBackNotFollowed) {
    f.endpoint.next({.status = 307, .headers = {{"Location", "/v1/embeddings"}}});
    const auto answer = f.send(f.call());
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 307U);
    EXPECT_EQ(f.endpoint.calls(), 1U);
}

TEST_P(HttpClientBoth, WhatIsNoHttpIsABadAnswer) {
    f.endpoint.next({.flaw = Flaw::not_http});
    const auto answer = f.send(f.call());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::bad_answer) << answer.error().message;
}

TEST(HttpClient, AnAnswerOverTheCapIsRefused) {
    Fixture f({}, {.max_answer_bytes = 1000});
    const auto answer = f.send(f.call());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::bad_answer);
    EXPECT_EQ(answer.error().code, "body_limit");
}

TEST(HttpClient, ManyAtOnceFromSeveralThreads) {
    Fixture f({}, {.max_idle = 8}, 2);
    std::vector<std::future<Result<HttpAnswer>>> pending;
    for (int i = 0; i < 64; ++i) pending.push_back(f.start(f.call()));
    for (auto& p : pending) {
        const auto answer = p.get();
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_EQ(answer->status, 200U);
    }
    EXPECT_EQ(f.endpoint.calls(), 64U);
}

TEST(HttpClient, NobodyListening) {
    Fixture f;
    std::string url;
    {
        const FakeEndpoint gone;
        url = gone.url();
    }
    const auto answer = f.send(f.call(url));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::local);
    EXPECT_EQ(answer.error().code, "refused");
}

TEST(HttpClient, ANameWithoutAddress) {
    Fixture f;
    const auto answer = f.send(f.call("http://no-such-host.invalid/v1"), 20s);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::local) << answer.error().message;
    EXPECT_EQ(answer.error().code, "resolve");
}

TEST(HttpClient, AnUnknownAuthorityIsRefused) {
    const kit::TestCa other;
    Fixture f(kit::FakeEndpointOptions{.tls = true}, {.ca_file = other.ca_file()});
    const auto answer = f.send(f.call());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::auth) << answer.error().message;
    EXPECT_EQ(answer.error().code, "certificate");
    EXPECT_EQ(f.endpoint.requests().size(), 0U);
}

TEST(HttpClient, ACertificateForAnotherNameIsRefused) {
    Fixture f(kit::FakeEndpointOptions{.tls = true, .names = "DNS:example.org,DNS:localhost"});
    const auto by_address = f.send(f.call());
    ASSERT_FALSE(by_address);
    EXPECT_EQ(by_address.error().code, "certificate");
    const auto by_name = f.send(f.call("https://localhost:" + std::to_string(f.endpoint.port()) + "/v1/embeddings"));
    EXPECT_TRUE(by_name) << by_name.error().message;
}

TEST(HttpClient, PlainHttpToATlsPortAndBack) {
    Fixture tls(kit::FakeEndpointOptions{.tls = true});
    const auto a = tls.send(tls.call("http://127.0.0.1:" + std::to_string(tls.endpoint.port()) + "/v1/embeddings"));
    EXPECT_FALSE(a);
    Fixture plain;
    const auto b = plain.send(plain.call("https://127.0.0.1:" + std::to_string(plain.endpoint.port()) + "/v1/embeddings"));
    ASSERT_FALSE(b);
    EXPECT_EQ(b.error().cls, ErrorClass::transient) << b.error().message;
}

TEST(HttpClient, ACaFileThatIsNoneIsRefusedAtOnce) {
    SystemClock clock;
    kit::IoThread io;
    const auto client = HttpClient::create(io.executor(), clock, {.ca_file = "/nonexistent.pem"});
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().cls, ErrorClass::invalid);
}

}  // namespace
}  // namespace homeostat
