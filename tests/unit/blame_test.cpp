// Whose fault a failure is, as a pure question.
#include "reconcilers/gateway/blame.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;

Error of(ErrorClass cls, std::string code = "") { return {.cls = cls, .message = "it failed", .code = std::move(code)}; }

TEST(Blame, WhatSaysNothingOfTheTextsIsNoneOfTheirs) {
    for (const ErrorClass cls : {ErrorClass::throttled, ErrorClass::unavailable, ErrorClass::cancelled, ErrorClass::local,
                                 ErrorClass::internal, ErrorClass::db_transient}) {
        EXPECT_FALSE(may_be_a_text(of(cls), true)) << to_string(cls);
    }
    for (const ErrorClass cls :
         {ErrorClass::content, ErrorClass::too_large, ErrorClass::transient, ErrorClass::timeout, ErrorClass::bad_answer}) {
        EXPECT_TRUE(may_be_a_text(of(cls), false)) << to_string(cls);
    }
}

TEST(Blame, ACredentialThatWasGoodMayBeRefusedForWhatATextSays) {
    EXPECT_FALSE(may_be_a_text(of(ErrorClass::auth), false));
    EXPECT_TRUE(may_be_a_text(of(ErrorClass::auth), true));
}

TEST(Blame, ATextIsCondemnedOnlyByRefusalsOfItAlone) {
    EXPECT_FALSE(enough({7, 0}, of(ErrorClass::content)));
    EXPECT_TRUE(enough({2, 1}, of(ErrorClass::content)));
    EXPECT_FALSE(enough({3, 1}, of(ErrorClass::transient))) << "a busy server may do that";
    EXPECT_TRUE(enough({4, 1}, of(ErrorClass::transient)));
    EXPECT_FALSE(enough({2, 1}, of(ErrorClass::bad_answer)));
    EXPECT_TRUE(enough({3, 1}, of(ErrorClass::bad_answer)));
}

TEST(Blame, WhatIsCondemnedIsOfContentWhateverTheStatusWas) {
    EXPECT_EQ(condemned(of(ErrorClass::transient, "500")).cls, ErrorClass::content);
    EXPECT_EQ(condemned(of(ErrorClass::too_large)).cls, ErrorClass::too_large);
}

TEST(Blame, AProviderThatRefusesAGoodTextIsAskedAgainAndADeclarationThatIsWrongIsNot) {
    EXPECT_EQ(provider_at_fault(of(ErrorClass::content), true, 1s).cls, ErrorClass::unavailable);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::content), true, 1s).retry_after, 1s);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::bad_answer, "answer"), true, 1s).cls, ErrorClass::unavailable);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::bad_answer, "answer"), false, 1s).code, kContractBroken);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::bad_answer, "width"), true, 1s).code, kContractBroken);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::invalid), false, 1s).cls, ErrorClass::invalid);
    EXPECT_EQ(provider_at_fault(of(ErrorClass::content), false, 1s).retry_after, std::nullopt) << "it may never have been right";
}

}  // namespace
}  // namespace homeostat
