#include "reconcilers/chunk/segmenter.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "reconcilers/chunk/chunker.hpp"
#include "tests/conformance/chunker_texts.hpp"

namespace homeostat {
namespace {

const std::shared_ptr<const SegmentationRules>& rules() {
    static const auto made = *SegmentationRules::create();
    return made;
}

std::vector<std::size_t> cuts(std::string_view text, Segmenter::Path path,
                              std::size_t (Segmenter::*next)(std::size_t, std::size_t, bool)) {
    std::vector<std::size_t> all;
    for (Line line; line.next < text.size();) {
        line = line_at(text, line.next);
        Segmenter segmenter(*rules(), text, path);
        const bool ascii = is_ascii(text.substr(line.begin, line.end - line.begin));
        for (std::size_t at = line.begin; at < line.end;) all.push_back(at = (segmenter.*next)(at, line.end, ascii));
    }
    return all;
}

// Dense in what the sentence rules look at.
rc::Gen<std::string> ascii_text() {
    return rc::gen::container<std::string>(
        rc::gen::oneOf(rc::gen::elementOf(std::string(".?!.?!  aAbB1,;:-()\"'[]\t\n")), rc::gen::inRange<char>(0, 127)));
}

TEST(Segmenter, ShortCutForAsciiAgreesWithIcu) {
    EXPECT_TRUE(rc::check("sentences", [] {
        const auto text = *ascii_text();
        RC_ASSERT(cuts(text, Segmenter::Path::fast, &Segmenter::next_sentence) ==
                  cuts(text, Segmenter::Path::icu, &Segmenter::next_sentence));
    }));
    EXPECT_TRUE(rc::check("words", [] {
        const auto text = *ascii_text();
        RC_ASSERT(cuts(text, Segmenter::Path::fast, &Segmenter::next_word) ==
                  cuts(text, Segmenter::Path::icu, &Segmenter::next_word));
    }));
}

TEST(Segmenter, GraphemesAgreeWithIcuAtEveryByte) {
    EXPECT_TRUE(rc::check([] {
        const auto text = *random_text();
        Segmenter fast(*rules(), text);
        Segmenter icu(*rules(), text, Segmenter::Path::icu);
        for (std::size_t at = 0; at <= text.size(); ++at) {
            RC_ASSERT(fast.grapheme_floor(at) == icu.grapheme_floor(at));
            RC_ASSERT(fast.grapheme_ceil(at) == icu.grapheme_ceil(at));
            if (at < text.size() && fast.grapheme_floor(at) == at) RC_ASSERT(fast.next_grapheme(at) == icu.next_grapheme(at));
        }
        RC_ASSERT(fast.count_graphemes(0, text.size()) == icu.count_graphemes(0, text.size()));
    }));
}

TEST(Segmenter, FlagsOfAnyNumberAreTakenInPairs) {
    for (int count = 1; count < 9; ++count) {
        for (const std::string before : {"", "a", "\u0600", "\n"}) {
            const std::string text = before + times("\U0001F1E9", count) + "\u0301z";
            Segmenter fast(*rules(), text);
            Segmenter icu(*rules(), text, Segmenter::Path::icu);
            for (std::size_t at = 0; at <= text.size(); ++at) {
                EXPECT_EQ(fast.grapheme_floor(at), icu.grapheme_floor(at)) << count << " at " << at;
                EXPECT_EQ(fast.grapheme_ceil(at), icu.grapheme_ceil(at)) << count << " at " << at;
            }
        }
    }
}

TEST(Segmenter, SentencesOfKnownText) {
    const std::string text = "Mr. smith paid 3.14 (\"Really?\") dollars. Then U.S.A. won! \u00bfQu\u00e9? S\u00ed.";
    std::vector<std::string> found;
    Segmenter segmenter(*rules(), text);
    for (std::size_t at = 0; at < text.size();) {
        const auto next = segmenter.next_sentence(at, text.size(), false);
        found.push_back(text.substr(at, next - at));
        at = next;
    }
    EXPECT_EQ(found, (std::vector<std::string>{"Mr. smith paid 3.14 (\"Really?\") ", "dollars. ", "Then U.S.A. won! ",
                                               "\u00bfQu\u00e9? ", "S\u00ed."}));
    EXPECT_TRUE(segmenter.ends_sentence(0, text.size()));
    EXPECT_FALSE(segmenter.ends_sentence(0, 8));
}

TEST(Lines, EndWithEveryTerminator) {
    const std::string_view text = "a\nb\r\nc\rd";
    std::string seen;
    for (Line line; line.next < text.size();) {
        line = line_at(text, line.next);
        seen += std::string(text.substr(line.begin, line.end - line.begin)) + "|";
    }
    EXPECT_EQ(seen, "a|b|c|d|");
}

TEST(EstimateTokens, CountsLatinByFourBytesAndCjkByOne) {
    EXPECT_EQ(estimate_tokens(""), 0U);
    EXPECT_EQ(estimate_tokens("a"), 1U);
    EXPECT_EQ(estimate_tokens("four"), 1U);
    EXPECT_EQ(estimate_tokens("fours"), 2U);
    EXPECT_EQ(estimate_tokens("日本語の文"), 5U);
    EXPECT_EQ(estimate_tokens("한국어"), 3U);
    EXPECT_EQ(estimate_tokens("привет"), 3U);
}

TEST(EstimateTokens, IsMonotoneAndAtMostTheSumOfTheParts) {
    EXPECT_TRUE(rc::check([] {
        const auto a = *random_text();
        const auto b = *random_text();
        RC_ASSERT(estimate_tokens(a + b) >= std::max(estimate_tokens(a), estimate_tokens(b)));
        RC_ASSERT(estimate_tokens(a + b) <= estimate_tokens(a) + estimate_tokens(b));
        RC_ASSERT(estimate_tokens(a + b) + 1 >= estimate_tokens(a) + estimate_tokens(b));
    }));
}

TEST(MakeChunker, RefusesWhatCannotBe) {
    const auto unknown = make_chunker({.chunker = "sentense"});
    ASSERT_FALSE(unknown.ok());
    EXPECT_EQ(unknown.error().cls, ErrorClass::invalid);
    EXPECT_NE(unknown.error().message.find("did you mean \"sentence\"?"), std::string::npos) << unknown.error().message;
    EXPECT_FALSE(make_chunker({.size = 0}).ok());
    EXPECT_FALSE(make_chunker({.size = 100, .overlap = 50}).ok());
    EXPECT_TRUE(make_chunker({.size = 100, .overlap = 49}).ok());
    EXPECT_TRUE(make_chunker({.size = 1, .overlap = 0}).ok());
    EXPECT_FALSE(make_chunker({.size = UINT32_MAX, .overlap = UINT32_MAX}).ok());
    EXPECT_TRUE(make_chunker({.chunker = "whole", .size = 0}).ok());
}

}  // namespace
}  // namespace homeostat
