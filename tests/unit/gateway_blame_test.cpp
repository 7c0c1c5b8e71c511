// The gateway finds out who is at fault: a text, the provider, the declaration, or the size of a request.
#include <cmath>

#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

std::string saying(const std::string& message) { return R"({"error":{"message":")" + message + "\"}}"; }

struct Poison {
    std::string name;
    FakeAnswer answer;
};
std::ostream& operator<<(std::ostream& out, const Poison& p) { return out << p.name; }

const std::vector<Poison>& poisons() {
    static const std::vector<Poison> all{
        {"nan_500", {.status = 500, .body = saying("unsupported value: NaN")}},
        {"physical_batch", {.status = 500, .body = saying("input is too large to process. increase the physical batch size")}},
        {"bad_gateway", {.status = 502, .body = "<html>bad gateway</html>"}},
        {"unavailable", {.status = 503}},
        {"nan_literal", {.body = R"({"data":[{"index":0,"embedding":[NaN,1]}],"model":"m"})"}},
        {"nan_vector", {.flaw = Flaw::nan_vector}},
        {"zero_vector", {.flaw = Flaw::zero_vector}},
        {"short_vector", {.flaw = Flaw::short_vector}},
        {"error_in_200", {.body = saying("cannot embed this")}},
        {"cut_off", {.flaw = Flaw::truncated}},
        {"left_out", {.flaw = Flaw::wrong_count}},
        {"bad_request", {.status = 400, .body = saying("'$.input' is invalid")}},
        {"firewall", {.status = 403, .body = "<html>Request blocked</html>"}},
        {"not_acceptable", {.status = 406}},
        {"index_named", {.status = 400, .body = saying("input[3]: maximum context length is 8192 tokens")}},
    };
    return all;
}

class GatewayBlame : public GatewayCase {
protected:
    LaneSnapshot lane() { return gateway().snapshot().lanes.at(0); }
};
class GatewayPoison : public GatewayBlame, public ::testing::WithParamInterface<Poison> {};

TEST_P(GatewayPoison, IsSingledOutWhateverTheStatusAndTheProviderStaysWell) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    const ProviderSpec provider = provider_at(endpoint);
    const auto before = texts_of(10, "before");
    expect_vectors(embed(provider, before), before);
    endpoint.when_text("text 64.", GetParam().answer);
    std::vector<std::string> texts;
    for (int i = 0; i < 100; ++i) texts.push_back("text " + std::to_string(i) + ".");
    const std::uint64_t asked = endpoint.requests().size();
    const auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    ASSERT_THAT(answer->refused, SizeIs(1));
    EXPECT_EQ(answer->refused[0].index, 64U);
    EXPECT_TRUE(answer->refused[0].error.cls == ErrorClass::content || answer->refused[0].error.cls == ErrorClass::too_large);
    EXPECT_LE(static_cast<double>(endpoint.requests().size() - asked), 1 + 2 * std::log2(100));
    EXPECT_EQ(lane().breaker, BreakerState::closed);
    EXPECT_EQ(lane().max_texts, 100U) << "a text is no limit of requests";
    EXPECT_EQ(lane().max_tokens, 0U);
}

// As it comes from a change feed: nothing stands beside it.
TEST_P(GatewayPoison, AloneIsFoundOutByAnotherText) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.when_text("poison", GetParam().answer);
    const ProviderSpec provider = provider_at(endpoint);
    expect_vectors(embed(provider, {"well"}), {"well"});
    const auto answer = embed(provider, {"poison"});
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_THAT(answer->refused, SizeIs(1));
    EXPECT_LE(endpoint.requests().size(), 7U);
}

INSTANTIATE_TEST_SUITE_P(Ways, GatewayPoison, ::testing::ValuesIn(poisons()), [](const auto& p) { return p.param.name; });

TEST_F(GatewayBlame, AHundredPoisonousTextsInTenThousandHoldUpNothing) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.when_text("poison", {.status = 500, .body = saying("unsupported value: NaN")});
    settings.retry_base = 1ms;
    const ProviderSpec provider = provider_at(endpoint);
    const std::vector<ProviderSpec> none;
    std::vector<std::vector<std::string>> batches(40);
    for (int i = 0; i < 10'000; ++i) {
        batches[static_cast<std::size_t>(i) / 250].push_back((i * 37 % 100 == 0 ? "poison " : "text ") + std::to_string(i));
    }
    std::vector<std::future<Result<Embedded>>> askers;
    for (const auto& batch : batches) askers.push_back(io.start(ask(gateway(), provider, none, batch, Context{})));
    std::size_t refused = 0;
    for (std::size_t i = 0; i < askers.size(); ++i) {
        const auto answer = askers[i].get();
        expect_vectors(answer, batches[i]);
        ASSERT_TRUE(answer);
        refused += answer->refused.size();
    }
    EXPECT_EQ(refused, 100U);
    EXPECT_EQ(lane().breaker, BreakerState::closed);
    EXPECT_LE(static_cast<double>(lane().requests), 120 + 100 * 2 * std::log2(100));
}

struct Wording {
    std::string name;
    FakeAnswer answer;
};
std::ostream& operator<<(std::ostream& out, const Wording& w) { return out << w.name; }
class GatewayReload : public GatewayBlame, public ::testing::WithParamInterface<Wording> {};

// It answered a moment ago and refuses everything now. Nobody's text is at fault, and it is soon asked again.
TEST_P(GatewayReload, CondemnsNoText) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    const ProviderSpec provider = provider_at(endpoint);
    const auto texts = texts_of(100);
    expect_vectors(embed(provider, texts), texts);
    endpoint.always(GetParam().answer);
    for (const std::size_t n : {1U, 100U}) {
        gateway().allow_probe("fake");
        const auto more = texts_of(static_cast<int>(n), "more");
        const std::uint64_t asked = endpoint.requests().size();
        const auto answer = embed(provider, more);
        ASSERT_FALSE(answer) << answer->refused.size() << " texts were condemned";
        EXPECT_EQ(answer.error().cls, ErrorClass::unavailable) << answer.error().message;
        ASSERT_TRUE(answer.error().retry_after.has_value());
        EXPECT_LE(*answer.error().retry_after, 1300ms);
        EXPECT_LE(endpoint.requests().size() - asked, 3U);
    }
    EXPECT_EQ(lane().breaker, BreakerState::open);
    endpoint.forget_script();
    gateway().allow_probe("fake");
    expect_vectors(embed(provider, texts), texts);
    EXPECT_EQ(lane().max_texts, 100U);
}

INSTANTIATE_TEST_SUITE_P(Wordings, GatewayReload,
                         ::testing::Values(Wording{"no_models", {.status = 400, .body = saying("No models loaded")}},
                                           Wording{"failed", {.status = 404, .body = saying("Failed to load model")}},
                                           Wording{"loading", {.status = 503, .body = saying("Loading model")}},
                                           Wording{"fault", {.status = 500}},
                                           Wording{"detail", {.status = 422, .body = R"({"detail":[{"msg":"no worker"}]})"}},
                                           Wording{"not_found", {.status = 404}}, Wording{"page", {.flaw = Flaw::html}},
                                           Wording{"unknown", {.status = 400, .body = saying("come back some other time")}},
                                           Wording{"in_200", {.body = saying("engine is dead")}}),
                         [](const auto& w) { return w.param.name; });

struct Wrong {
    std::string name;
    FakeAnswer answer;
};
std::ostream& operator<<(std::ostream& out, const Wrong& w) { return out << w.name; }
class GatewayWrong : public GatewayBlame, public ::testing::WithParamInterface<Wrong> {};

TEST_P(GatewayWrong, CostsThreeRequestsAtMostAndSaysThatNoDocumentIsAtFault) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.always(GetParam().answer);
    const auto answer = embed(provider_at(endpoint), texts_of(700));
    ASSERT_FALSE(answer);
    EXPECT_THAT(answer.error().message, HasSubstr("no document is at fault"));
    EXPECT_LE(endpoint.requests().size(), 3U);
}

INSTANTIATE_TEST_SUITE_P(Answers, GatewayWrong,
                         ::testing::Values(Wrong{"count", {.flaw = Flaw::wrong_count}},
                                           Wrong{"more", {.flaw = Flaw::extra_vector}},
                                           Wrong{"width", {.flaw = Flaw::short_vector}},
                                           Wrong{"model", {.flaw = Flaw::other_model}}, Wrong{"nan", {.flaw = Flaw::nan_vector}},
                                           Wrong{"zero", {.flaw = Flaw::zero_vector}}, Wrong{"garbage", {.flaw = Flaw::garbage}},
                                           Wrong{"refusal", {.status = 400, .body = saying("nonsense")}}),
                         [](const auto& w) { return w.param.name; });

struct Limited {
    std::string name;
    std::string says;
    std::size_t texts = 0;
    std::uint64_t tokens = 0;
    int status = 400;
};
std::ostream& operator<<(std::ostream& out, const Limited& l) { return out << l.name; }
class GatewayKnownLimits : public GatewayBlame, public ::testing::WithParamInterface<Limited> {};

TEST_P(GatewayKnownLimits, AreLearntFromTheirWords) {
    const Limited& l = GetParam();
    FakeEndpoint endpoint(
        {.dimensions = kWidth, .max_texts = l.texts, .max_tokens = l.tokens, .limit_status = l.status, .limit_says = l.says});
    const ProviderSpec provider = provider_at(endpoint);
    const auto texts = texts_of(2'000, std::string(400, 'x'));
    const auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->refused, IsEmpty());
    const std::uint64_t asked = lane().requests;
    const std::uint64_t a_text = FakeEndpoint::tokens_of(texts.back());
    const double fits = static_cast<double>(l.texts > 0 ? l.texts : std::min<std::uint64_t>(100, l.tokens / a_text));
    EXPECT_LE(static_cast<double>(asked), 2 + 1.2 * std::ceil(2'000 / fits));
    EXPECT_LE(asked - endpoint.texts() / static_cast<std::uint64_t>(fits), 2 + asked / 5);
}

INSTANTIATE_TEST_SUITE_P(
    Words, GatewayKnownLimits,
    ::testing::Values(
        Limited{"dashscope", "batch size is invalid, it should not be larger than {limit}.", 10},
        Limited{"tei", "batch size {got} > maximum allowed batch size {limit}", 32, 0, 422},
        Limited{"tei_413", "batch size {got} > maximum allowed batch size {limit}", 32, 0, 413},
        Limited{"azure", "Too many inputs. The max number of inputs is {limit}.  We hope to increase it soon.", 16},
        Limited{"cohere", "invalid request: total number of texts must be at most {limit} - received {got}", 96},
        Limited{"gemini", "BatchEmbedContentsRequest.requests: at most {limit} requests can be in one batch", 50},
        Limited{"openai_items",
                "Invalid 'input': array too long. Expected an array with maximum length {limit}, but got an array "
                "with length {got} instead.",
                20},
        Limited{"pydantic", "List should have at most {limit} items after validation, not {got}", 25},
        Limited{"vertex", "{got} instance(s) is not allowed per prediction. Max allowed: {limit}", 5},
        Limited{"jina", "Validation error: 'body -> m' Each input list can contain at most {limit} items.. Field errors: :", 48},
        Limited{"jina_older", "input length is larger than the largest allowed size {limit}", 64},
        Limited{"qianfan", "embeddings max batch size is {limit}, and can not be 0", 16},
        Limited{
            "vertex_tokens",
            "Unable to submit request because the input token count is {got} but the model supports up to {limit}. Reduce the "
            "input token count and try again.",
            0, 4'000},
        Limited{"github_models", "Request body too large for m model. Max size: {limit} tokens.", 0, 4'000, 413},
        Limited{"one", "at most {limit} input is supported", 1},
        Limited{"openai_tokens", "Requested {got} tokens, max {limit} tokens per request", 0, 4'000},
        Limited{"voyage", "The max allowed tokens per submitted batch is {limit}. Your batch has {got} tokens after truncation.",
                0, 3'000},
        Limited{"mistral", "Too many tokens in batch. Max is {limit} got {got}", 0, 4'000}),
    [](const auto& l) { return l.param.name; });

TEST_F(GatewayBlame, ATextThatIsTooLongIsNoLimitOfRequests) {
    for (const char* says : {"This model's maximum context length is {limit} tokens, however you requested {got} tokens",
                             "`inputs` must have less than {limit} tokens. Given: {got}",
                             "input ({got} tokens) is too large to process. increase the physical batch size"}) {
        made.reset();
        FakeEndpoint endpoint({.dimensions = kWidth, .max_text_tokens = 512, .text_says = says});
        auto texts = texts_of(2'000);
        texts[150] = std::string(10'000, 'x');
        const auto answer = embed(provider_at(endpoint), texts);
        expect_vectors(answer, texts);
        ASSERT_TRUE(answer);
        ASSERT_THAT(answer->refused, SizeIs(1)) << says;
        EXPECT_EQ(answer->refused[0].index, 150U);
        EXPECT_EQ(lane().max_texts, 100U);
        EXPECT_EQ(lane().max_tokens, 0U);
        EXPECT_LE(static_cast<double>(lane().requests), 20 + 2 * std::log2(100));
    }
}

TEST_F(GatewayBlame, WhereBase64IsRefusedNumbersAreAskedForFromThenOn) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.next({.status = 400, .body = saying("encoding_format 'base64' is not supported")});
    ProviderSpec provider = provider_at(endpoint);
    provider.encoding = "base64";
    for (const int n : {10, 20}) expect_vectors(embed(provider, texts_of(n)), texts_of(n));
    std::vector<std::string> encodings;
    for (const auto& request : endpoint.requests()) encodings.push_back(request.encoding);
    EXPECT_THAT(encodings, ::testing::ElementsAre("base64", "float", "float"));
}

TEST_F(GatewayBlame, ALimitWithoutWordsIsFoundByWhatIsTaken) {
    FakeEndpoint endpoint({.dimensions = kWidth, .max_texts = 30, .limit_says = "no"});
    const auto texts = texts_of(3'000);
    const auto answer = embed(provider_at(endpoint), texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->refused, IsEmpty());
    EXPECT_LE(lane().max_texts, 30U);
    EXPECT_LE(lane().requests, 200U) << "what the first found out was not used by the others";
}

struct Mixing {
    std::string name;
    Flaw flaw = Flaw::none;
    std::size_t takes = 1;  // in a request, without mixing them up
};
std::ostream& operator<<(std::ostream& out, const Mixing& m) { return out << m.name; }
class GatewayMixing : public GatewayBlame, public ::testing::WithParamInterface<Mixing> {};

// Nothing is said of a limit, and yet there is one.
TEST_P(GatewayMixing, IsAskedForAsManyTextsAsItKeepsApart) {
    const Mixing& m = GetParam();
    FakeEndpoint endpoint({.dimensions = kWidth, .mixes_above = m.takes, .mixes = m.flaw});
    const auto texts = texts_of(400);
    const auto answer = embed(provider_at(endpoint), texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->refused, IsEmpty());
    EXPECT_LE(lane().max_texts, m.takes);
    EXPECT_GE(lane().max_texts * 2, m.takes) << "the requests became too small";
    EXPECT_LE(endpoint.requests().size(), 16 + 1.1 * std::ceil(400.0 / lane().max_texts));
}

INSTANTIATE_TEST_SUITE_P(Ways, GatewayMixing,
                         ::testing::Values(Mixing{"twice", Flaw::duplicate_index, 1}, Mixing{"twice_8", Flaw::duplicate_index, 8},
                                           Mixing{"fewer", Flaw::wrong_count, 1}, Mixing{"fewer_20", Flaw::wrong_count, 20},
                                           Mixing{"more", Flaw::extra_vector, 4}, Mixing{"twice_60", Flaw::duplicate_index, 60}),
                         [](const auto& m) { return m.param.name; });

TEST_F(GatewayBlame, ASlowEndpointIsNotAskedForMoreThanItCanAnswerInTime) {
    FakeEndpoint endpoint({.dimensions = kWidth, .delay_a_text = 20ms});
    ProviderSpec provider = provider_at(endpoint);
    provider.timeout = 400ms;  // a hundred texts take five times as long
    const auto texts = texts_of(600);
    auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    EXPECT_LE(endpoint.texts(), 630U) << "computed for nothing";
    EXPECT_EQ(lane().breaker, BreakerState::closed);
}

// The first answer is late, as where a model is loaded for it: that is no reason to ask for little ever after, nor for all that
// is already there to be asked for.
TEST_F(GatewayBlame, OneSlowAnswerMakesNoSmallRequestsOfAllThatFollows) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.next({.delay = 1'700ms});
    const auto texts = texts_of(2'000);
    expect_vectors(embed(provider_at(endpoint), texts), texts);
    EXPECT_LE(endpoint.requests().size(), 60U);
}

TEST_F(GatewayBlame, ARequestThatTimesOutIsHalved) {
    FakeEndpoint endpoint({.dimensions = kWidth, .delay_a_text = 1ms});
    ProviderSpec provider = provider_at(endpoint);
    provider.timeout = 1s;
    provider.max_batch = 8;
    endpoint.next({.delay = 5s});
    const auto texts = texts_of(8);
    expect_vectors(embed(provider, texts), texts);
    const auto requests = endpoint.requests();
    ASSERT_THAT(requests, SizeIs(3));
    EXPECT_THAT(requests[1].texts, SizeIs(4));
}

}  // namespace
}  // namespace homeostat
