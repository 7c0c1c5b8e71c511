#include "core/error.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <set>
#include <string>

namespace homeostat {
namespace {

constexpr int kClasses = static_cast<int>(ErrorClass::internal) + 1;

Error of(ErrorClass c) { return {.cls = c, .message = "x"}; }

TEST(Error, EveryClassHasItsOwnName) {
    std::set<std::string_view> names;
    for (int c = 0; c < kClasses; ++c) names.insert(to_string(static_cast<ErrorClass>(c)));
    EXPECT_EQ(names.size(), kClasses);
    EXPECT_EQ(to_string(ErrorClass::invalid), "invalid");
    EXPECT_EQ(to_string(ErrorClass::throttled), "throttled");
    EXPECT_EQ(to_string(ErrorClass::internal), "internal");
}

TEST(Error, WhatAPersonMustChangeIsNotRetried) {
    for (const auto c :
         {ErrorClass::invalid, ErrorClass::not_found, ErrorClass::auth, ErrorClass::db_permanent, ErrorClass::content}) {
        EXPECT_FALSE(of(c).retryable()) << to_string(c);
    }
    for (const auto c : {ErrorClass::transient, ErrorClass::timeout, ErrorClass::throttled, ErrorClass::db_transient}) {
        EXPECT_TRUE(of(c).retryable()) << to_string(c);
    }
}

TEST(Error, ThrottlingShutdownAndFencesCostNoAttempt) {
    for (const auto c : {ErrorClass::throttled, ErrorClass::unavailable, ErrorClass::cancelled, ErrorClass::fenced}) {
        EXPECT_TRUE(of(c).costs_no_attempt()) << to_string(c);
    }
    for (const auto c : {ErrorClass::transient, ErrorClass::timeout, ErrorClass::bad_answer, ErrorClass::content}) {
        EXPECT_FALSE(of(c).costs_no_attempt()) << to_string(c);
    }
}

TEST(Error, PrefixKeepsEverythingButTheText) {
    const Error e{.cls = ErrorClass::throttled,
                  .message = "slow down",
                  .origin = Origin::theirs,
                  .code = "429",
                  .retry_after = std::chrono::seconds(3)};
    const Error p = e.with_prefix("provider \"a\"");
    EXPECT_EQ(p.message, "provider \"a\": slow down");
    EXPECT_EQ(p.cls, e.cls);
    EXPECT_EQ(p.origin, e.origin);
    EXPECT_EQ(p.code, e.code);
    EXPECT_EQ(p.retry_after, e.retry_after);
    EXPECT_EQ(p.with_prefix("provider \"a\"").message, p.message) << "who is known is not named again";
    EXPECT_EQ(p.with_prefix("provider").message, "provider: provider \"a\": slow down");
}

TEST(Result, HoldsEitherSide) {
    Result<std::string> good = std::string("v");
    ASSERT_TRUE(good.ok());
    EXPECT_EQ(*good, "v");
    EXPECT_EQ(good->size(), 1U);

    Result<std::string> bad = invalid("no such column");
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().cls, ErrorClass::invalid);
    EXPECT_EQ(bad.error().origin, Origin::user);

    EXPECT_TRUE(Status().ok());
    EXPECT_FALSE(Status(internal_error("broken")).ok());
}

TEST(NearestName, OffersASlipAndNotAGuess) {
    constexpr std::array<std::string_view, 4> known{"source", "target", "provider", "content"};
    EXPECT_EQ(nearest_name("sorce", known), "source");
    EXPECT_EQ(nearest_name("targte", known), "target");
    EXPECT_EQ(nearest_name("colour", known), "");
    EXPECT_EQ(did_you_mean("providr", known), " (did you mean \"provider\"?)");
    EXPECT_EQ(did_you_mean("zzz", known), "");
    EXPECT_EQ(nearest_name("source", {}), "");
}

RC_GTEST_PROP(NearestName, FindsTheWordWithOneLetterLeftOut, ()) {
    constexpr std::array<std::string_view, 3> known{"chunk_overlap", "document_prefix", "requests_per_minute"};
    const std::string_view word = known[*rc::gen::inRange<std::size_t>(0, known.size())];
    std::string slip(word);
    slip.erase(*rc::gen::inRange<std::size_t>(0, slip.size()), 1);
    RC_ASSERT(nearest_name(slip, known) == word);
}

}  // namespace
}  // namespace homeostat
