// Claims of many keys at once, as batches make them, and all of the cache under threads.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/cache_case.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

using Keys = std::vector<std::string>;
using Indexes = std::vector<std::size_t>;

struct Claims : CacheCase, testing::Test {
    kit::IoThread io{1};
};

int number_of(const std::string& key) { return std::stoi(key.substr(1)); }

// A batch as the factory runs it: loads what it owns, then waits for the rest, and asks again for what came to nothing.
asio::awaitable<Result<int>> batch(IntCache& cache, Keys keys, Loads& loads, Door* door) {
    int sum = 0;
    while (!keys.empty()) {
        IntCache::Claim claim = cache.claim(keys);
        for (const std::size_t i : claim.owned()) {
            const Result<int> loaded = co_await load(loads, number_of(keys[i]), door);
            claim.fulfil(i, *loaded);
        }
        Keys again;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            IntValue value = claim.value(i);
            if (!value) {
                const Context context;
                Result<IntValue> waited = co_await claim.wait(i, context);
                if (!waited) co_return std::move(waited).error();
                value = *std::move(waited);
            }
            if (value) {
                sum += *value;
            } else {
                again.push_back(keys[i]);
            }
        }
        keys = again;
    }
    co_return sum;
}

TEST_F(Claims, SayWhatIsThereWhatToLoadAndWhatOthersLoad) {
    cache.put("k1", 1);
    IntCache::Claim first = cache.claim({"k1", "k2"});
    IntCache::Claim second = cache.claim({"k2", "k3", "k1", "k3"});
    EXPECT_EQ(*first.value(0), 1);
    EXPECT_EQ(first.owned(), Indexes{1});
    EXPECT_EQ(second.owned(), Indexes{1}) << "a key that is there twice is owned once";
    EXPECT_EQ(second.awaited(), Indexes{0});
    EXPECT_EQ(*second.value(2), 1);
    second.fulfil(1, 3);
    EXPECT_EQ(*second.value(3), 3);
    auto waiting = io.start(second.wait(0, Context{}));
    first.fulfil(1, 2);
    EXPECT_EQ(**waiting.get(), 2);
    EXPECT_EQ(*cache.find("k2"), 2);
    EXPECT_EQ(cache.stats().shared_loads, 1U);
}

TEST_F(Claims, DestroyedWithWhatTheyOweLetTheOthersAskAgain) {
    std::optional<IntCache::Claim> owner(cache.claim({"k1"}));
    IntCache::Claim other = cache.claim({"k1"});
    auto waiting = io.start(other.wait(0, Context{}));
    owner.reset();
    const Result<IntValue> got = waiting.get();
    ASSERT_TRUE(got);
    EXPECT_EQ(*got, nullptr);
    EXPECT_EQ(cache.claim({"k1"}).owned(), Indexes{0}) << "whoever asks again owns it";
}

TEST_F(Claims, HandAnErrorToThoseWhoWait) {
    IntCache::Claim owner = cache.claim({"k1"});
    IntCache::Claim other = cache.claim({"k1"});
    owner.fail(0, Error{ErrorClass::too_large, "split it"});
    EXPECT_EQ(io.run(other.wait(0, Context{})).error().cls, ErrorClass::too_large);
    EXPECT_EQ(cache.find("k1"), nullptr);
}

TEST_F(Claims, WaitingGivesUpWhatIsStillOwned) {
    IntCache::Claim a = cache.claim({"k1", "k2"});
    IntCache::Claim b = cache.claim({"k2", "k3", "k1"});
    auto a_waits = io.start(a.wait(0, Context{}));
    EXPECT_EQ(*a_waits.get(), nullptr) << "it would wait for itself for ever";
    EXPECT_EQ(*io.run(b.wait(0, Context{})), nullptr);
    EXPECT_EQ(cache.claim({"k1", "k2", "k3"}).owned(), (Indexes{0, 1, 2}));
}

TEST_F(Claims, OfAnotherVersionAreHandedOverAndNotKept) {
    IntCache::Claim owner = cache.claim({"k1"});
    IntCache::Claim other = cache.claim({"k1"});
    cache.set_version(2);
    IntCache::Claim newer = cache.claim({"k1"});
    EXPECT_EQ(newer.owned(), Indexes{0});
    owner.fulfil(0, 1);
    EXPECT_EQ(**io.run(other.wait(0, Context{})), 1);
    EXPECT_EQ(cache.find("k1"), nullptr);
    newer.fulfil(0, 2);
    EXPECT_EQ(*cache.find("k1"), 2);
}

TEST_F(Claims, OutliveTheirCache) {
    auto short_lived =
        std::make_unique<IntCache>("short", CacheSettings{1'000, 0s}, [](const int&) { return 4U; }, clock, metrics);
    const IntCache::Claim claim = short_lived->claim({"k1"});
    short_lived.reset();
    EXPECT_EQ(claim.owned(), Indexes{0});
}

// Each owns what the other waits for, on one thread: both must finish, and nothing is loaded twice.
TEST_F(Claims, TwoBatchesInOppositeOrderDoNotWaitForEachOther) {
    Loads loads;
    Door door(io.executor());
    IntCache::Claim k2_is_taken = cache.claim({"k2"});
    auto forth = io.start(batch(cache, {"k1", "k2"}, loads, &door));
    until([&] { return loads.begun == 1; });
    {
        const IntCache::Claim dropped = std::move(k2_is_taken);
    }
    auto back = io.start(batch(cache, {"k2", "k1"}, loads, &door));
    until([&] { return loads.begun == 2; });
    door.let_one_through();
    door.let_one_through();
    EXPECT_EQ(*forth.get(), 3);
    EXPECT_EQ(*back.get(), 3);
    EXPECT_EQ(loads.begun, 2);
}

asio::awaitable<Result<int>> many_batches(IntCache& cache, Loads& loads, unsigned seed) {
    std::mt19937 random(seed);
    int wrong = 0;
    for (int round = 0; round < 100; ++round) {
        Keys keys;
        int expected = 0;
        for (int i = 0; i < 20; ++i) {
            const int n = static_cast<int>(random() % 200);
            keys.push_back(fmt::format("k{}", n));
            expected += n;
        }
        const Result<int> sum = co_await batch(cache, keys, loads, nullptr);
        if (!sum || *sum != expected) ++wrong;
    }
    co_return wrong;
}

asio::awaitable<Result<int>> many_gets(IntCache& cache, Loads& loads, unsigned seed, std::stop_source& hasty) {
    std::mt19937 random(seed);
    int wrong = 0;
    for (int round = 0; round < 1'000; ++round) {
        const int n = static_cast<int>(random() % 200);
        const std::string key = fmt::format("k{}", n);
        const bool stopped = random() % 16 == 0;
        const Context context{.stop = stopped ? hasty.get_token() : std::stop_token{}};
        std::function<asio::awaitable<Result<int>>()> loader = [&loads, n] { return load(loads, n); };
        const Result<IntValue> value = co_await cache.get(key, loader, context);
        if (value ? **value != n : !stopped) ++wrong;
    }
    co_return wrong;
}

TEST(CacheUnderThreads, EveryoneGetsTheRightValueWhateverHappensMeanwhile) {
    CacheCase c({30'000, 50ms});
    Loads loads;
    std::stop_source hasty;
    kit::IoThread io(4);
    std::vector<std::future<Result<int>>> wrong;
    for (unsigned seed = 0; seed < 8; ++seed) {
        wrong.push_back(io.start(many_batches(c.cache, loads, seed)));
        wrong.push_back(io.start(many_gets(c.cache, loads, seed, hasty)));
    }
    for (std::uint64_t version = 0; version < 200; ++version) {
        c.clock.advance(1ms);
        if (version % 20 == 0) c.cache.set_version(version);
        c.cache.forget(fmt::format("k{}", version));
        EXPECT_LE(c.cache.stats().bytes, 30'000U);
        if (version == 100) hasty.request_stop();
        std::this_thread::yield();
    }
    for (auto& w : wrong) EXPECT_EQ(*w.get(), 0);
    EXPECT_GT(c.cache.stats().hits, 0U);
    EXPECT_LE(c.cache.stats().bytes, 30'000U);
}

// With nothing evicted or invalidated, each key is loaded once in the life of the cache, whoever asks for it and how.
TEST(CacheUnderThreads, NoKeyIsLoadedTwice) {
    CacheCase c;
    Loads loads;
    std::stop_source never;
    kit::IoThread io(4);
    std::vector<std::future<Result<int>>> wrong;
    for (unsigned seed = 0; seed < 8; ++seed) {
        wrong.push_back(io.start(many_batches(c.cache, loads, seed)));
        wrong.push_back(io.start(many_gets(c.cache, loads, seed, never)));
    }
    for (auto& w : wrong) EXPECT_EQ(*w.get(), 0);
    EXPECT_EQ(loads.begun, 200);
}

}  // namespace
}  // namespace homeostat
