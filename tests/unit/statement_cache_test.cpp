#include "store/pg/statement_cache.hpp"

#include <gtest/gtest.h>

#include <set>

namespace homeostat {
namespace {

using Use = StatementCache::Use;

TEST(StatementCacheTest, WhatComesOnceIsTextAndWhatComesAgainIsPrepared) {
    StatementCache cache;
    EXPECT_EQ(cache.use("a", "SELECT 1").use, Use::as_text);
    EXPECT_EQ(cache.use("a", "SELECT 1").use, Use::prepare);
    EXPECT_EQ(cache.use("a", "SELECT 1").use, Use::prepared);
}

TEST(StatementCacheTest, AnotherTextUnderTheSameNameBeginsAnew) {
    StatementCache cache;
    cache.use("a", "SELECT 1");
    cache.use("a", "SELECT 1");
    const StatementCache::Advice other = cache.use("a", "SELECT 2");
    EXPECT_EQ(other.use, Use::as_text);
    EXPECT_EQ(other.forget, std::vector<std::string>{"a"});
    EXPECT_EQ(cache.use("a", "SELECT 2").use, Use::prepare);
}

TEST(StatementCacheTest, WhatIsOutdatedOrCouldNotBePreparedBeginsAnew) {
    StatementCache cache;
    cache.use("a", "SELECT 1");
    cache.use("a", "SELECT 1");
    cache.outdate("a");
    EXPECT_EQ(cache.use("a", "SELECT 1").forget, std::vector<std::string>{"a"});
    cache.use("a", "SELECT 1");
    cache.drop("a");
    const StatementCache::Advice again = cache.use("a", "SELECT 1");
    EXPECT_EQ(again.use, Use::as_text);
    EXPECT_TRUE(again.forget.empty());
}

TEST(StatementCacheTest, TheLongestUnusedGoesFirstAndTheServerIsToldOnlyOfWhatItHas) {
    StatementCache cache(2);
    cache.use("once", "1");
    cache.use("kept", "2");
    cache.use("kept", "2");
    EXPECT_TRUE(cache.use("new", "3").forget.empty()) << "\"once\" was never prepared";
    cache.use("new", "3");
    EXPECT_EQ(cache.use("kept", "2").use, Use::prepared);
    EXPECT_EQ(cache.use("newer", "4").forget, std::vector<std::string>{"new"});
}

TEST(StatementCacheTest, ThousandsOfPipelinesNeverHaveMoreThanItsShareOfTheServer) {
    StatementCache cache(50);
    std::set<std::string> in_server;
    for (int i = 0; i < 20'000; ++i) {
        const std::string name = std::to_string(i * i % 3'001 % (i % 2 == 0 ? 40 : 1'000));
        const StatementCache::Advice advice = cache.use(name, name);
        for (const std::string& forgotten : advice.forget) ASSERT_EQ(in_server.erase(forgotten), 1U) << forgotten;
        if (advice.use == Use::prepare) {
            ASSERT_TRUE(in_server.insert(name).second) << name;
        }
        if (advice.use == Use::prepared) {
            ASSERT_TRUE(in_server.contains(name)) << name;
        }
        ASSERT_LE(in_server.size(), 50U);
        ASSERT_LE(cache.size(), 50U);
    }
}

}  // namespace
}  // namespace homeostat
