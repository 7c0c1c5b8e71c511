// Whose fault a failure is, as a pure question.
#include "reconcilers/gateway/blame.hpp"

#include <gtest/gtest.h>

#include "reconcilers/gateway/quotes.hpp"

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

std::string told_to_all(const std::string& message, const std::vector<std::string>& texts) {
    return without_quotes(Error{.cls = ErrorClass::auth, .message = message, .said = message}, texts).message;
}

TEST(Quotes, WhatIsQuotedOfATextIsToldToNobodyElse) {
    EXPECT_EQ(told_to_all("answered 429 (quota used up), saying \"too many\"; pay the bill", {"a text of somebody"}),
              "answered 429 (quota used up), saying \"too many\"; pay the bill");
    EXPECT_EQ(
        told_to_all("refused: [\"the patient has the measles\"], again", {"x", "On Monday the patient has the measles, said he"}),
        "refused: [\"...\"], again");
    EXPECT_EQ(told_to_all("refused 'Body 1', 'Body 2' and 1", {"Body 1", "Body 2", "1"}), "refused '...', '...' and 1");
    EXPECT_EQ(told_to_all("", {"", "abc"}), "");
    EXPECT_EQ(told_to_all("all of it", {"all of it"}), "...");
}

TEST(Quotes, NoLetterIsCutInTwo) {
    // The run of bytes begins within one letter and ends within another.
    EXPECT_EQ(told_to_all("<äöüäöüä>", {std::string("\xA4öüäöü\xC3")}), "<...>");
    EXPECT_EQ(told_to_all("<文書文書文書>", {"文書文書文書"}), "<...>");
}

TEST(Quotes, AHostileTextCostsNoMore) {
    const std::string message(2'000, 'a');
    EXPECT_EQ(told_to_all(message, {std::string(4'000'000, 'a')}), "...");
}

}  // namespace
}  // namespace homeostat
