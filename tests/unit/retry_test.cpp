#include "reconcilers/factory/retry.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

const RetrySettings kSettings{500ms, 60'000ms, 5};

Error of(ErrorClass cls) { return {.cls = cls, .message = "it failed"}; }
BatchFate fate(ErrorClass cls, std::size_t documents = 10, int attempts = 0) {
    return after_failure(of(cls), {documents, attempts}, kSettings, 0.5).fate;
}

TEST(Retry, WhatSaysNothingAboutTheWorkGivesTheBatchBackHoweverOften) {
    for (const ErrorClass cls : {ErrorClass::throttled, ErrorClass::unavailable, ErrorClass::cancelled, ErrorClass::conflict,
                                 ErrorClass::db_transient, ErrorClass::db_resource}) {
        EXPECT_EQ(fate(cls), BatchFate::give_back) << to_string(cls);
        EXPECT_EQ(fate(cls, 1, 1'000), BatchFate::give_back) << to_string(cls);
    }
}

TEST(Retry, ABatchThatIsNotOursIsDropped) { EXPECT_EQ(fate(ErrorClass::fenced), BatchFate::drop); }

TEST(Retry, ContentIsBisectedDownToTheOneThatIsRefused) {
    EXPECT_EQ(fate(ErrorClass::content, 2), BatchFate::split);
    EXPECT_EQ(fate(ErrorClass::content, 1), BatchFate::dead_letter);
    EXPECT_EQ(fate(ErrorClass::too_large, 256), BatchFate::split);
    EXPECT_EQ(fate(ErrorClass::too_large, 1), BatchFate::dead_letter);
}

TEST(Retry, TheProvidersTroubleIsTriedAgainAndThenStopsTheRunButCondemnsNoDocument) {
    for (const ErrorClass cls : {ErrorClass::transient, ErrorClass::timeout, ErrorClass::local, ErrorClass::bad_answer}) {
        EXPECT_EQ(fate(cls, 1, 3), BatchFate::retry) << to_string(cls);
        EXPECT_EQ(fate(cls, 1, 4), BatchFate::fail_run) << to_string(cls);
    }
}

TEST(Retry, AnswersThatAreOfNoUseWhateverTheTextEndTheRunAtOnce) {
    Error e = of(ErrorClass::bad_answer);
    e.code = "ContractBroken";
    EXPECT_EQ(after_failure(e, {10, 0}, kSettings, 0.5).fate, BatchFate::fail_run);
}

TEST(Retry, WhatOnlyAPersonCanMendStopsTheRunAtOnce) {
    for (const ErrorClass cls : {ErrorClass::auth, ErrorClass::db_permanent, ErrorClass::invalid, ErrorClass::not_found}) {
        EXPECT_EQ(fate(cls), BatchFate::fail_run) << to_string(cls);
    }
}

TEST(Retry, AFaultOfOursThatOneDocumentProvokesIsIsolated) {
    EXPECT_EQ(fate(ErrorClass::internal, 10, 0), BatchFate::retry);
    EXPECT_EQ(fate(ErrorClass::internal, 10, 4), BatchFate::split);
    EXPECT_EQ(fate(ErrorClass::internal, 1, 4), BatchFate::dead_letter);
}

// A statement that was ended at its deadline says nothing about the database, but something about what it was asked for.
TEST(Retry, WhatTookTooLongIsHalvedAndEndsTheRunWhereItIsOneDocument) {
    Error e = of(ErrorClass::db_transient);
    e.code = "57014";
    const auto fate_of = [&](std::size_t documents, int attempts) {
        return after_failure(e, {documents, attempts}, kSettings, 0.5).fate;
    };
    EXPECT_EQ(fate_of(256, 0), BatchFate::split);
    EXPECT_EQ(fate_of(2, 7), BatchFate::split);
    EXPECT_EQ(fate_of(1, 0), BatchFate::retry);
    EXPECT_EQ(fate_of(1, 3), BatchFate::retry);
    EXPECT_EQ(fate_of(1, 4), BatchFate::fail_run);
}

TEST(Retry, WhoWaitsForTheEndOfARunIsKeptWaitingForARestartAndNotForMore) {
    const auto once = [](std::optional<std::chrono::milliseconds> retry_after) {
        Error e = of(ErrorClass::unavailable);
        e.retry_after = retry_after;
        return after_failure(e, {10, 0, true}, kSettings, 0.5).fate;
    };
    // The last time that is waited for while a breaker is open, at its longest, and the next at its shortest.
    for (const auto open : {2s, 10s, 20s}) EXPECT_EQ(once(open), BatchFate::give_back) << open.count();
    EXPECT_EQ(once(26s), BatchFate::fail_run);
    EXPECT_EQ(once(5min), BatchFate::fail_run) << "a quarantine";
    EXPECT_EQ(once(std::nullopt), BatchFate::fail_run) << "nobody knows when";
    EXPECT_EQ(after_failure(of(ErrorClass::unavailable), {10, 0}, kSettings, 0.5).fate, BatchFate::give_back);
}

TEST(Retry, WhoIsToldWhenToComeBackDoesNotComeEarlier) {
    Error e = of(ErrorClass::throttled);
    e.retry_after = 7s;
    EXPECT_GE(after_failure(e, {10, 0}, kSettings, 0.0).delay, 7s);
    EXPECT_GE(after_failure(of(ErrorClass::throttled), {10, 0}, kSettings, 0.0).delay, 500ms) << "without a hint it would spin";
}

RC_GTEST_PROP(Retry, TheWaitIsWithinTheJitterAndTheCap, ()) {
    const int attempts = *rc::gen::inRange(0, 1'000'000);
    const double random = *rc::gen::inRange(0, 1'000'000) / 1e6;
    const auto wait = full_jitter(attempts, 500ms, 60'000ms, random);
    RC_ASSERT(wait >= 0ms);
    RC_ASSERT(wait <= 60'000ms);
    if (attempts < 6) RC_ASSERT(wait <= 500ms * (1 << attempts));
    RC_ASSERT(wait <= full_jitter(attempts + 1, 500ms, 60'000ms, random));
}

// Whatever fails, however often, a batch ends: halves until it is one document, then a verdict.
RC_GTEST_PROP(Retry, EveryChainOfFailuresThatCountEnds, ()) {
    const auto cls = static_cast<ErrorClass>(*rc::gen::inRange(0, static_cast<int>(ErrorClass::internal) + 1));
    if (of(cls).costs_no_attempt() || cls == ErrorClass::conflict || cls == ErrorClass::db_transient ||
        cls == ErrorClass::db_resource)
        return;
    std::size_t documents = *rc::gen::inRange<std::size_t>(1, 1'025);
    int attempts = 0;
    for (int step = 0; step < 200; ++step) {
        switch (after_failure(of(cls), {documents, attempts}, kSettings, 0.5).fate) {
            case BatchFate::retry: ++attempts; break;
            case BatchFate::split:
                RC_ASSERT(documents > 1U);
                documents = (documents + 1) / 2;
                attempts = 0;
                break;
            case BatchFate::dead_letter: RC_ASSERT(documents == 1U); return;
            case BatchFate::drop:
            case BatchFate::fail_run: return;
            case BatchFate::give_back: RC_FAIL("a failure that counts was given back as though it did not");
        }
    }
    RC_FAIL("it went on for ever");
}

}  // namespace
}  // namespace homeostat
