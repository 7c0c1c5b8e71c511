#include "reconcilers/factory/writer_pressure.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kUid = 7;

class Pressure : public ::testing::Test {
protected:
    // One look every half second, at which the writers have changed `rows` more, all of them named unless the feed is full.
    bool look(std::int64_t more, bool full = false) {
        rows += more;
        if (!full) named += more;
        now += 500ms;
        return pressure.look(kUid, named, rows, full, now);
    }
    void answers(Duration each) {
        for (int i = 0; i < 100; ++i) pressure.answered(each);
    }
    // Answers come late, and much is changed.
    void press() {
        answers(100us);
        answers(3ms);
        look(0);
        look(5'000);
        look(5'000, true);
    }
    bool pressing() { return pressure.pressing(kUid, now); }

    WriterPressure pressure;
    SteadyTime now{SteadyTime(1h)};
    std::int64_t named = 1'000'000;
    std::int64_t rows = 5'000'000;
};

TEST_F(Pressure, TakesManyChangesTwiceAFullFeedAndSlowAnswers) {
    answers(100us);
    look(0);
    EXPECT_TRUE(pressure.watched(kUid));
    look(5'000);
    look(5'000, true);
    EXPECT_FALSE(pressing()) << "the machine has room for both";
    answers(3ms);
    look(5'000);
    EXPECT_FALSE(pressing()) << "healing keeps up with them";
    look(5'000, true);
    EXPECT_TRUE(pressing());
    EXPECT_FALSE(pressure.pressing(8, now));
}

TEST_F(Pressure, IsNotOneLargeStatement) {
    answers(100us);
    answers(3ms);
    for (int i = 0; i < 3; ++i) {
        look(0);
        look(20'000, true);
        EXPECT_FALSE(pressing());
        EXPECT_TRUE(pressure.watched(kUid));
        for (int quiet = 0; quiet < 4; ++quiet) look(0);
        EXPECT_FALSE(pressure.watched(kUid));
    }
}

TEST_F(Pressure, OfAFullFeedIsKnownByTheRowsAlone) {
    answers(100us);
    answers(3ms);
    look(0, true);
    look(600, true);
    look(600, true);
    EXPECT_TRUE(pressing());
    EXPECT_EQ(named, 1'000'000);
}

TEST_F(Pressure, EndsWhenTheyLetUpAndTellsSoOnce) {
    press();
    ASSERT_TRUE(pressing());
    EXPECT_FALSE(look(0, true)) << "a moment's rest";
    EXPECT_FALSE(look(0, true));
    EXPECT_FALSE(look(0, true));
    EXPECT_TRUE(pressing());
    EXPECT_TRUE(look(0, true));
    EXPECT_FALSE(pressing());
    EXPECT_FALSE(pressure.watched(kUid));
    EXPECT_FALSE(look(0, true));
}

TEST_F(Pressure, IsNotAStatementThatStatisticsTellOfLater) {
    answers(100us);
    answers(3ms);
    look(0);
    named += 10'000;
    look(0, true);
    rows += 10'000;
    look(0, true);
    EXPECT_FALSE(pressing());
}

// A single writer whose rows are told of once a second.
TEST_F(Pressure, IsSeenBetweenPauses) {
    answers(100us);
    answers(3ms);
    look(0, true);
    for (int i = 0; i < 10; ++i) {
        look(3'000, true);
        EXPECT_EQ(pressing(), i > 0);
        look(0, true);
    }
}

// While little is healed answers come fast: that does not say that there is room for more.
TEST_F(Pressure, IsHeldForLongerEachTime) {
    answers(100us);
    const auto held = [&] {
        answers(3ms);
        while (!pressing()) look(5'000, true);
        answers(100us);
        const SteadyTime since = now;
        while (pressing()) look(5'000, true);
        return now - since;
    };
    EXPECT_EQ(held(), 30s);
    EXPECT_EQ(held(), 60s);
    EXPECT_EQ(held(), 120s);
    held();
    held();
    EXPECT_EQ(held(), 10min);
}

TEST_F(Pressure, IsForgottenWithWhoeverLooked) {
    press();
    ASSERT_TRUE(pressing());
    now += 6s;
    EXPECT_FALSE(pressing()) << "the lease is another's now";
    EXPECT_TRUE(pressure.watched(kUid));
    pressure.forget(kUid);
    EXPECT_FALSE(pressure.watched(kUid));
}

TEST_F(Pressure, CountersThatAreSetBackAreNoChanges) {
    answers(100us);
    answers(3ms);
    look(0);
    look(-4'000'000, true);
    look(-400'000, true);
    EXPECT_FALSE(pressing());
}

TEST_F(Pressure, LearnsWhatADocumentCosts) {
    const auto of_a_thousand = [&] { return std::chrono::duration<double>(pressure.work(1'000)).count(); };
    for (int i = 0; i < 100; ++i) pressure.worked(256, 128ms);
    pressure.worked(1, 1s);  // says nothing about many
    EXPECT_NEAR(of_a_thousand(), 0.5, 0.01);
    for (int i = 0; i < 100; ++i) pressure.worked(256, 10s);
    EXPECT_NEAR(of_a_thousand(), 1.0, 0.01) << "mostly waiting";
}

}  // namespace
}  // namespace homeostat
