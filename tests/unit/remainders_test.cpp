// What batches have left over, and who asks for it.
#include "reconcilers/gateway/remainders.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using namespace std::chrono_literals;

class RemaindersTest : public ::testing::Test {
protected:
    // A job with so many texts of ten tokens each.
    Remainders::Cut cut(const int& job, std::size_t texts, bool may_wait = true, RequestRoom room = {64, 0},
                        Context context = {}) {
        const std::vector<std::uint64_t> tokens(texts, 10);
        return all.cut({&job, channels, tokens, room, may_wait, now}, [&] {
            offered = std::make_shared<Remainder>(channels, std::vector<std::string>(texts, "text"), texts * 10, context,
                                                  [this] { ++rung; });
            return offered;
        });
    }
    static std::size_t texts_of(const Remainders::Cut& cut) {
        return std::accumulate(cut.others.all().begin(), cut.others.all().end(), cut.own,
                               [](std::size_t n, const RemainderPtr& r) { return n + r->texts().size(); });
    }

    Remainders all;
    std::vector<const void*> channels{this};
    SteadyTime now{1s};
    RemainderPtr offered;
    int rung = 0;
    const int a = 0, b = 0, c = 0;
};

TEST_F(RemaindersTest, WhatFillsARequestDoesNotWait) {
    EXPECT_EQ(cut(a, 100).own, 64U);
    EXPECT_EQ(cut(a, 60).own, 60U) << "it is nearly full";
    EXPECT_EQ(offered, nullptr);
    EXPECT_EQ(cut(a, 36).own, 0U);
    EXPECT_NE(offered, nullptr);
    EXPECT_EQ(cut(b, 36, false).own, 36U);
}

TEST_F(RemaindersTest, OthersGoWithItWhereThatMakesNoRequestMore) {
    EXPECT_EQ(cut(a, 28).own, 0U);
    const RemainderPtr mine = offered;
    // 100 of 64 leave room for 28 in two requests.
    const Remainders::Cut first = cut(b, 100);
    EXPECT_EQ(first.own, 36U);
    EXPECT_THAT(first.others.all(), ElementsAre(mine));
    EXPECT_FALSE(all.withdraw(mine)) << "it has been taken";
}

TEST_F(RemaindersTest, NothingIsCutSmallerForTheSakeOfOthers) {
    EXPECT_EQ(cut(a, 36).own, 0U);
    const Remainders::Cut first = cut(b, 64);
    EXPECT_EQ(first.own, 64U);
    EXPECT_TRUE(first.others.empty());
    EXPECT_TRUE(all.withdraw(offered));
    EXPECT_FALSE(all.withdraw(offered));
}

TEST_F(RemaindersTest, TwoThatAreMoreThanARequestFillOne) {
    EXPECT_EQ(cut(a, 36).own, 0U);
    const Remainders::Cut last = cut(b, 36);
    EXPECT_EQ(last.own, 28U);
    EXPECT_EQ(texts_of(last), 64U);
    EXPECT_EQ(cut(b, 8).own, 0U) << "what it has left over now waits for the next";
    EXPECT_EQ(texts_of(cut(c, 36, false)), 44U);
}

TEST_F(RemaindersTest, TokensAreALimitToo) {
    const RequestRoom room{100, 500};
    EXPECT_EQ(cut(a, 20, true, room).own, 0U);
    const Remainders::Cut last = cut(b, 35, true, room);
    EXPECT_EQ(texts_of(last), 50U);
    EXPECT_EQ(last.own, 30U);
    EXPECT_EQ(cut(c, 60, true, room).own, 50U);
}

TEST_F(RemaindersTest, OfOtherChannelsNothingIsTaken) {
    EXPECT_EQ(cut(a, 28).own, 0U);
    const std::vector<const void*> mine = std::exchange(channels, {this, &a});
    EXPECT_TRUE(cut(b, 30, false).others.empty());
    channels = mine;
    EXPECT_FALSE(cut(b, 30, false).others.empty());
}

TEST_F(RemaindersTest, WhoIsNotEndedIsAskedForAlone) {
    EXPECT_EQ(cut(a, 28).own, 0U);
    const RemainderPtr mine = offered;
    {
        const Remainders::Cut lost = cut(b, 36, false);
    }
    EXPECT_EQ(rung, 1);
    const std::optional<RemainderEnd> end = mine->take_end();
    ASSERT_TRUE(end);
    EXPECT_FALSE(end->answer);
    mine->end({Result<Embeddings>(Error{}), 7});
    EXPECT_FALSE(mine->take_end()) << "the first end counts";
    EXPECT_EQ(rung, 1);
}

TEST_F(RemaindersTest, TellsWhenOthersAskedLast) {
    EXPECT_EQ(all.others_asked(&a), SteadyTime::min());
    cut(a, 64);
    EXPECT_EQ(all.others_asked(&a), SteadyTime::min());
    EXPECT_EQ(all.others_asked(&b), SteadyTime(1s));
    now = SteadyTime(2s);
    cut(b, 64);
    cut(b, 64);
    EXPECT_EQ(all.others_asked(&a), SteadyTime(2s));
    EXPECT_EQ(all.others_asked(&b), SteadyTime(1s));
}

TEST(SharesOf, AreInProportionAndExactlyTheWhole) {
    const std::vector<std::uint64_t> thirds{1, 1, 1};
    EXPECT_THAT(shares_of(100, thirds), ElementsAre(33, 33, 34));
    const std::vector<std::uint64_t> most{920, 40, 40};
    EXPECT_THAT(shares_of(1'000, most), ElementsAre(920, 40, 40));
    const std::vector<std::uint64_t> none{0, 0};
    EXPECT_THAT(shares_of(5, none), ElementsAre(5, 0));
    const std::vector<std::uint64_t> one{7};
    EXPECT_THAT(shares_of(0, one), ElementsAre(0));
    const std::vector<std::uint64_t> huge{1ULL << 40, 1ULL << 41};
    const auto shares = shares_of(1ULL << 50, huge);
    EXPECT_EQ(shares[0] + shares[1], 1ULL << 50);
}

}  // namespace
}  // namespace homeostat
