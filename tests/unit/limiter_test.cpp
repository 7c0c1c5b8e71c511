// How fast a provider is asked, in simulated time; how requests are cut; who is asked first.
#include "reconcilers/gateway/limiter.hpp"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <numeric>

#include "reconcilers/gateway/ranking.hpp"
#include "reconcilers/gateway/request_limits.hpp"

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using namespace std::chrono_literals;

TEST(ConcurrencyLimit, DoublesWindowByWindowToTheCeiling) {
    ConcurrencyLimit limit(24);
    EXPECT_EQ(limit.limit(), 4);
    for (int i = 0; i < 4; ++i) limit.succeeded(4);
    EXPECT_EQ(limit.limit(), 8);
    for (int i = 0; i < 8 + 16; ++i) limit.succeeded(16);
    EXPECT_EQ(limit.limit(), 24);
}

TEST(ConcurrencyLimit, HalvesOnceForAllThatWasInFlightAndGrowsByOneAfterwards) {
    ConcurrencyLimit limit(64, 16);
    const SteadyTime start{1h};
    limit.throttled(start, start + 1s);
    limit.throttled(start + 10ms, start + 1s + 1ms);
    EXPECT_EQ(limit.limit(), 8);
    for (int i = 0; i < 8; ++i) limit.succeeded(8);
    EXPECT_EQ(limit.limit(), 9);
}

TEST(ConcurrencyLimit, DoesNotGrowWhereItIsNotUsed) {
    ConcurrencyLimit limit(64, 16);
    for (int i = 0; i < 100; ++i) limit.succeeded(3);
    EXPECT_EQ(limit.limit(), 16);
}

TEST(UrgentPlace, InThisProcessIsOneMoreThanAllOthers) {
    const UrgentPlace place(true);
    const ConcurrencyLimit limit(2, 2);
    EXPECT_EQ(place.allowed(limit, false, SteadyTime{1h}), 2);
    EXPECT_EQ(place.allowed(limit, true, SteadyTime{1h}), 3);
}

TEST(UrgentPlace, ElsewhereIsLeftFreeWhileThereAreSomeAndNeverMoreThanDeclared) {
    UrgentPlace place(false);
    const ConcurrencyLimit limit(8, 8);
    const ConcurrencyLimit found(8, 3);
    const ConcurrencyLimit few(3, 3);
    const SteadyTime now{1h};
    EXPECT_EQ(place.allowed(limit, false, now), 8);
    place.asked(now);
    EXPECT_EQ(place.allowed(limit, false, now + 4s), 7);
    EXPECT_EQ(place.allowed(limit, true, now + 4s), 8);
    EXPECT_EQ(place.allowed(found, false, now), 3) << "what it takes was found, and one more is let through";
    EXPECT_EQ(place.allowed(found, true, now), 4);
    EXPECT_EQ(place.allowed(few, false, now), 3) << "too large a share";
    EXPECT_EQ(place.allowed(limit, false, now + 6s), 8);
}

RC_GTEST_PROP(ConcurrencyLimitProperty, StaysBetweenOneAndTheCeiling, ()) {
    const int ceiling = *rc::gen::inRange(1, 100);
    ConcurrencyLimit limit(ceiling);
    SteadyTime now{1h};
    for (const int event : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 6))) {
        now += 1s;
        if (event == 0) limit.throttled(now, now);
        if (event == 1) limit.timed_out(now, now);
        if (event > 1) limit.succeeded(limit.limit());
        RC_ASSERT(limit.limit() >= 1 && limit.limit() <= ceiling);
    }
}

// Whatever is asked for: over any stretch no more goes than the rate and one burst permit.
RC_GTEST_PROP(RateLimitProperty, NeverMoreThanTheRateAndABurst, ()) {
    const auto per_minute = *rc::gen::inRange<std::uint64_t>(1, 6'000);
    const int members = *rc::gen::inRange(1, 4);
    RateLimit rate(per_minute);
    rate.divide(members);
    const SteadyTime start{1h};
    SteadyTime now = start;
    double sent = 0;
    for (const int wait : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 500))) {
        now = std::max(now + std::chrono::milliseconds(wait), rate.earliest(now));
        rate.take(1, now);
        ++sent;
        const double minutes = std::chrono::duration<double>(now - start).count() / 60;
        const double allowed = (minutes + 10.0 / 60) * static_cast<double>(per_minute) / members + 1.001;
        RC_ASSERT(sent <= allowed);
    }
}

TEST(RateLimit, GivesBackWhatWasNotUsed) {
    RateLimit rate(60);
    const SteadyTime now{1h};
    rate.take(600, now);
    EXPECT_GT(rate.earliest(now), now + 5min);
    rate.give_back(600);
    EXPECT_EQ(rate.earliest(now), now);
}

TEST(ThrottleGate, ObeysWithinBounds) {
    const SteadyTime now{1h};
    const auto pause = [&](std::optional<std::chrono::milliseconds> asked) {
        ThrottleGate gate;
        gate.throttled(asked, {}, now, now, 0.5);
        return gate.opens_at() - now;
    };
    EXPECT_EQ(pause(20s), 20s);
    EXPECT_EQ(pause(0ms), 100ms);
    EXPECT_EQ(pause(9h), 10min);
    EXPECT_GE(pause(std::nullopt), 25ms);
    EXPECT_LE(pause(std::nullopt), 50ms);
}

TEST(ThrottleGate, PausesGrowWhereNothingIsSaidAndBeginAnewAfterAnAnswer) {
    ThrottleGate gate;
    SteadyTime now{1h};
    Duration last{};
    for (int i = 0; i < 5; ++i) {
        gate.throttled(std::nullopt, {}, now, now, 0.99);
        const Duration pause = gate.opens_at() - now;
        EXPECT_GT(pause, last);
        EXPECT_LE(pause, 1min);
        last = pause;
        now = gate.opens_at();
    }
    EXPECT_GE(last, 400ms);
    gate.succeeded();
    gate.throttled(std::nullopt, {}, now, now, 0.99);
    EXPECT_LE(gate.opens_at() - now, 50ms);
    gate.throttled(9h, {}, now + 200ms, now + 200ms, 0);
    gate.allow_probe(now + 300ms);
    EXPECT_LE(gate.opens_at(), now + 300ms);
}

// Whatever the time that answers take: a quarter to a half of it, within bounds; twice that for each refusal without an answer.
RC_GTEST_PROP(ThrottleGateProperty, APauseThatNobodyAskedForIsOfTheLengthOfAnAnswer, ()) {
    const Duration answers = std::chrono::microseconds(*rc::gen::inRange(1, 5'000'000));
    ThrottleGate gate;
    SteadyTime now{1h};
    Duration first = std::clamp<Duration>(answers / 4, 1ms, 100ms);
    for (int i = 0; i < *rc::gen::inRange(1, 12); ++i, first *= 2) {
        gate.throttled(std::nullopt, answers, now, now, *rc::gen::inRange(0, 99) / 100.0);
        const Duration pause = gate.opens_at() - now;
        RC_ASSERT(pause >= std::min<Duration>(first, 30s) && pause <= std::min<Duration>(2 * first, 60s));
        now = gate.opens_at();
    }
    gate.succeeded();
    gate.throttled(std::nullopt, answers, now, now, 0);
    RC_ASSERT(gate.opens_at() - now <= 100ms);
}

TEST(ThrottleGate, WhatWasInFlightIsOneEvent) {
    ThrottleGate gate;
    const SteadyTime now{1h};
    for (int i = 0; i < 8; ++i) gate.throttled(std::nullopt, {}, now - 50ms, now + i * 1ms, 0.99);
    EXPECT_LE(gate.opens_at() - now, 200ms);
}

TEST(RetryBudget, IsAShareOfTheRequestsAndNeverLessThanThreeAtATime) {
    RetryBudget budget;
    const SteadyTime now{1h};
    EXPECT_TRUE(budget.try_retry(now));
    EXPECT_TRUE(budget.try_retry(now));
    EXPECT_TRUE(budget.try_retry(now));
    EXPECT_FALSE(budget.try_retry(now));
    for (int i = 0; i < 100; ++i) budget.requested(now);
    int granted = 0;
    while (budget.try_retry(now)) ++granted;
    EXPECT_EQ(granted, 17);
    EXPECT_FALSE(budget.try_retry(now + 5s));
    for (int i = 0; i < 20; ++i) budget.ended();
    EXPECT_TRUE(budget.try_retry(now + 11s));
}

// How an endpoint with limits that nobody declared is found out.
struct Endpoint {
    std::size_t texts;
    std::uint64_t tokens;  // a text
    std::uint64_t token_limit;
    std::size_t text_limit;
    std::string says;
};

class LearnsLimits : public ::testing::TestWithParam<Endpoint> {};

TEST_P(LearnsLimits, InFewRefusalsAndKeepsThem) {
    const Endpoint& e = GetParam();
    RequestLimits limits(static_cast<std::uint32_t>(e.texts));
    std::vector<std::size_t> all(2'000);
    std::iota(all.begin(), all.end(), std::size_t{0});
    const std::vector<std::uint64_t> tokens(all.size(), e.tokens);
    int refused = 0;
    std::size_t done = 0;
    std::size_t requests = 0;
    while (done < all.size()) {
        const std::span<const std::size_t> rest = std::span<const std::size_t>(all).subspan(done);
        const auto cut = cut_requests(rest, tokens, limits.max_texts(), limits.max_tokens());
        const std::size_t n = cut.front().size();
        ++requests;
        if (n > e.text_limit || n * e.tokens > e.token_limit) {
            ++refused;
            limits.refused(n, n * e.tokens, n * e.tokens * 4, e.says);
        } else {
            limits.accepted(n, n * e.tokens);
            done += n;
        }
    }
    EXPECT_LE(refused, 4);
    const std::size_t fits = std::min<std::size_t>(e.text_limit, e.token_limit / e.tokens);
    EXPECT_LE(requests, 4 * (all.size() / fits + 4)) << "the requests became too small";
}

INSTANTIATE_TEST_SUITE_P(Endpoints, LearnsLimits,
                         ::testing::Values(Endpoint{100, 10, 1'000'000, 32, "batch size must be at most 32"},
                                           Endpoint{100, 10, 1'000'000, 32, "no"},
                                           Endpoint{256, 10, 1'000'000, 32, "too many inputs"},
                                           Endpoint{1'000, 10, 1'000'000, 32, "input array too large, maximum 32 items"},
                                           Endpoint{100, 250, 8'000, 1'000, "maximum 8,000 tokens per request"},
                                           Endpoint{100, 250, 8'000, 1'000, "too many tokens"},
                                           Endpoint{100, 250, 8'000, 1'000, ""},
                                           Endpoint{256, 400, 8'000, 1'000, "max_tokens_per_request: 8000"},
                                           Endpoint{100, 250, 8'000, 32, "refused"}));

TEST(RequestLimits, ASingleTextTeachesNothing) {
    RequestLimits limits(100);
    EXPECT_FALSE(limits.refused(1, 9'000, 36'000, "maximum 8000 tokens"));
    EXPECT_EQ(limits.max_tokens(), 0U);
}

TEST(RequestLimits, OneSizeIsTriedBeforeItIsTrusted) {
    RequestLimits limits(100);
    EXPECT_FALSE(limits.proven(100, 2'500));
    limits.accepted(100, 2'500);
    EXPECT_TRUE(limits.proven(100, 3'000));
    EXPECT_FALSE(limits.proven(100, 30'000));
    EXPECT_TRUE(limits.proven(1, 1'000'000));
}

TEST(RequestLimits, WhatTimedOutIsHalvedAndGrowsAgainWithQuickAnswers) {
    RequestLimits limits(100, 60s);
    EXPECT_EQ(limits.max_texts(), 100U);
    limits.timed_out(100);
    limits.timed_out(50);
    EXPECT_EQ(limits.max_texts(), 25U);
    EXPECT_TRUE(limits.over(100, 1)) << "what was cut before is cut again";
    limits.answered(25, 25s);
    EXPECT_EQ(limits.max_texts(), 30U) << "a second each: thirty of them in half the time";
    limits.answered(25, 1s);
    EXPECT_EQ(limits.max_texts(), 100U);
}

// What is left of a batch at its end is soon answered, however slow the endpoint is.
TEST(RequestLimits, AFewTextsThatAreSoonAnsweredDoNotMakeRequestsTooLarge) {
    RequestLimits limits(100, 2s);
    for (const std::size_t texts : {16U, 10U, 4U, 1U, 1U, 10U, 4U, 2U, 1U, 4U, 3U, 1U, 1U, 1U, 1U, 1U}) {
        ASSERT_LE(limits.max_texts(), 16U) << "of 100 ms each, and twenty of them are late";
        limits.answered(texts, texts * 100ms);
    }
}

TEST(RequestLimits, AShortTimeoutBeginsWithASmallRequest) {
    RequestLimits limits(100, 2s);
    EXPECT_TRUE(limits.pace_unknown());
    EXPECT_EQ(limits.max_texts(), 16U);
    limits.answered(16, 1600ms);
    EXPECT_FALSE(limits.pace_unknown());
    limits.answered(16, 1700ms);
    EXPECT_EQ(limits.max_texts(), 9U);
    EXPECT_FALSE(RequestLimits(100, 60s).pace_unknown());
    EXPECT_FALSE(RequestLimits(100).pace_unknown());
}

TEST(RequestLimits, OneTextThatIsTooLargeAloneTakesBackWhatWasGuessedOnTheWay) {
    RequestLimits limits(100);
    limits.refused(100, 10'000, 40'000, "request entity too large");
    limits.refused(50, 5'000, 20'000, "request entity too large");
    EXPECT_GT(limits.max_tokens(), 0U);
    limits.refused(1, 4'000, 16'000, "request entity too large");
    EXPECT_EQ(limits.max_tokens(), 0U);
    EXPECT_EQ(limits.max_texts(), 100U);
}

// Nothing but "no" is said: what was cut too deep grows again, and a refusal is risked only for what it may win.
TEST(RequestLimits, ALimitThatNobodyNamesIsUsedToMostOfIt) {
    for (const std::size_t limit : {1U, 2U, 3U, 7U, 8U, 20U, 32U, 40U, 50U, 64U, 99U}) {
        for (const char* says : {"too many inputs", "request entity too large"}) {
            RequestLimits limits(100);
            int refused = 0;
            int requests = 0;
            for (std::size_t done = 0; done < 2'000; ++requests) {
                std::size_t n = limits.max_texts();
                if (limits.max_tokens() > 0) n = std::clamp<std::size_t>(limits.max_tokens() / 100, 1, n);
                if (n > limit) {
                    ++refused;
                    limits.refused(n, n * 100, n * 400, says);
                } else {
                    limits.accepted(n, n * 100);
                    done += n;
                }
            }
            EXPECT_LE(refused, limit == 1 ? 6 : 5) << limit << says;
            EXPECT_LE(requests, (limit == 2 ? 2 : 1.7) * std::ceil(2'000.0 / static_cast<double>(limit)) + 6) << limit << says;
        }
    }
}

TEST(RequestLimits, WhatASingleTextIsRefusedForAsWellWasNoLimitOfRequests) {
    constexpr const char* kSaid = "too many tokens, limit 2048";
    RequestLimits doubted(100);
    EXPECT_TRUE(doubted.refused(20, 7'000, 30'000, kSaid));
    EXPECT_GT(doubted.max_tokens(), 0U);
    EXPECT_TRUE(doubted.refused(1, 2'300, 9'000, kSaid));
    EXPECT_EQ(doubted.max_tokens(), 0U);
    RequestLimits sure(100);
    EXPECT_TRUE(sure.refused(20, 7'000, 30'000, "too many tokens per request, limit 2048"));
    const std::uint64_t learnt = sure.max_tokens();
    sure.refused(1, 2'300, 9'000, "too many tokens per request, limit 2048");
    EXPECT_EQ(sure.max_tokens(), learnt);
}

TEST(RequestLimits, ALimitOfOneTextTeachesNothingAboutRequests) {
    RequestLimits limits(100);
    EXPECT_FALSE(limits.refused(100, 20'000, 80'000, "maximum context length is 8192 tokens"));
    EXPECT_EQ(limits.max_tokens(), 0U);
}

TEST(RequestLimits, ASizeThatWasAnsweredBeforeIsNoLimit) {
    RequestLimits limits(100);
    limits.accepted(100, 1'000);
    EXPECT_FALSE(limits.found(100, 25, true));
    EXPECT_EQ(limits.max_texts(), 100U);
}

TEST(RequestLimits, WhatMayHaveBeenChanceIsNoLimitBeforeItComesAgain) {
    RequestLimits limits(100);
    EXPECT_FALSE(limits.found(100, 50, false));
    EXPECT_EQ(limits.max_texts(), 100U);
    EXPECT_TRUE(limits.found(100, 50, false));
    EXPECT_EQ(limits.max_texts(), 50U);
    EXPECT_TRUE(limits.found(50, 25, true));
    EXPECT_EQ(limits.max_texts(), 25U);
}

RC_GTEST_PROP(CutRequestsProperty, EveryTextOnceInOrderWithinTheLimits, ()) {
    const auto tokens = *rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(1, 1'000));
    const auto most_texts = *rc::gen::inRange<std::uint32_t>(1, 50);
    const auto most_tokens = *rc::gen::inRange<std::uint64_t>(0, 3'000);
    std::vector<std::size_t> all(tokens.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    std::vector<std::size_t> seen;
    for (const auto& part : cut_requests(all, tokens, most_texts, most_tokens)) {
        std::uint64_t sum = 0;
        for (const std::size_t i : part) sum += tokens[i];
        RC_ASSERT(!part.empty() && part.size() <= most_texts);
        RC_ASSERT(most_tokens == 0 || sum <= most_tokens || part.size() == 1);
        seen.insert(seen.end(), part.begin(), part.end());
    }
    RC_ASSERT(seen == all);
}

TEST(RankProviders, HealthThenRankThenPriceThenName) {
    using enum ProviderHealthState;
    const std::vector<RankedProvider> p{{"e", ejected, 1, 0},   {"d", usable, 20, 0},   {"c", usable, 10, 0.2},
                                        {"b", usable, 10, 0.1}, {"a", usable, 10, 0.2}, {"w", waiting, 1, 0}};
    EXPECT_THAT(rank_providers(p), ElementsAre(3, 4, 2, 1, 5, 0));
}

TEST(Serves, OnlyOfTheSamePoolAndModelAndWidth) {
    ProviderSpec declared;
    declared.name = "a";
    declared.pool = "eu";
    ProviderSpec other;
    other.name = "b";
    other.pool = "eu";
    other.model = "m";
    EXPECT_TRUE(serves(other, declared, "m", 3));
    EXPECT_FALSE(serves(other, declared, "n", 3));
    other.dimensions = 4;
    EXPECT_FALSE(serves(other, declared, "m", 3));
    other.dimensions = 3;
    other.pool = "us";
    EXPECT_FALSE(serves(other, declared, "m", 3));
    other.pool.reset();
    EXPECT_FALSE(serves(other, declared, "m", 3));
}

}  // namespace
}  // namespace homeostat
