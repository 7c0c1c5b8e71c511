// The way to an endpoint: proxies, declared or of the environment, and who we say we are when it asks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "reconcilers/embed/http_client.hpp"
#include "reconcilers/embed/http_proxy.hpp"
#include "reconcilers/embed/openai.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/fake_proxy.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using kit::FakeProxy;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::uint32_t kDimensions = 8;

// Of these variables those given are set, and the others are not, for as long as it lives.
class Variables {
public:
    Variables(const std::initializer_list<std::pair<std::string, std::string>>& given = {}) {
        for (const char* name :
             {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"}) {
            if (const char* value = std::getenv(name)) before_[name] = value;
            ::unsetenv(name);
        }
        for (const auto& [name, value] : given) {
            ::setenv(name.c_str(), value.c_str(), 1);
            given_.push_back(name);
        }
    }
    ~Variables() {
        for (const std::string& name : given_) ::unsetenv(name.c_str());
        for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
    }
    Variables(const Variables&) = delete;
    Variables& operator=(const Variables&) = delete;

private:
    std::vector<std::string> given_;
    std::map<std::string, std::string> before_;
};

// What the variables of these tests may be used for.
Outbound bound() {
    const std::string to = " https://a.example; ";
    return *Outbound::of(
        "a env:HOMEOSTAT_TEST_PROXY" + to + "b env:HOMEOSTAT_TEST_SECRET" + to + "c env:HOMEOSTAT_TEST_NOT_SET" + to, "");
}

// Which proxy an address is reached by; "" = none, or the words of the refusal.
std::string proxy_of(const std::string& url, const std::optional<std::string>& declared = std::nullopt) {
    const auto proxy = proxy_for(*parse_url(url), declared, bound());
    if (!proxy) return proxy.error().message;
    return *proxy ? (*proxy)->text() : "";
}

TEST(HttpProxy, IsWhatTheEnvironmentSays) {
    {
        const Variables v;
        EXPECT_EQ(proxy_of("https://a.example"), "");
    }
    {
        const Variables v({{"HTTPS_PROXY", "http://secure:3128"}, {"HTTP_PROXY", "plain"}, {"ALL_PROXY", "http://any:1"}});
        EXPECT_EQ(proxy_of("https://a.example"), "http://secure:3128");
        EXPECT_EQ(proxy_of("http://a.example"), "http://plain:1080");
    }
    {
        const Variables v(
            {{"HTTPS_PROXY", "http://upper:1"}, {"https_proxy", "http://lower:2/"}, {"all_proxy", "http://[::1]:3"}});
        EXPECT_EQ(proxy_of("https://a.example"), "http://lower:2");
        EXPECT_EQ(proxy_of("http://a.example"), "http://[::1]:3");
    }
    const Variables v({{"HTTPS_PROXY", "socks5://user:s3cret@host:1"}});
    EXPECT_THAT(proxy_of("https://a.example"),
                AllOf(StartsWith("HTTPS_PROXY is no address of a plain HTTP proxy"), Not(HasSubstr("s3cret"))));
}

TEST(HttpProxy, PassesByWhatNoProxyNames) {
    EXPECT_TRUE(passes_by("*", "a.example"));
    EXPECT_TRUE(passes_by("other, example", "a.example"));
    EXPECT_TRUE(passes_by(".example", "a.example"));
    EXPECT_TRUE(passes_by(".example", "example")) << "as curl has it";
    EXPECT_TRUE(passes_by("A.Example.", "a.example"));
    EXPECT_FALSE(passes_by("ample", "a.example"));
    EXPECT_FALSE(passes_by("b.example,,", "a.example"));
    EXPECT_FALSE(passes_by("", "a.example"));
    EXPECT_TRUE(passes_by("localhost,127.0.0.1", "127.0.0.1"));
    EXPECT_FALSE(passes_by("0.0.1", "127.0.0.1")) << "an address is no name";
    EXPECT_TRUE(passes_by("10.0.0.0/8", "10.1.2.3"));
    EXPECT_FALSE(passes_by("10.0.0.0/8", "11.1.2.3"));
    EXPECT_TRUE(passes_by("[::1]", "::1"));
    EXPECT_TRUE(passes_by("fd00::/8", "fd12::1"));
    EXPECT_FALSE(passes_by("10.0.0.0/99 nonsense/8", "10.1.2.3"));
    const Variables v({{"HTTPS_PROXY", "http://p:1"}, {"NO_PROXY", "a.example"}, {"no_proxy", "b.example"}});
    EXPECT_EQ(proxy_of("https://a.example"), "http://p:1") << "the lower case comes first";
    EXPECT_EQ(proxy_of("https://b.example"), "");
    EXPECT_EQ(proxy_of("https://b.example", "http://q:2"), "http://q:2") << "what is declared is meant";
}

TEST(HttpProxy, IsWhatIsDeclared) {
    const Variables v(
        {{"HTTPS_PROXY", "http://p:1"}, {"HOMEOSTAT_TEST_PROXY", "http://me:p%40ss@q:2"}, {"HOMEOSTAT_TEST_SECRET", "hunter2"}});
    EXPECT_EQ(proxy_of("https://a.example", "none"), "");
    const auto by_reference = proxy_for(*parse_url("https://a.example"), "env:HOMEOSTAT_TEST_PROXY", bound());
    ASSERT_TRUE(by_reference && *by_reference);
    EXPECT_EQ((*by_reference)->host, "q");
    EXPECT_EQ((*by_reference)->text(), "env:HOMEOSTAT_TEST_PROXY") << "what a reference holds is not shown";
    // Another's secret is neither looked up as a name nor repeated.
    EXPECT_THAT(proxy_of("https://a.example", "env:HOMEOSTAT_TEST_SECRET"),
                AllOf(HasSubstr("no address of a proxy"), Not(HasSubstr("hunter2"))));
    EXPECT_EQ((*by_reference)->authorization, "Basic bWU6cEBzcw==");
    EXPECT_THAT(proxy_of("https://a.example", "https://q:2"), HasSubstr("no address of a plain HTTP proxy"));
    EXPECT_THAT(proxy_of("https://a.example", "http://q:2/path"), HasSubstr("no address of a proxy"));
    EXPECT_THAT(proxy_of("https://a.example", "http://"), HasSubstr("no address of a proxy"));
    EXPECT_THAT(proxy_of("https://a.example", "env:HOMEOSTAT_TEST_NOT_SET"), HasSubstr("HOMEOSTAT_TEST_NOT_SET"));
    EXPECT_EQ(proxy_of("https://a.example", "secret:a"), "secret:a");
    for (const char* reference : {"env:HOMEOSTAT_TEST_PROXY", "secret:a", "env:PGPASSWORD", "file:/etc/passwd"})
        EXPECT_THAT(proxy_of("https://b.example", reference),
                    AllOf(StartsWith("proxy: "), HasSubstr("whoever runs homeostat"), Not(HasSubstr("p@ss"))))
            << reference;
}

class Way : public ::testing::Test {
protected:
    // The files and references of a declaration are bound to the endpoint, as whoever runs it would.
    static std::shared_ptr<const Outbound> allowing(const FakeEndpoint& endpoint, const ProviderSpec& spec) {
        std::string secrets;
        int n = 0;
        const auto bind = [&](const std::optional<std::string>& source, const char* kind) {
            if (!source || source->starts_with("http://") || *source == "none") return;
            secrets += "s" + std::to_string(++n) + " " + kind + *source + " " + parse_url(endpoint.url())->origin() + " " +
                       parse_url(*spec.endpoint)->origin() + ";";
        };
        bind(spec.ca_file, "file:");
        bind(spec.client_certificate, "file:");
        bind(spec.client_key, "file:");
        bind(spec.proxy, "");
        return std::make_shared<const Outbound>(*Outbound::of(secrets, ""));
    }
    Result<Embeddings> embed(const FakeEndpoint& endpoint, ProviderSpec spec) {
        spec.name = "fake";
        spec.kind = "openai";
        if (!spec.endpoint) spec.endpoint = endpoint.url();
        if (!endpoint.ca_file().empty()) spec.ca_file = endpoint.ca_file();
        auto made = make_openai_embedder(spec, "test-model", kDimensions, io.executor(), clock, {registry, tracer},
                                         allowing(endpoint, spec));
        if (!made) return std::move(made).error();
        embedder = *std::move(made);
        return io.run(embedder->embed({"text"}, TextRole::document, {}));
    }

    Variables variables;
    SystemClock clock;
    SpanRecorder recorder;
    Tracer tracer{&recorder, clock};
    Registry registry;
    kit::IoThread io;
    std::unique_ptr<Embedder> embedder;
};

TEST_F(Way, GoesThroughAProxy) {
    for (const bool tls : {false, true}) {
        const FakeEndpoint endpoint({.dimensions = kDimensions, .tls = tls});
        const FakeProxy proxy;
        const auto answer = embed(endpoint, {.proxy = proxy.url()});
        ASSERT_TRUE(answer) << answer.error().message;
        const auto asked = proxy.requests();
        ASSERT_EQ(asked.size(), 1U);
        const std::string there = "127.0.0.1:" + std::to_string(endpoint.port());
        EXPECT_THAT(asked[0],
                    StartsWith(tls ? "CONNECT " + there + " HTTP/1.1" : "POST http://" + there + "/v1/embeddings HTTP/1.1"));
        EXPECT_THAT(asked[0], HasSubstr("\r\nHost: " + there));
        EXPECT_EQ(asked[0].find("test-model"), std::string::npos);
        ASSERT_TRUE(io.run(embedder->embed({"again"}, TextRole::document, {})));
        EXPECT_EQ(proxy.requests().size(), tls ? 1U : 2U) << "a tunnel is kept";
    }
}

TEST_F(Way, IsTheOneOfTheEnvironment) {
    const FakeEndpoint endpoint({.dimensions = kDimensions});
    const FakeProxy proxy;
    {
        const Variables v({{"HTTP_PROXY", proxy.url()}});
        ASSERT_TRUE(embed(endpoint, {}));
        EXPECT_EQ(proxy.requests().size(), 1U);
        ASSERT_TRUE(embed(endpoint, {.proxy = "none"}));
    }
    const Variables v({{"HTTP_PROXY", proxy.url()}, {"NO_PROXY", "localhost,127.0.0.0/8"}});
    ASSERT_TRUE(embed(endpoint, {}));
    EXPECT_EQ(proxy.requests().size(), 1U);
}

TEST_F(Way, TellsTheProxyWhoWeAreAndNobodyElse) {
    for (const bool tls : {false, true}) {
        const FakeEndpoint endpoint({.dimensions = kDimensions, .tls = tls});
        const FakeProxy proxy("Basic bWU6czNjcmV0");
        const auto refused = embed(endpoint, {.proxy = proxy.url()});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().cls, ErrorClass::local) << "no fault of the provider's";
        EXPECT_THAT(refused.error().message,
                    AllOf(HasSubstr("through the proxy " + proxy.url()), HasSubstr("407"), HasSubstr("does not let us through")));
        ::setenv("HOMEOSTAT_TEST_PROXY", ("http://me:s3cret@127.0.0.1:" + std::to_string(proxy.port())).c_str(), 1);
        const auto answer = embed(endpoint, {.proxy = "env:HOMEOSTAT_TEST_PROXY"});
        ASSERT_TRUE(answer) << answer.error().message;
        const auto seen = endpoint.requests();
        ASSERT_EQ(seen.size(), 1U);
        EXPECT_EQ(seen[0].http.headers.count("proxy-authorization"), tls ? 0U : 1U) << "our proxy passes it on";
    }
}

TEST_F(Way, ThroughAProxyThatIsNotThereIsOurNetworksFault) {
    const FakeEndpoint endpoint({.dimensions = kDimensions, .tls = true});
    std::string gone;
    {
        const FakeProxy proxy;
        gone = proxy.url();
    }
    const auto answer = embed(endpoint, {.proxy = gone});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::local);
    EXPECT_THAT(answer.error().message, HasSubstr("through the proxy " + gone));
    const FakeProxy proxy;
    std::string nowhere;
    {
        const FakeEndpoint other({.tls = true});
        nowhere = other.url();
    }
    const auto unreached = embed(endpoint, {.endpoint = nowhere, .proxy = proxy.url()});
    ASSERT_FALSE(unreached);
    EXPECT_EQ(unreached.error().code, "proxy");
    EXPECT_THAT(unreached.error().message, HasSubstr("502"));
}

TEST_F(Way, ShowsACertificateWhereOneIsAskedFor) {
    const FakeEndpoint endpoint({.dimensions = kDimensions, .tls = true, .knows_clients = true});
    const auto nobody = embed(endpoint, {});
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().cls, ErrorClass::auth) << nobody.error().message;
    EXPECT_THAT(nobody.error().message, HasSubstr("it asks who we are; declare a client_certificate"));
    const kit::TestCa other;
    const auto stranger = embed(endpoint, {.client_certificate = other.client_key_file()});
    ASSERT_FALSE(stranger);
    EXPECT_EQ(stranger.error().code, "client_certificate") << stranger.error().message;
    EXPECT_EQ(endpoint.calls(), 0U);

    const auto in_one = embed(endpoint, {.client_certificate = endpoint.ca().client_key_file()});
    EXPECT_TRUE(in_one) << in_one.error().message;
    const auto in_two =
        embed(endpoint, {.client_certificate = endpoint.ca().client_file(), .client_key = endpoint.ca().client_key_file()});
    EXPECT_TRUE(in_two) << in_two.error().message;
    const FakeProxy proxy;
    EXPECT_TRUE(embed(endpoint, {.client_certificate = endpoint.ca().client_key_file(), .proxy = proxy.url()}));
    EXPECT_EQ(endpoint.calls(), 3U);
}

TEST_F(Way, RefusesCertificatesThatAreNone) {
    const kit::TestCa ca;
    const kit::TestCa other;
    const FakeEndpoint endpoint({.dimensions = kDimensions, .tls = true});
    const auto refusal = [&](const std::string& certificate, std::optional<std::string> key = std::nullopt) {
        const auto answer = embed(endpoint, {.client_certificate = certificate, .client_key = std::move(key)});
        return answer ? "taken" : answer.error().message;
    };
    EXPECT_THAT(refusal("/nonexistent.pem"), HasSubstr("the client certificate /nonexistent.pem cannot be used"));
    EXPECT_THAT(refusal(ca.client_file()), HasSubstr("the client key " + ca.client_file() + " cannot be used"));
    EXPECT_THAT(refusal(ca.client_file(), "/nonexistent.pem"), HasSubstr("the client key /nonexistent.pem cannot be used"));
    EXPECT_THAT(refusal(ca.client_file(), other.client_key_file()), HasSubstr("the key of the certificate"));
    EXPECT_EQ(refusal(ca.client_key_file()), "taken") << "an endpoint that does not ask is not told";
}

}  // namespace
}  // namespace homeostat
