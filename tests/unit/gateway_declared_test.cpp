// What is declared of how a provider is treated: texts that are too long, and when it is left alone.
#include <cmath>

#include "reconcilers/gateway/shorten.hpp"
#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class GatewayDeclared : public GatewayCase {
protected:
    double counted(const std::string& name, Labels labels) { return registry.counter(name, "", labels).value(); }
    double calls(const std::string& result) {
        return counted("homeostat_breaker_calls_total", {{"provider", "fake"}, {"model", "m"}, {"result", result}});
    }
    double openings() { return counted("homeostat_breaker_openings_total", {{"provider", "fake"}, {"model", "m"}}); }
    static std::vector<float> row_of(const Result<Embedded>& answer, std::size_t i) {
        return {answer->vectors.row(i), answer->vectors.row(i) + kWidth};
    }
};

TEST_F(GatewayDeclared, OfATextThatIsTooLongTheBeginningIsEmbedded) {
    for (const char* says :
         {"This model's maximum context length is {limit} tokens, however you requested {got} tokens",
          "input ({got} tokens) is too large to process. increase the physical batch size", "input is too long"}) {
        made.reset();
        FakeEndpoint endpoint({.dimensions = kWidth, .max_text_tokens = 512, .text_says = says});
        ProviderSpec provider = provider_at(endpoint);
        provider.too_long = "Truncate";
        std::vector<std::string> texts = texts_of(100);
        texts[70] = "long " + std::string(10'000, 'x');
        const double before = counted("homeostat_provider_truncated_texts_total", {{"provider", "fake"}});
        const auto answer = embed(provider, texts);
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_THAT(answer->refused, IsEmpty()) << says;
        EXPECT_EQ(row_of(answer, 69), FakeEndpoint::vector_of("text 69", kWidth));
        std::size_t longest = 0;
        bool beginning = false;
        for (std::size_t n = 1; n <= texts[70].size(); ++n) {
            if (row_of(answer, 70) != FakeEndpoint::vector_of(texts[70].substr(0, n), kWidth)) continue;
            beginning = true;
            longest = n;
            break;
        }
        EXPECT_TRUE(beginning) << says;
        EXPECT_GE(longest, 900U) << "no less than half of what is read: " << says;
        EXPECT_EQ(counted("homeostat_provider_truncated_texts_total", {{"provider", "fake"}}), before + 1);
        EXPECT_LE(static_cast<double>(endpoint.requests().size()), 12 + 2 * std::log2(100)) << says;
    }
}

TEST_F(GatewayDeclared, WhatIsRefusedForAnythingElseIsNotCutShort) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.when_text("text 7.", {.status = 400, .body = R"({"error":{"message":"this text is not allowed"}})"});
    ProviderSpec provider = provider_at(endpoint);
    provider.too_long = "Truncate";
    std::vector<std::string> texts;
    for (int i = 0; i < 20; ++i) texts.push_back("text " + std::to_string(i) + ".");
    const auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_THAT(answer->refused, SizeIs(1));
    EXPECT_EQ(answer->refused[0].index, 7U);
}

TEST_F(GatewayDeclared, ATextThatIsTooLongHoweverShortIsRefusedInTheEnd) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.when_text("bad", {.status = 400, .body = R"({"error":{"message":"maximum context length is 8 tokens"}})"});
    ProviderSpec provider = provider_at(endpoint);
    provider.too_long = "Truncate";
    const auto answer = embed(provider, {"good", "bad"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(row_of(answer, 0), FakeEndpoint::vector_of("good", kWidth));
    EXPECT_THAT(answer->refused, IsEmpty()) << "\"b\" is taken";
}

TEST(ShortenedText, EndsBetweenTwoLetters) {
    const Error halves{.cls = ErrorClass::too_large, .message = "too long", .origin = Origin::ours};
    EXPECT_EQ(shortened_text("abcd", halves), "ab");
    EXPECT_EQ(shortened_text("\xc3\xa4\xc3\xb6\xc3\xbc", halves), "\xc3\xa4");
    EXPECT_EQ(shortened_text("\xf0\x9f\x8c\x8d", halves), "\xf0\x9f\x8c\x8d") << "of one letter nothing can be cut";
    EXPECT_EQ(shortened_text("", halves), "");
    EXPECT_EQ(shortened_text(std::string(4, '\x80'), halves), std::string(4, '\x80')) << "what is no text stays what it is";
    const Error named{.cls = ErrorClass::too_large,
                      .message = "maximum 10 tokens, as we say",
                      .origin = Origin::ours,
                      .said = "maximum context length is 1000 tokens, however you requested 4000 tokens"};
    EXPECT_EQ(shortened_text(std::string(16'000, 'x'), named).size(), 3'800U) << "only what the endpoint said counts";
    const Error silent{.cls = ErrorClass::too_large, .message = named.said, .origin = Origin::ours};
    EXPECT_EQ(shortened_text(std::string(16'000, 'x'), silent).size(), 8'000U) << "and no message of ours";
}

TEST_F(GatewayDeclared, TheBreakerOpensWhereItIsDeclaredToAndIsCounted) {
    settings.breaker.consecutive = 4;
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    expect_vectors(embed(provider, {"well"}), {"well"});
    EXPECT_EQ(calls("success"), 1);
    EXPECT_EQ(openings(), 0);
    provider.generation = 2;
    provider.breaker_failures = 1;
    provider.breaker_pause = 1h;
    provider.breaker_pause_cap = 2h;
    endpoint.always({.status = 500});
    EXPECT_FALSE(embed(provider, {"a"}));
    EXPECT_EQ(openings(), 1);
    EXPECT_GE(calls("failure"), 1);
    const std::uint64_t asked = endpoint.requests().size();
    endpoint.forget_script();
    const auto rejected = embed(provider, {"b"});
    ASSERT_FALSE(rejected);
    EXPECT_EQ(rejected.error().cls, ErrorClass::unavailable);
    EXPECT_GT(rejected.error().retry_after.value_or(0ms), 40min) << "the pause that is declared";
    EXPECT_EQ(endpoint.requests().size(), asked);
    EXPECT_GE(calls("rejected"), 1);
    EXPECT_EQ(openings(), 1);
}

}  // namespace
}  // namespace homeostat
