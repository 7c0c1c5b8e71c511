// Which secrets go where, and which addresses are asked at all.
#include "reconcilers/embed/outbound.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "reconcilers/embed/openai.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/fake_proxy.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class OutboundTest : public ::testing::Test {
protected:
    OutboundTest() { ::setenv("HOMEOSTAT_TEST_KEY", "sk-very-secret", 1); }
    ~OutboundTest() override { ::unsetenv("HOMEOSTAT_TEST_KEY"); }

    static Outbound of(const std::string& secrets, const std::string& hosts = "") {
        Result<Outbound> made = Outbound::of(secrets, hosts);
        EXPECT_TRUE(made) << made.error().message;
        return made ? *std::move(made) : Outbound();
    }
    static std::string refused(const std::string& secrets, const std::string& hosts = "") {
        const Result<Outbound> made = Outbound::of(secrets, hosts);
        return made ? "it was taken" : made.error().message;
    }
    static bool goes(const Outbound& outbound, const std::string& reference, const std::string& to) {
        return outbound.secret(reference, *parse_url(to)).ok();
    }
    static bool connects(const Outbound& outbound, const std::string& host, const std::string& address) {
        return outbound.may_connect(host, boost::asio::ip::make_address(address));
    }
};

TEST_F(OutboundTest, ASecretGoesToItsOriginsOnly) {
    const Outbound outbound = of("key env:HOMEOSTAT_TEST_KEY https://api.example.com https://*.example.org:8443");
    for (const char* reference : {"secret:key", "env:HOMEOSTAT_TEST_KEY"}) {
        EXPECT_EQ(*outbound.secret(reference, *parse_url("https://api.example.com/v1/embeddings?x=1")), "sk-very-secret");
        EXPECT_TRUE(goes(outbound, reference, "https://API.example.com:443"));
        EXPECT_TRUE(goes(outbound, reference, "https://api.example.com./v1"));
        EXPECT_TRUE(goes(outbound, reference, "https://a.b.example.org:8443/v1"));
        for (const char* elsewhere :
             {"https://api.example.com:444", "http://api.example.com", "http://api.example.com:443", "https://example.com",
              "https://xapi.example.com", "https://api.example.com.evil.net", "https://example.org:8443",
              "https://evilexample.org:8443", "https://a.example.org", "https://example.org.evil.net:8443", "http://127.0.0.1"})
            EXPECT_FALSE(goes(outbound, reference, elsewhere)) << elsewhere;
    }
    EXPECT_THAT(outbound.secret("secret:key", *parse_url("https://evil.net/v1")).error().message,
                AllOf(HasSubstr("may go to https://api.example.com, https://*.example.org:8443, and not to https://evil.net:443"),
                      Not(HasSubstr("very-secret"))));
}

TEST_F(OutboundTest, WhatIsBoundToNothingGoesNowhere) {
    const Outbound outbound = of("key env:HOMEOSTAT_TEST_KEY https://api.example.com");
    for (const char* reference :
         {"env:PGPASSWORD", "env:HOMEOSTAT_DATABASE_URL", "env:PATH", "file:/etc/passwd", "file:/proc/self/environ",
          "env:HOMEOSTAT_TEST_KEY2", "env:homeostat_test_key", "file:HOMEOSTAT_TEST_KEY", "secret:kez",
          "secret:", "secret:env:HOMEOSTAT_TEST_KEY", "env:key", "key", "", "sk-plain"})
        EXPECT_FALSE(goes(outbound, reference, "https://api.example.com")) << reference;
    const Error unbound = outbound.secret("env:OPENAI_API_KEY", *parse_url("https://api.openai.com/v1")).error();
    EXPECT_EQ(unbound.cls, ErrorClass::auth);
    EXPECT_THAT(
        unbound.message,
        HasSubstr("secrets: {openai_api_key: {source: \"env:OPENAI_API_KEY\", origins: [\"https://api.openai.com:443\"]}}"));
    EXPECT_THAT(outbound.secret("secret:kez", *parse_url("https://api.example.com")).error().message,
                HasSubstr("there is no secret \"kez\" (did you mean \"key\"?)"));
    EXPECT_THAT(outbound.secret("env:X", *parse_url("http://api.example.com")).error().message, HasSubstr("use https"));
    EXPECT_NE(outbound.mark({"env:HOMEOSTAT_TEST_KEY"}, *parse_url("https://api.example.com")),
              outbound.mark({"env:HOMEOSTAT_TEST_KEY"}, *parse_url("https://evil.net")));
}

TEST_F(OutboundTest, SettingsThatWouldGiveItAwayAreRefused) {
    EXPECT_THAT(refused("key env:K http://api.example.com"), HasSubstr("not encrypted"));
    EXPECT_THAT(refused("key env:K http://10.0.0.5:8080"), HasSubstr("not encrypted"));
    EXPECT_THAT(refused("key env:K https://*.com"), HasSubstr("everything below a top level"));
    EXPECT_THAT(refused("key env:K https://*"), HasSubstr("not an origin"));
    EXPECT_THAT(refused("key env:K https://a.example.com/v1"), HasSubstr("not an origin"));
    EXPECT_THAT(refused("key env:K https://ann:x@a.example.com"), HasSubstr("not an origin"));
    EXPECT_THAT(refused("key env:K https://a.*.com"), HasSubstr("not an origin"));
    EXPECT_THAT(refused("key env:K"), HasSubstr("the origins that it may go to"));
    EXPECT_THAT(refused("key sk-plain https://a.example.com"), HasSubstr("it needs a source"));
    EXPECT_THAT(refused("key env:PGPASSWORD https://a.example.com"), HasSubstr("the key to the database"));
    EXPECT_THAT(refused("key env:HOMEOSTAT_DATABASE_URL https://a.example.com"), HasSubstr("the key to the database"));
    EXPECT_THAT(refused("key env:K https://a.example.com; key env:L https://a.example.com"), HasSubstr("given twice"));
    EXPECT_THAT(refused("", "10.0.0.0/33"), HasSubstr("not a network"));
    EXPECT_THAT(refused("", "a b/c"), HasSubstr("neither a host"));
    of("local env:K http://127.0.0.1:8080 http://[::1] http://localhost:11434; two file:/run/secrets/two https://a.example.com");
}

TEST_F(OutboundTest, AddressesOfMetadataServicesAreNotAskedWhateverTheirName) {
    const Outbound outbound;
    for (const char* address : {"169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1",
                                "fe80::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0",
                                "::", "224.0.0.1", "255.255.255.255", "ff02::1"})
        EXPECT_FALSE(connects(outbound, "harmless.example.com", address)) << address;
    for (const char* address : {"127.0.0.1", "10.0.0.5", "192.168.1.1", "93.184.216.34", "2606:4700::1111", "::1", "fd12::1"})
        EXPECT_TRUE(connects(outbound, "harmless.example.com", address)) << address;
    EXPECT_FALSE(outbound.may_ask(*parse_url("http://169.254.169.254/latest/meta-data")));
    EXPECT_FALSE(outbound.may_ask(*parse_url("http://[::ffff:a9fe:a9fe]/")));
    EXPECT_TRUE(outbound.may_ask(*parse_url("http://10.0.0.5:8080/v1")));
    EXPECT_TRUE(connects(of("", "169.254.0.0/16"), "x", "169.254.1.1")) << "where it is listed, it is meant";
}

TEST_F(OutboundTest, OnlyListedHostsAreAsked) {
    const Outbound outbound = of("", "api.example.com, *.example.org, 10.0.0.0/8, 2001:db8::/32");
    EXPECT_TRUE(connects(outbound, "api.example.com", "93.184.216.34"));
    EXPECT_TRUE(connects(outbound, "a.example.org", "93.184.216.34"));
    EXPECT_TRUE(connects(outbound, "anything.net", "10.1.2.3"));
    EXPECT_TRUE(connects(outbound, "anything.net", "2001:db8::7"));
    EXPECT_FALSE(connects(outbound, "anything.net", "93.184.216.34"));
    EXPECT_FALSE(connects(outbound, "example.org", "93.184.216.34"));
    EXPECT_FALSE(connects(outbound, "anything.net", "127.0.0.1"));
    EXPECT_FALSE(connects(outbound, "api.example.com", "169.254.169.254")) << "its name was turned";
    const Outbound names = of("", "api.example.com");
    EXPECT_TRUE(names.may_ask(*parse_url("https://api.example.com/v1")));
    EXPECT_THAT(names.may_ask(*parse_url("https://evil.net/v1")).error().message, HasSubstr("not in provider.allow_hosts"));
    EXPECT_FALSE(names.may_ask(*parse_url("http://127.0.0.1:9/v1")));
}

// Through the embedder, with a server that counts: nothing arrives where nothing may.
TEST_F(OutboundTest, NothingIsConnectedToThatIsNotAllowed) {
    const SystemClock clock;
    const Tracer tracer(nullptr, clock);
    Registry registry;
    kit::FakeEndpoint endpoint({.dimensions = 8});
    kit::IoThread io;
    const auto ask = [&](const std::string& url, const std::string& credential, const Outbound& outbound) -> Error {
        ProviderSpec spec;
        spec.name = "p";
        spec.kind = "openai";
        spec.endpoint = url;
        if (!credential.empty()) spec.credential = credential;
        auto made = make_openai_embedder(spec, "m", 8, io.executor(), clock, {registry, tracer},
                                         std::make_shared<const Outbound>(outbound));
        if (!made) return made.error();
        const std::vector<std::string> texts{"a text"};
        const Result<Embeddings> answer = io.run((*made)->embed(texts, TextRole::document, {}));
        return answer ? Error{.cls = ErrorClass::internal, .message = "it was asked"} : answer.error();
    };
    const std::string here = endpoint.url();
    const std::string by_name = "http://localhost" + here.substr(here.rfind(':'));
    EXPECT_EQ(ask(here, "", of("", "api.example.com")).cls, ErrorClass::invalid);
    // A name passes, as some network is listed; where it leads to is seen when it is looked up.
    const Error elsewhere = ask(by_name, "", of("", "10.0.0.0/8"));
    EXPECT_EQ(elsewhere.code, "forbidden") << elsewhere.message;
    EXPECT_THAT(elsewhere.message, HasSubstr("provider.allow_hosts"));
    EXPECT_EQ(ask(here, "env:HOMEOSTAT_TEST_KEY", Outbound()).cls, ErrorClass::auth);
    EXPECT_EQ(ask(here, "env:HOMEOSTAT_TEST_KEY", of("k env:HOMEOSTAT_TEST_KEY http://127.0.0.1:1")).cls, ErrorClass::auth);
    EXPECT_EQ(endpoint.calls(), 0U);
    EXPECT_EQ(ask(here, "secret:k", of("k env:HOMEOSTAT_TEST_KEY " + parse_url(here)->origin())).message, "it was asked");
    EXPECT_EQ(endpoint.requests().back().http.headers.at("authorization"), "Bearer sk-very-secret");
    EXPECT_EQ(ask(by_name, "", of("", "127.0.0.0/8, ::1")).message, "it was asked");
}

// Who keeps a proxy sees where it is asked to go, and looks names up himself.
TEST_F(OutboundTest, WhatGoesThroughAProxyIsJudgedByItsName) {
    const auto asks = [](const Outbound& outbound, const std::string& url, Way way) {
        return static_cast<bool>(outbound.may_ask(*parse_url(url), way));
    };
    const Outbound open;
    for (const Way way : {Way::given_proxy, Way::declared_proxy}) {
        for (const char* metadata :
             {"169.254.169.254", "2852039166", "0xa9fea9fe", "0xa9.254.169.254", "0251.0376.0251.0376", "169.16689662",
              "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "metadata.google.internal",
              "metadata.google.internal.", "metadata", "instance-data", "instance-data.ec2.internal", "0"}) {
            EXPECT_FALSE(asks(open, "http://" + std::string(metadata) + "/latest", way)) << metadata;
            EXPECT_FALSE(asks(open, "https://" + std::string(metadata) + "/latest", way)) << metadata;
        }
        EXPECT_TRUE(asks(open, "https://api.example.com", way));
        EXPECT_TRUE(asks(open, "http://10.0.0.5:8080", way));
        const Outbound listed = of("", "api.example.com, 10.0.0.0/8");
        EXPECT_TRUE(asks(listed, "https://api.example.com", way));
        EXPECT_TRUE(asks(listed, "https://10.0.0.5", way));
        EXPECT_FALSE(asks(listed, "https://evil.example", way)) << "its address is not seen, so no network holds it";
        EXPECT_FALSE(asks(listed, "https://167772162.", way) && asks(listed, "https://134744072", way));
    }
    EXPECT_TRUE(asks(open, "http://api.internal", Way::given_proxy)) << "the operator's proxy looks after that";
    EXPECT_FALSE(asks(open, "http://api.internal", Way::declared_proxy));
    EXPECT_TRUE(asks(of("", "api.internal"), "http://api.internal", Way::declared_proxy));
    EXPECT_TRUE(asks(of("", "metadata"), "http://metadata", Way::given_proxy)) << "where it is listed, it is meant";
}

TEST_F(OutboundTest, AFileOfThisMachineIsUsedWhereItIsBoundTo) {
    const Outbound outbound =
        of("mine file:/keys/mine.pem https://api.example.com; other file:/keys/other.pem https://other.example; word "
           "env:HOMEOSTAT_TEST_KEY https://api.example.com");
    const Url to = *parse_url("https://api.example.com/v1");
    for (const char* given : {"/keys/mine.pem", "secret:mine", "file:/keys/mine.pem"}) {
        const Result<std::string> path = outbound.file(given, to);
        EXPECT_TRUE(path && *path == "/keys/mine.pem") << given;
        EXPECT_FALSE(outbound.file(given, *parse_url("https://bobs.example"))) << given;
        EXPECT_FALSE(outbound.file(given, *parse_url("http://api.example.com:443"))) << given;
    }
    for (const char* given : {"/keys/other.pem", "/keys/../keys/mine.pem", "/keys//mine.pem", "keys/mine.pem", "/etc/passwd",
                              "/dev/stdin", "secret:other", "secret:word", "env:HOMEOSTAT_TEST_KEY", "secret:", ""})
        EXPECT_FALSE(outbound.file(given, to)) << given;
    EXPECT_THAT(outbound.file("/etc/pki/Client Key.pem", to).error().message,
                HasSubstr("secrets: {client_key.pem: {source: \"file:/etc/pki/Client Key.pem\", origins: "
                          "[\"https://api.example.com:443\"]}}"));
    EXPECT_THAT(outbound.file("secret:word", to).error().message, AllOf(HasSubstr("is no file"), Not(HasSubstr("very-secret"))));
}

// With the embedder and a proxy that notes what it is asked.
TEST_F(OutboundTest, AProxyWidensNothing) {
    const SystemClock clock;
    const Tracer tracer(nullptr, clock);
    Registry registry;
    kit::FakeEndpoint endpoint({.dimensions = 8});
    const kit::FakeProxy proxy;
    kit::IoThread io;
    const auto ask = [&](ProviderSpec spec, const Outbound& outbound) -> std::string {
        spec.name = "p";
        spec.kind = "openai";
        if (!spec.endpoint) spec.endpoint = endpoint.url();
        auto made = make_openai_embedder(spec, "m", 8, io.executor(), clock, {registry, tracer},
                                         std::make_shared<const Outbound>(outbound));
        if (!made) return made.error().message;
        const std::vector<std::string> texts{"a text"};
        const Result<Embeddings> answer = io.run((*made)->embed(texts, TextRole::document, {}));
        return answer ? "it was asked" : answer.error().message;
    };
    const auto port_of = [](const std::string& url) { return url.substr(url.rfind(':')); };
    const std::string reference = "env:HOMEOSTAT_TEST_KEY";
    const std::string bound = "k env:HOMEOSTAT_TEST_KEY " + parse_url(endpoint.url())->origin();
    EXPECT_THAT(ask({.proxy = proxy.url()}, of("", "10.0.0.0/8")), HasSubstr("not in provider.allow_hosts"));
    EXPECT_THAT(ask({.endpoint = "http://169.254.169.254/v1", .proxy = proxy.url()}, Outbound()), HasSubstr("metadata services"));
    EXPECT_THAT(ask({.endpoint = "http://2852039166/v1", .proxy = proxy.url()}, Outbound()), HasSubstr("metadata services"));
    EXPECT_THAT(ask({.endpoint = "http://bobs.example/v1", .proxy = proxy.url()}, Outbound()),
                HasSubstr("sees where its name leads"));
    EXPECT_THAT(ask({.credential = reference, .proxy = proxy.url()}, of(bound)), HasSubstr("would read it"));
    EXPECT_THAT(ask({.credential = "secret:k", .proxy = "http://localhost" + port_of(proxy.url())}, of(bound)),
                HasSubstr("would read it"));
    EXPECT_THAT(ask({.proxy = "http://169.254.169.254"}, Outbound()),
                AllOf(HasSubstr("proxy: "), HasSubstr("metadata services")));
    // The origin is listed, the proxy is not.
    EXPECT_THAT(ask({.proxy = "http://localhost" + port_of(proxy.url())}, of("", "api.example.com, 10.0.0.0/8")),
                HasSubstr("provider.allow_hosts"));
    EXPECT_THAT(ask({.endpoint = "https://api.example.com", .proxy = "http://localhost" + port_of(proxy.url())},
                    of("", "api.example.com, 10.0.0.0/8")),
                HasSubstr("provider.allow_hosts"));
    EXPECT_THAT(ask({.proxy = reference}, Outbound()), AllOf(HasSubstr("proxy: "), HasSubstr("bound to no origin")));
    EXPECT_EQ(proxy.requests().size(), 0U);
    EXPECT_EQ(endpoint.calls(), 0U);
    EXPECT_EQ(ask({.proxy = proxy.url()}, Outbound()), "it was asked");
    ::setenv("HOMEOSTAT_TEST_KEY", proxy.url().c_str(), 1);
    EXPECT_EQ(ask({.proxy = reference}, of(bound, parse_url(endpoint.url())->host)), "it was asked");
    EXPECT_EQ(ask({.proxy = "secret:k"}, of(bound)), "it was asked");
    EXPECT_EQ(proxy.requests().size(), 3U);
}

// Another's CA file would make an impostor behind a proxy believed, who is then sent the secret.
TEST_F(OutboundTest, NobodyChoosesWhoIsBelieved) {
    const SystemClock clock;
    const Tracer tracer(nullptr, clock);
    Registry registry;
    kit::FakeEndpoint endpoint({.dimensions = 8, .tls = true, .knows_clients = true});
    kit::IoThread io;
    const std::string origin = parse_url(endpoint.url())->origin();
    const auto ask = [&](ProviderSpec spec, const std::string& secrets) -> std::string {
        spec.name = "p";
        spec.kind = "openai";
        spec.endpoint = endpoint.url();
        auto made = make_openai_embedder(spec, "m", 8, io.executor(), clock, {registry, tracer},
                                         std::make_shared<const Outbound>(of(secrets)));
        if (!made) return made.error().message;
        const std::vector<std::string> texts{"a text"};
        const Result<Embeddings> answer = io.run((*made)->embed(texts, TextRole::document, {}));
        return answer ? "it was asked" : answer.error().message;
    };
    const std::string ca = "ca file:" + endpoint.ca_file() + " " + origin;
    const std::string key = endpoint.ca().client_key_file();
    EXPECT_THAT(
        ask({.credential = "env:HOMEOSTAT_TEST_KEY", .ca_file = endpoint.ca_file()}, "k env:HOMEOSTAT_TEST_KEY " + origin),
        AllOf(HasSubstr("provider \"p\": ca_file: file:" + endpoint.ca_file()), HasSubstr(origin)));
    EXPECT_THAT(ask({.ca_file = "secret:ca", .client_certificate = key}, ca),
                AllOf(HasSubstr("client_certificate: file:" + key), HasSubstr("bound to no origin")));
    EXPECT_THAT(ask({.ca_file = "secret:ca", .client_certificate = key}, ca + "; c file:" + key + " https://elsewhere.example"),
                HasSubstr("may go to https://elsewhere.example, and not to " + origin));
    const std::string certificate = endpoint.ca().client_file();
    EXPECT_THAT(ask({.ca_file = "secret:ca", .client_certificate = certificate, .client_key = key},
                    ca + "; c file:" + certificate + " " + origin),
                HasSubstr("client_key: file:" + key));
    EXPECT_EQ(endpoint.calls(), 0U);
    EXPECT_EQ(ask({.ca_file = "secret:ca", .client_certificate = "secret:c"}, ca + "; c file:" + key + " " + origin),
              "it was asked");
}

}  // namespace
}  // namespace homeostat
