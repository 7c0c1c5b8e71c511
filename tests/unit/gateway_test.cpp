// The gateway on a good day, and with limits, caches and several askers.
#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class GatewayTest : public GatewayCase {};

TEST_F(GatewayTest, CutsIntoRequestsAndKeepsTheOrder) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    const auto texts = texts_of(1'234);
    ProviderSpec provider = provider_at(endpoint);
    provider.timeout = 20s;  // a short one begins with a small request
    expect_vectors(embed(provider, texts), texts);
    EXPECT_EQ(endpoint.calls(), 13U);
    EXPECT_EQ(endpoint.texts(), 1'234U);
}

TEST_F(GatewayTest, KeepsAsManyInFlightAsAreDeclaredAndNoMore) {
    FakeEndpoint endpoint({.dimensions = kWidth, .delay = 100ms});
    ProviderSpec provider = provider_at(endpoint);
    provider.max_in_flight = 8;
    provider.timeout = 20s;
    const auto texts = texts_of(6'400);
    expect_vectors(embed(provider, texts), texts);
    EXPECT_EQ(endpoint.calls(), 64U);
    EXPECT_EQ(endpoint.connections(), 8U) << "a connection has one request at a time";
    EXPECT_EQ(gateway().snapshot().lanes.at(0).limit, 8);
}

struct Limit {
    std::size_t texts;
    std::uint64_t tokens;
    bool says;
};
class GatewayLimits : public GatewayCase, public ::testing::WithParamInterface<Limit> {};

TEST_P(GatewayLimits, AreLearntInThreeRefusalsAndKept) {
    const Limit& limit = GetParam();
    FakeEndpoint endpoint(
        {.dimensions = kWidth, .max_texts = limit.texts, .max_tokens = limit.tokens, .says_limits = limit.says});
    ProviderSpec provider = provider_at(endpoint);
    provider.max_in_flight = 8;
    std::vector<std::string> texts = texts_of(2'000, std::string(1'000, 'x'));
    expect_vectors(embed(provider, texts), texts);
    const auto requests = endpoint.requests();
    const auto fits = [&](const kit::FakeRequest& r) {
        std::uint64_t tokens = 0;
        for (const auto& t : r.texts) tokens += FakeEndpoint::tokens_of(t);
        return (limit.texts == 0 || r.texts.size() <= limit.texts) && (limit.tokens == 0 || tokens <= limit.tokens);
    };
    EXPECT_LE(requests.size() - static_cast<std::size_t>(std::count_if(requests.begin(), requests.end(), fits)), 3U);
    texts = texts_of(500, std::string(1'000, 'y'));
    const std::uint64_t before = endpoint.calls();
    const std::size_t seen = endpoint.texts();
    expect_vectors(embed(provider, texts), texts);
    EXPECT_EQ(endpoint.texts() - seen, 500U);
    const std::size_t fit = std::min(limit.texts == 0 ? 100 : limit.texts, limit.tokens == 0 ? 100 : limit.tokens / 251);
    EXPECT_LE(endpoint.calls() - before, 500U / fit * 4) << "requests are much smaller than they may be";
}

INSTANTIATE_TEST_SUITE_P(Endpoints, GatewayLimits,
                         ::testing::Values(Limit{32, 0, true}, Limit{32, 0, false}, Limit{0, 8'000, true}, Limit{0, 8'000, false},
                                           Limit{32, 8'000, false}, Limit{32, 8'000, true}));

TEST_F(GatewayTest, AHundredAskersOfOneTextMakeOneCall) {
    settings.cache = {1 << 20, 1min};
    FakeEndpoint endpoint({.dimensions = kWidth, .delay = 100ms});
    const ProviderSpec provider = provider_at(endpoint);
    const std::vector<ProviderSpec> none;
    const std::vector<std::string> texts{"the same for all"};
    std::vector<std::future<Result<Embedded>>> askers;
    for (int i = 0; i < 100; ++i) askers.push_back(io.start(ask(gateway(), provider, none, texts, Context{})));
    for (auto& asker : askers) expect_vectors(asker.get(), texts);
    EXPECT_EQ(endpoint.calls(), 1U);
    expect_vectors(embed(provider, texts), texts);
    EXPECT_EQ(endpoint.calls(), 1U) << "it was not kept";
}

TEST_F(GatewayTest, BatchesThatShareTextsShareTheirLoads) {
    settings.cache = {1 << 20, 1min};
    FakeEndpoint endpoint({.dimensions = kWidth, .delay = 50ms});
    const ProviderSpec provider = provider_at(endpoint);
    const std::vector<ProviderSpec> none;
    std::vector<std::string> forwards = texts_of(300);
    std::vector<std::string> backwards(forwards.rbegin(), forwards.rend());
    auto a = io.start(ask(gateway(), provider, none, forwards, Context{}));
    auto b = io.start(ask(gateway(), provider, none, backwards, Context{}));
    expect_vectors(a.get(), forwards);
    expect_vectors(b.get(), backwards);
    EXPECT_EQ(endpoint.texts(), 300U);
}

TEST_F(GatewayTest, AChangedDeclarationForgetsWhatWasCached) {
    settings.cache = {1 << 20, 1min};
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    const std::vector<std::string> texts{"a text"};
    expect_vectors(embed(provider, texts), texts);
    provider.generation = 2;
    provider.document_prefix = "passage: ";
    const auto answer = embed(provider, texts);
    ASSERT_TRUE(answer);
    EXPECT_EQ(endpoint.calls(), 2U);
    EXPECT_EQ(std::vector<float>(answer->vectors.row(0), answer->vectors.row(0) + kWidth),
              FakeEndpoint::vector_of("passage: a text", kWidth));
}

TEST_F(GatewayTest, ADeclaredRateIsKept) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    provider.requests_per_minute = 1;
    provider.max_batch = 1;
    // A burst of ten seconds' worth is free, but at least one; the next would come a minute later.
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    const std::vector<ProviderSpec> none;
    const auto texts = texts_of(5);
    auto asked = io.start(ask(gateway(), provider, none, texts, context));
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    stop.request_stop();
    EXPECT_FALSE(asked.get());
    EXPECT_EQ(endpoint.requests().size(), 1U);
}

TEST_F(GatewayTest, StoppingEndsTheWait) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.always({.status = 429, .headers = {{"Retry-After", "4"}}});
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    const ProviderSpec provider = provider_at(endpoint);
    const std::vector<ProviderSpec> none;
    const std::vector<std::string> texts{"a"};
    auto asker = io.start(ask(gateway(), provider, none, texts, context));
    ASSERT_TRUE(endpoint.wait_for_requests(1));
    stop.request_stop();
    const auto answer = asker.get();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::cancelled);
}

// One of the pool asks to be left alone while it still works on what it has: the other is asked for all that it takes, and not
// only for what is left of the larger of the two.
TEST_F(GatewayTest, ABatchForAPoolHasAsManyInFlightAsAllOfItTake) {
    FakeEndpoint near({.dimensions = kWidth});
    FakeEndpoint far({.dimensions = kWidth});
    ProviderSpec a = provider_at(near, "a");
    ProviderSpec b = provider_at(far, "b");
    b.uid = 2;
    a.rank = 1;
    a.max_in_flight = 2;
    b.max_in_flight = 3;
    for (ProviderSpec* p : {&a, &b}) {
        p->pool = "pool";
        p->max_batch = 10;
        p->timeout = 60s;
        const auto before = texts_of(10, "before");
        expect_vectors(embed(*p, before), before);  // so that no request is of a size that is tried alone
    }
    near.when_text("hold", {.delay = 30s});
    near.when_text("busy", {.status = 429, .headers = {{"Retry-After", "60"}}});
    std::vector<std::string> texts = texts_of(80);
    texts[0] = "hold";
    texts[10] = "busy";
    const std::uint64_t asked = far.calls();
    far.withhold();
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    const std::vector<ProviderSpec> peers{b};
    auto job = io.start(ask(gateway(), a, peers, texts, context));
    EXPECT_TRUE(far.wait_for_requests(asked + 3)) << "no more than the larger of the two takes";
    stop.request_stop();
    EXPECT_FALSE(job.get());
    far.release();
}

TEST_F(GatewayTest, TheRingRemembersTheLastCalls) {
    settings.ring = 5;
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    provider.max_batch = 1;
    const auto texts = texts_of(9);
    expect_vectors(embed(provider, texts), texts);
    const GatewaySnapshot s = gateway().snapshot();
    ASSERT_THAT(s.calls, SizeIs(5));
    EXPECT_EQ(s.calls.back().outcome, "ok");
    EXPECT_EQ(s.lanes.at(0).requests, 9U);
    EXPECT_THAT(s.selections, IsEmpty());
}

}  // namespace
}  // namespace homeostat
