#include "reconcilers/gateway/cache.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/unit/cache_case.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr int kAskers = 100;

struct Cached : CacheCase, testing::Test {};

// Asks for "key" as many would, each in a coroutine of its own.
struct Crowd : CacheCase, testing::Test {
    std::future<Result<IntValue>> ask(Result<int> answer, const Context& context = {}, Door* at = nullptr) {
        const std::string key = "key";
        return io.start(cache.get(key, [this, answer, at] { return load(loads, answer, at); }, context));
    }
    void until_waiting(std::uint64_t n) {
        until([&] { return cache.stats().shared_loads == n; });
    }

    Loads loads;
    kit::IoThread io{4};
    Door door{io.executor()};
};

TEST_F(Cached, FindsWhatWasPutUntilItIsForgotten) {
    EXPECT_EQ(cache.find("a"), nullptr);
    cache.put("a", 1);
    cache.put("b", 2);
    ASSERT_NE(cache.find("a"), nullptr);
    EXPECT_EQ(*cache.find("a"), 1);
    const IntValue kept = cache.find("b");
    cache.put("b", 3);
    EXPECT_EQ(*kept, 2) << "what was handed out stays as it was";
    EXPECT_EQ(*cache.find("b"), 3);
    cache.forget("a");
    EXPECT_EQ(cache.find("a"), nullptr);
    cache.forget_all();
    EXPECT_EQ(cache.find("b"), nullptr);
    EXPECT_EQ(cache.stats().entries, 0U);
    EXPECT_EQ(cache.stats().bytes, 0U);
}

TEST_F(Cached, ForgetsWhatBeginsAlikeAndNothingElse) {
    for (const char* key : {"1", "1\na", "1\nb", "10\na", "2\na"}) cache.put(key, 1);
    cache.forget_prefix("1\n");
    EXPECT_EQ(cache.find("1\na"), nullptr);
    EXPECT_EQ(cache.find("1\nb"), nullptr);
    for (const char* key : {"1", "10\na", "2\na"}) EXPECT_NE(cache.find(key), nullptr) << key;
    EXPECT_EQ(cache.stats().entries, 3U);
    cache.forget_prefix("3");
    cache.forget_prefix("");
    EXPECT_EQ(cache.stats().entries, 0U);
    EXPECT_EQ(cache.stats().bytes, 0U);
}

TEST_F(Cached, NothingOfAnOlderVersionIsFound) {
    cache.set_version(5);
    cache.put("a", 1);
    cache.set_version(4);
    EXPECT_NE(cache.find("a"), nullptr) << "news of an older version come late and say nothing";
    cache.set_version(6);
    EXPECT_EQ(cache.find("a"), nullptr);
}

TEST(CacheLimits, NothingIsFoundPastItsTimeAndTheMetricsSayWhatHappened) {
    CacheCase c({1 << 20, 10s});
    c.cache.put("a", 1);
    c.clock.advance(9s);
    EXPECT_NE(c.cache.find("a"), nullptr);
    c.clock.advance(1s);
    EXPECT_EQ(c.cache.find("a"), nullptr);
    EXPECT_EQ(c.metric("homeostat_cache_hits_total"), 1);
    EXPECT_EQ(c.metric("homeostat_cache_misses_total"), 1);
    EXPECT_EQ(c.metric("homeostat_cache_evictions_total"), 1);
    EXPECT_EQ(c.metric("homeostat_cache_entries"), 0);
    EXPECT_EQ(c.metric("homeostat_cache_bytes"), 0);
}

TEST(CacheLimits, HoldsToItsBytes) {
    CacheCase c({20'000, 0s});
    for (int i = 0; i < 1'000; ++i) c.cache.put(fmt::format("key {}", i), i);
    const CacheStats s = c.cache.stats();
    EXPECT_LE(s.bytes, 20'000U);
    EXPECT_GT(s.entries, 40U);
    EXPECT_EQ(s.evictions, 1'000 - s.entries);
    EXPECT_EQ(c.metric("homeostat_cache_bytes"), static_cast<double>(s.bytes));
    EXPECT_EQ(c.metric("homeostat_cache_entries"), static_cast<double>(s.entries));
}

TEST_F(Crowd, AHundredAskersOfOneMissingKeyAreOneLoad) {
    std::vector<std::future<Result<IntValue>>> answers;
    for (int i = 0; i < kAskers; ++i) answers.push_back(ask(7, {}, &door));
    until_waiting(kAskers - 1);
    door.let_one_through();
    for (auto& a : answers) {
        const Result<IntValue> got = a.get();
        ASSERT_TRUE(got) << got.error().message;
        EXPECT_EQ(**got, 7);
    }
    EXPECT_EQ(loads.begun, 1);
    EXPECT_EQ(cache.stats().misses, std::uint64_t{kAskers});
    EXPECT_EQ(**ask(8).get(), 7) << "it is kept";
    EXPECT_EQ(cache.stats().hits, 1U);
}

TEST_F(Crowd, AFailedLoadFailsForAllItsAskersAndIsNotKept) {
    std::vector<std::future<Result<IntValue>>> answers;
    for (int i = 0; i < kAskers; ++i) answers.push_back(ask(Error{ErrorClass::transient, "broken"}, {}, &door));
    until_waiting(kAskers - 1);
    door.let_one_through();
    for (auto& a : answers) {
        const Result<IntValue> got = a.get();
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().cls, ErrorClass::transient);
    }
    EXPECT_EQ(loads.begun, 1);
    EXPECT_EQ(**ask(8).get(), 8);
}

TEST_F(Crowd, AnAskerWhoIsStoppedOrOutOfTimeLeavesAloneAndAtOnce) {
    auto loading = ask(7, {}, &door);
    until([&] { return loads.begun == 1; });
    std::stop_source stop;
    auto stopped = ask(1, {.stop = stop.get_token()});
    auto late = ask(2, {.deadline = clock.steady_now() + 1ms});
    auto patient = ask(3, {.deadline = clock.steady_now() + std::chrono::hours(24 * 365 * 100)});
    until_waiting(3);
    stop.request_stop();
    EXPECT_EQ(stopped.get().error().cls, ErrorClass::cancelled);
    EXPECT_EQ(late.get().error().cls, ErrorClass::timeout);
    EXPECT_EQ(ask(4, {.stop = stop.get_token()}).get().error().cls, ErrorClass::cancelled) << "asked when stopped already";
    EXPECT_EQ(ask(5, {.deadline = clock.steady_now()}).get().error().cls, ErrorClass::timeout);
    door.let_one_through();
    EXPECT_EQ(**loading.get(), 7);
    EXPECT_EQ(**patient.get(), 7);
    EXPECT_EQ(loads.begun, 1);
}

TEST_F(Crowd, AnotherAskerTakesOverWhereTheLoadersOwnAskerIsStopped) {
    std::stop_source stop;
    auto first = ask(cancelled("stopped"), {.stop = stop.get_token()}, &door);
    until([&] { return loads.begun == 1; });
    std::vector<std::future<Result<IntValue>>> others;
    for (int i = 0; i < 10; ++i) others.push_back(ask(9));
    until_waiting(10);
    stop.request_stop();
    door.let_one_through();
    EXPECT_EQ(first.get().error().cls, ErrorClass::cancelled);
    for (auto& o : others) EXPECT_EQ(**o.get(), 9);
    EXPECT_EQ(loads.begun, 2);
}

TEST_F(Crowd, WhatWasBegunUnderAnOlderVersionIsHandedOverAndNotKept) {
    auto before = ask(1, {}, &door);
    auto with = ask(1, {}, &door);
    until_waiting(1);
    cache.set_version(1);
    EXPECT_EQ(**ask(2).get(), 2) << "the new version does not wait for the old one's load";
    door.let_one_through();
    EXPECT_EQ(**before.get(), 1);
    EXPECT_EQ(**with.get(), 1);
    EXPECT_EQ(*cache.find("key"), 2);
}

TEST_F(Crowd, WhatIsForgottenWhileItIsLoadedIsNotKept) {
    auto before = ask(1, {}, &door);
    until([&] { return loads.begun == 1; });
    cache.forget("key");
    door.let_one_through();
    EXPECT_EQ(**before.get(), 1);
    EXPECT_EQ(cache.find("key"), nullptr);
}

asio::awaitable<Result<int>> throws() {
    throw std::runtime_error("out of range");
    co_return 0;
}

TEST_F(Crowd, ALoadThatThrowsLeavesNobodyWaiting) {
    const std::string key = "key";
    auto thrower = io.start(cache.get(key, [] { return throws(); }, Context{}));
    EXPECT_THROW((void)thrower.get(), std::runtime_error);
    EXPECT_EQ(**ask(3).get(), 3);
}

TEST(CacheLimits, ACacheThatKeepsNothingStillSharesLoads) {
    CacheCase c({0, 0s});
    Loads loads;
    kit::IoThread io(2);
    Door door(io.executor());
    std::vector<std::future<Result<IntValue>>> answers;
    for (int i = 0; i < 20; ++i) answers.push_back(io.start(c.cache.get("k", [&] { return load(loads, 5, &door); }, Context{})));
    until([&] { return c.cache.stats().shared_loads == 19; });
    door.let_one_through();
    for (auto& a : answers) EXPECT_EQ(**a.get(), 5);
    EXPECT_EQ(loads.begun, 1);
    EXPECT_EQ(c.cache.find("k"), nullptr);
}

}  // namespace
}  // namespace homeostat
