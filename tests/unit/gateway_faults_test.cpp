// The gateway ahead of providers that throttle, stall, lie and die.
#include <cmath>

#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class GatewayFaults : public GatewayCase {
protected:
    LaneSnapshot lane(const std::string& name) {
        for (const LaneSnapshot& l : gateway().snapshot().lanes) {
            if (l.provider == name) return l;
        }
        return {};
    }
};

TEST_F(GatewayFaults, OnePoisonousTextIsSingledOutInFewRequests) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.when_text("text 4711", {.status = 400});
    ProviderSpec provider = provider_at(endpoint);
    const auto texts = texts_of(10'000);
    const auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_THAT(answer->refused, SizeIs(1));
    EXPECT_EQ(answer->refused[0].index, 4711U);
    EXPECT_EQ(answer->refused[0].error.cls, ErrorClass::content);
    EXPECT_LE(static_cast<double>(endpoint.calls()), 100 + 2 * std::log2(100));
}

TEST_F(GatewayFaults, SeveralPoisonousTextsWhereverTheyStand) {
    for (const std::vector<int>& bad : {std::vector<int>{0}, {99}, {0, 99}, {49, 50}, {10, 11, 12}, {0, 1, 50, 51, 98, 99}}) {
        FakeEndpoint endpoint({.dimensions = kWidth});
        for (const int i : bad) endpoint.when_text("<" + std::to_string(i) + ">", {.status = 422});
        std::vector<std::string> texts;
        for (int i = 0; i < 100; ++i) texts.push_back("<" + std::to_string(i) + ">");
        made.reset();
        const auto answer = embed(provider_at(endpoint), texts);
        expect_vectors(answer, texts);
        std::vector<int> refused;
        for (const RefusedText& r : answer->refused) refused.push_back(static_cast<int>(r.index));
        EXPECT_EQ(refused, bad);
        EXPECT_LE(static_cast<double>(endpoint.calls()), 1 + static_cast<double>(bad.size()) * 2 * std::log2(100));
    }
}

TEST_F(GatewayFaults, AProviderThatRefusesEverythingIsNotAskedTextByText) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.always({.status = 400});
    const auto answer = embed(provider_at(endpoint), texts_of(1'000));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::unavailable);
    EXPECT_THAT(answer.error().message, HasSubstr("no document is at fault"));
    EXPECT_LE(endpoint.calls(), 3U);
}

struct Mixed {
    std::string name;
    std::vector<FakeAnswer> faults;
    std::chrono::milliseconds timeout = 30s;
};
class GatewayMixed : public GatewayCase, public ::testing::WithParamInterface<Mixed> {};

// One request in twenty goes wrong. Everything is embedded, nothing wrong is handed out, and hardly more is asked than must be.
TEST_P(GatewayMixed, ConvergesAtLittleCost) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    ProviderSpec provider = provider_at(endpoint);
    // Long enough for a machine that is busy with other things: how large requests are depends on how soon they are answered.
    provider.timeout = GetParam().timeout;
    const auto& faults = GetParam().faults;
    for (std::size_t round = 0; round < 10; ++round) {
        endpoint.next({}, 19);
        endpoint.next(faults[round % faults.size()]);
    }
    const auto texts = texts_of(20'000);
    settings.cache = {64 << 20, 1min};  // what a failed batch has got already is not asked for again
    auto answer = embed(provider, texts);
    for (int attempt = 1; attempt < 5 && !answer; ++attempt) answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    EXPECT_THAT(answer->refused, IsEmpty());
    EXPECT_LE(endpoint.requests().size(), 250U);
}

INSTANTIATE_TEST_SUITE_P(Faults, GatewayMixed,
                         ::testing::Values(Mixed{"throttled", {{.status = 429, .headers = {{"Retry-After", "0"}}}}},
                                           Mixed{"server", {{.status = 500}, {.status = 502}, {.status = 503}}},
                                           Mixed{"connection",
                                                 {{.flaw = Flaw::truncated},
                                                  {.flaw = Flaw::drop_before},
                                                  {.flaw = Flaw::drop_after},
                                                  {.flaw = Flaw::not_http}}},
                                           Mixed{"answers",
                                                 {{.flaw = Flaw::wrong_count},
                                                  {.flaw = Flaw::short_vector},
                                                  {.flaw = Flaw::nan_vector},
                                                  {.flaw = Flaw::zero_vector},
                                                  {.flaw = Flaw::duplicate_index},
                                                  {.flaw = Flaw::html},
                                                  {.flaw = Flaw::garbage}}},
                                           Mixed{"all",
                                                 {{.status = 500},
                                                  {.delay = 1min},
                                                  {.flaw = Flaw::truncated},
                                                  {.flaw = Flaw::short_vector},
                                                  {.flaw = Flaw::reordered},
                                                  {.flaw = Flaw::nan_vector},
                                                  {.flaw = Flaw::html},
                                                  {.status = 503}},
                                                 2s}),
                         [](const auto& mixed) { return mixed.param.name; });

TEST_F(GatewayFaults, AProviderThatIsDownFailsFastAndIsTakenBack) {
    auto endpoint = std::make_unique<FakeEndpoint>(kit::FakeEndpointOptions{.dimensions = kWidth});
    const ProviderSpec provider = provider_at(*endpoint);
    const std::uint16_t port = endpoint->port();
    const auto texts = texts_of(3);
    endpoint.reset();
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(embed(provider, texts));
    FakeEndpoint back({.port = port, .dimensions = kWidth});
    for (int i = 0; i < 100; ++i) {
        const auto answer = embed(provider, texts);
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().cls, ErrorClass::unavailable);
        EXPECT_TRUE(answer.error().retry_after.has_value());
        EXPECT_THAT(answer.error().message, HasSubstr("\"fake\""));
    }
    EXPECT_EQ(back.connections(), 0U) << "it was asked all the same";
    EXPECT_EQ(lane("fake").breaker, BreakerState::open);
    gateway().allow_probe("fake");
    expect_vectors(embed(provider, texts), texts);
}

TEST_F(GatewayFaults, ARefusedCredentialIsNotTriedAgainUntilItIsAnother) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.next({.status = 401});
    ProviderSpec provider = provider_at(endpoint);
    const auto texts = texts_of(3);
    auto answer = embed(provider, texts);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::auth);
    EXPECT_EQ(embed(provider, texts).error().cls, ErrorClass::unavailable);
    EXPECT_EQ(endpoint.calls(), 1U);
    provider.generation = 2;
    expect_vectors(embed(provider, texts), texts);
}

TEST_F(GatewayFaults, WhoIsDeclaredAgainUnderItsNameIsAnother) {
    FakeEndpoint old({.dimensions = kWidth, .salt = "old"});
    FakeEndpoint fresh({.dimensions = kWidth});
    settings.cache = {1 << 20, 1min};
    const auto texts = texts_of(10);
    old.next({}, 1);
    old.next({.status = 401}, 10);
    ProviderSpec provider = provider_at(old);
    ASSERT_TRUE(embed(provider, texts));
    ASSERT_FALSE(embed(provider, texts_of(10, "refused")));
    const std::uint64_t before = old.requests().size();
    // Deleted and declared again: another uid, the same generation. Neither breaker nor cache nor address is the old one's.
    ProviderSpec again = provider_at(fresh);
    again.uid = 2;
    expect_vectors(embed(again, texts), texts);
    EXPECT_THAT(gateway().blocked(), IsEmpty());
    // Whoever still has the old one's declaration in hand asks nobody.
    const auto late = embed(provider, texts_of(3, "late"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, kDeclaredAnew);
    EXPECT_EQ(late.error().cls, ErrorClass::conflict);
    EXPECT_EQ(old.requests().size(), before);
    EXPECT_THAT(gateway().snapshot().lanes, SizeIs(1));
}

TEST_F(GatewayFaults, WhatWaitsToBeSentAgainDoesNotGoToTheOldAddress) {
    FakeEndpoint old({.dimensions = kWidth});
    ProviderSpec provider = provider_at(old);
    old.always({.status = 429, .headers = {{"Retry-After", "3"}}});
    const std::vector<ProviderSpec> none;
    const auto texts = texts_of(3);
    auto waits = io.start(ask(gateway(), provider, none, texts, Context{}));
    ASSERT_TRUE(old.wait_for_requests(1));
    gateway().know({{"fake", 2, 1}});
    const auto answer = waits.get();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, kDeclaredAnew);
    EXPECT_EQ(old.calls(), 1U);
    EXPECT_THAT(gateway().snapshot().lanes, IsEmpty());
    // One that was deleted is not asked either.
    FakeEndpoint other({.dimensions = kWidth});
    const ProviderSpec gone = provider_at(other, "gone");
    gateway().know({{"gone", 1, 1}});
    ASSERT_TRUE(embed(gone, texts));
    gateway().know({});
    EXPECT_THAT(gateway().snapshot().lanes, IsEmpty());
    EXPECT_EQ(embed(gone, texts).error().code, kDeclaredAnew);
    EXPECT_EQ(other.calls(), 1U);
}

TEST_F(GatewayFaults, ThrottlingWaitsAndCostsNothing) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.next({.status = 429, .headers = {{"Retry-After", "1"}}}, 2);
    const auto texts = texts_of(10);
    expect_vectors(embed(provider_at(endpoint), texts), texts);
    EXPECT_EQ(endpoint.calls(), 3U);
    EXPECT_EQ(lane("fake").breaker, BreakerState::closed);
}

TEST_F(GatewayFaults, ALongPauseIsGivenBackRatherThanWaitedFor) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    endpoint.always({.status = 429, .headers = {{"Retry-After", "120"}}});
    const auto answer = embed(provider_at(endpoint), texts_of(10));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::throttled);
    EXPECT_GE(*answer.error().retry_after, 100s);
    EXPECT_EQ(endpoint.calls(), 1U);
    EXPECT_THAT(gateway().blocked(), ElementsAre(DeclaredProvider{"fake", 1, 1}));
}

TEST_F(GatewayFaults, OneProvidersTroubleDoesNotHoldUpAnother) {
    FakeEndpoint stuck({.dimensions = kWidth, .delay = 1s});
    FakeEndpoint well({.dimensions = kWidth});
    const ProviderSpec a = provider_at(stuck, "stuck");
    const ProviderSpec b = provider_at(well, "well");
    const std::vector<ProviderSpec> none;
    const auto many = texts_of(3'000);
    const auto few = texts_of(400);
    auto slow = io.start(ask(gateway(), a, none, few, Context{}));
    ASSERT_TRUE(stuck.wait_for_requests(1));
    expect_vectors(embed(b, many), many);
    EXPECT_LT(stuck.calls(), 20U) << "it waited for the other";
    expect_vectors(slow.get(), few);
}

class GatewayPool : public GatewayFaults {
protected:
    void SetUp() override {
        a = provider_at(first, "a");
        b = provider_at(second, "b");
        a.pool = b.pool = "pool";
        a.rank = 1;
        b.rank = 2;
        b.uid = 2;
    }
    FakeEndpoint first{{.dimensions = kWidth}};
    FakeEndpoint second{{.dimensions = kWidth}};
    ProviderSpec a;
    ProviderSpec b;
};

TEST_F(GatewayPool, TheLowestRankServesWhoeverIsDeclared) {
    const auto texts = texts_of(500);
    expect_vectors(embed(b, texts, {a}), texts);
    EXPECT_EQ(first.texts(), 501U) << "with the canary";
    EXPECT_EQ(second.texts(), 0U);
    EXPECT_EQ(gateway().snapshot().selections.at(0).chosen, "a");
    EXPECT_EQ(gateway().snapshot().selections.at(0).instead_of, "b");
}

TEST_F(GatewayPool, AnotherTakesOverAndTheFirstReturns) {
    const auto texts = texts_of(400);
    expect_vectors(embed(a, texts, {b}), texts);
    first.always({.status = 500});
    for (int i = 0; i < 3; ++i) {
        const auto more = texts_of(400, "more " + std::to_string(i));
        expect_vectors(embed(a, more, {b}), more);
    }
    EXPECT_EQ(lane("a").breaker, BreakerState::open);
    EXPECT_GE(second.texts(), 1'200U);
    first.forget_script();
    gateway().allow_probe("a");
    for (int i = 0; i < 3; ++i) {
        const auto more = texts_of(400, "again " + std::to_string(i));
        expect_vectors(embed(a, more, {b}), more);
    }
    EXPECT_EQ(lane("a").breaker, BreakerState::closed) << "it was not given its probes";
    const std::uint64_t before = first.texts();
    const auto last = texts_of(100, "last");
    expect_vectors(embed(a, last, {b}), last);
    EXPECT_EQ(first.texts() - before, 100U);
}

TEST_F(GatewayPool, AThrottledOneLeavesItToTheOther) {
    const auto texts = texts_of(10);
    expect_vectors(embed(a, texts, {b}), texts);
    first.always({.status = 429, .headers = {{"Retry-After", "60"}}});
    const std::uint64_t asked = first.calls();
    expect_vectors(embed(a, texts, {b}), texts);
    EXPECT_EQ(first.calls(), asked + 1);
}

TEST_F(GatewayPool, AnotherModelBehindTheSameNameIsNeverMixedIn) {
    FakeEndpoint other({.dimensions = kWidth, .salt = "another model: "});
    ProviderSpec c = provider_at(other, "c");
    c.pool = "pool";
    c.rank = 2;
    const auto texts = texts_of(10);
    expect_vectors(embed(a, texts, {c}), texts);
    first.always({.status = 500});
    const auto answer = embed(a, texts_of(10, "new"), {c});
    ASSERT_FALSE(answer);
    EXPECT_EQ(other.texts(), 1U) << "only the canary";
    EXPECT_EQ(lane("c").breaker, BreakerState::open);
    EXPECT_THAT(lane("c").message, HasSubstr("canary"));
}

}  // namespace
}  // namespace homeostat
