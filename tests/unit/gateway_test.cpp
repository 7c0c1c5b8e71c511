// The gateway on a good day, and with limits, caches and several askers.
#include <map>

#include "reconcilers/gateway/embed_operation.hpp"
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

TEST_F(GatewayTest, OneOperationIsToldOfWithAllItsRequests) {
    settings.older_names = true;
    FakeEndpoint endpoint({.dimensions = kWidth});
    const ProviderSpec provider = provider_at(endpoint);
    endpoint.next({.status = 500, .body = R"({"error":{"message":"cannot embed 'Lieber Leser'"}})"});
    Context context;
    context.span = SpanContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const auto texts = texts_of(3);
    expect_vectors(embed(provider, texts, {}, context), texts);
    std::vector<SpanData> requests;
    std::vector<SpanData> operations;
    for (const SpanData& s : recorder.spans()) (s.name == "POST" ? requests : operations).push_back(s);
    ASSERT_THAT(operations, SizeIs(1));
    ASSERT_THAT(requests, SizeIs(::testing::Ge(2))) << "it was sent again";
    const SpanData& operation = operations.front();
    EXPECT_EQ(operation.name, "embeddings m");
    EXPECT_EQ(operation.kind, SpanKind::client);
    EXPECT_EQ(operation.parent.hex(), "b7ad6b7169203331");
    EXPECT_EQ(operation.error, "");
    for (const SpanData& r : requests) EXPECT_EQ(r.parent.hex(), operation.context.span.hex());
    const auto attribute = [&](std::string_view key) {
        const AttributeValue* value = operation.find(key);
        return value == nullptr ? AttributeValue(std::string("(absent)")) : *value;
    };
    EXPECT_EQ(attribute("gen_ai.operation.name"), AttributeValue(std::string("embeddings")));
    EXPECT_EQ(attribute("gen_ai.provider.name"), AttributeValue(std::string("fake")));
    EXPECT_EQ(attribute("gen_ai.request.model"), AttributeValue(std::string("m")));
    EXPECT_EQ(attribute("gen_ai.response.model"), AttributeValue(std::string("m")));
    EXPECT_EQ(attribute("gen_ai.embeddings.dimension.count"), AttributeValue(std::int64_t{kWidth}));
    EXPECT_EQ(attribute("gen_ai.request.encoding_formats"), AttributeValue(std::vector<std::string>{provider.encoding}));
    EXPECT_EQ(attribute("server.address"), AttributeValue(std::string("127.0.0.1")));
    EXPECT_EQ(attribute("server.port"), AttributeValue(std::int64_t{endpoint.port()}));
    EXPECT_EQ(attribute("homeostat.requests"), AttributeValue(std::int64_t{2}));
    std::map<std::string, std::uint64_t> observed;
    for (const MetricFamily& family : registry.collect()) {
        for (const MetricFamily::Sample& sample : family.samples) {
            for (const auto n : sample.bucket_counts) observed[family.name] += n;
        }
    }
    for (const char* name : {"gen_ai_client_embeddings_duration_seconds", "gen_ai_client_embeddings_operation_input_tokens",
                             "gen_ai_client_operation_duration_seconds", "gen_ai_client_token_usage"})
        EXPECT_EQ(observed[name], 1U) << name;
}

TEST_F(GatewayTest, AnOperationThatFailsSaysItsClassAndNothingOfATexts) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    endpoint.when_text("Lieber Leser", {.status = 400, .body = R"({"error":{"message":"refused: Lieber Leser"}})"});
    const std::vector<std::string> texts{"Lieber Leser"};
    const auto answer = embed(provider, texts);
    ASSERT_TRUE(answer) << answer.error().message;
    bool failed = false;
    for (const SpanData& s : recorder.spans()) {
        failed = failed || (s.name == "embeddings m" && s.error == "content");
        EXPECT_EQ(s.error.find("Leser"), std::string::npos);
        for (const auto& [key, value] : s.attributes) {
            const auto* text = std::get_if<std::string>(&value);
            EXPECT_TRUE(text == nullptr || text->find("Leser") == std::string::npos) << key;
        }
    }
    EXPECT_TRUE(failed);
    for (const MetricFamily& family : registry.collect()) EXPECT_NE(family.name, "gen_ai_client_token_usage");
}

TEST(ProviderService, IsTheWellKnownNameOfItsHost) {
    ProviderSpec p;
    p.name = "mine";
    const auto named = [&](const char* endpoint) {
        p.endpoint = endpoint;
        return provider_service(p);
    };
    EXPECT_EQ(named("https://api.openai.com/v1"), "openai");
    EXPECT_EQ(named("https://x.openai.azure.com/openai/deployments/e"), "azure.ai.openai");
    EXPECT_EQ(named("https://us-central1-aiplatform.googleapis.com/v1"), "gcp.vertex_ai");
    EXPECT_EQ(named("https://notopenai.com/v1"), "mine");
    EXPECT_EQ(named("https://openai.com.example/v1"), "mine");
    p.endpoint.reset();
    EXPECT_EQ(provider_service(p), "mine");
}

}  // namespace
}  // namespace homeostat
