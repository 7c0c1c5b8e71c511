// What chunker.hpp promises, for every chunker, unit, size and overlap. The judge of graphemes is ICU run once over the whole
// text, which shares nothing with how the chunkers ask.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/steps.hpp"
#include "tests/conformance/chunker_texts.hpp"

namespace homeostat {
namespace {

std::vector<std::size_t> grapheme_boundaries(std::string_view text) {
    UErrorCode status = U_ZERO_ERROR;
    std::unique_ptr<icu::BreakIterator> it(icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
    UText source = UTEXT_INITIALIZER;
    utext_openUTF8(&source, text.data(), static_cast<std::int64_t>(text.size()), &status);
    it->setText(&source, status);
    std::vector<std::size_t> boundaries;
    for (auto p = it->first(); p != icu::BreakIterator::DONE; p = it->next()) boundaries.push_back(static_cast<std::size_t>(p));
    utext_close(&source);
    return boundaries;
}

bool is_white(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t skip = white_space_at(text, at);
        if (skip == 0) return false;
        at += skip;
    }
    return true;
}

std::uint64_t units(std::string_view text, ChunkUnit unit) {
    return unit == ChunkUnit::tokens ? estimate_tokens(text) : grapheme_boundaries(text).size() - 1;
}

// An empty string where `chunks` keep every promise, else the one they break.
std::string broken_promise(std::string_view text, const ChunkSettings& settings, const std::vector<Chunk>& chunks) {
    const auto list = grapheme_boundaries(text);
    const auto boundary = [&](std::size_t p) { return std::binary_search(list.begin(), list.end(), p); };
    if (chunks.empty()) return is_white(text) ? "" : "no chunks for a text that is not blank";
    std::size_t covered = 0;
    const bool bounded = settings.chunker != "whole";
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        const Chunk& c = chunks[i];
        const std::string which = " (chunk " + std::to_string(i) + ")";
        if (c.start >= c.end || c.end > text.size()) return "bad offsets" + which;
        if (c.text.data() != text.data() + c.start || c.text.size() != c.end - c.start)
            return "text is not a view at the offsets" + which;
        if (!boundary(c.start) || !boundary(c.end)) return "cuts a grapheme" + which;
        if (is_white(c.text)) return "a blank chunk" + which;
        if (i > 0 && (c.start <= chunks[i - 1].start || c.end <= chunks[i - 1].end)) return "out of order" + which;
        if (c.start > covered && !is_white(text.substr(covered, c.start - covered))) return "lost text before it" + which;
        if (i > 0 && c.start < covered) {
            const auto repeated = units(text.substr(c.start, covered - c.start), settings.unit);
            if (!bounded || repeated > settings.overlap) return "repeats " + std::to_string(repeated) + which;
        }
        covered = c.end;
        if (!bounded || units(c.embedded_text(), settings.unit) <= settings.size) continue;
        const auto inner = grapheme_boundaries(c.text);
        bool large = false;
        for (std::size_t g = 1; g < inner.size(); ++g) {
            large = large || units(c.text.substr(inner[g - 1], inner[g] - inner[g - 1]), settings.unit) * 4 > settings.size;
        }
        if (!large) return "too large" + which;
    }
    return is_white(text.substr(covered)) ? "" : "lost text at the end";
}

std::vector<Chunk> chunks_of(const ChunkSettings& settings, std::string_view text) {
    auto chunker = make_chunker(settings);
    EXPECT_TRUE(chunker.ok()) << chunker.error().message;
    return (*chunker)->chunk(text);
}

bool same(const std::vector<Chunk>& a, const std::vector<Chunk>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Chunk& x, const Chunk& y) {
        return x.start == y.start && x.end == y.end && x.context == y.context && x.text == y.text;
    });
}

class ChunkerContract : public testing::TestWithParam<ChunkSettings> {};

TEST_P(ChunkerContract, HoldsForEveryAwkwardText) {
    for (const auto& [name, text] : awkward_texts()) {
        EXPECT_EQ(broken_promise(text, GetParam(), chunks_of(GetParam(), text)), "") << name;
    }
}

TEST_P(ChunkerContract, HoldsForRandomText) {
    const auto settings = GetParam();
    const auto chunker = *make_chunker(settings);
    const bool ok = rc::check([&] {
        const std::string text = *random_text();
        const std::string broken = broken_promise(text, settings, chunker->chunk(text));
        if (!broken.empty()) RC_FAIL(broken);
    });
    EXPECT_TRUE(ok);
}

// "whole" aside, whose chunks have no size, each holds its context too; as much of it as leaves half of the chunk to the text.
TEST_P(ChunkerContract, HoldsWithAContextBeforeEveryChunk) {
    const auto settings = GetParam();
    const auto chunker = *make_chunker(settings);
    const bool ok = rc::check([&] {
        const std::string text = *random_text();
        const std::string context = *random_text();
        const auto chunks = chunker->chunk(text, context);
        const std::string broken = broken_promise(text, settings, chunks);
        if (!broken.empty()) RC_FAIL(broken);
        for (const Chunk& c : chunks) {
            const std::string first = c.context.substr(0, c.context.find('\n'));
            RC_ASSERT(context.find(first) != std::string::npos || settings.chunker == "markdown");
        }
        RC_ASSERT(same(chunks, chunker->chunk(text, context)));
        RC_ASSERT(same(chunker->chunk(text, " \n"), chunker->chunk(text)));
    });
    EXPECT_TRUE(ok);
    if (settings.chunker != "whole" && settings.size - settings.overlap < 40) return;
    const auto told = chunker->chunk("A text.", "Title");
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].embedded_text(), "Title\n\nA text.");
}

// The narrowest chunks, where a context and an overlap leave less room than a grapheme takes: neither makes a chunk too large.
TEST_P(ChunkerContract, AGraphemeThatLeavesNoRoomHasNoOverlapBeforeIt) {
    const auto settings = GetParam();
    const std::string text = "# Title\n\u2028\r\n\r\n  \u0600\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902";
    const std::string context = "\u202b\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645";
    EXPECT_EQ(broken_promise(text, settings, (*make_chunker(settings))->chunk(text, context)), "");
}

TEST_P(ChunkerContract, GivesTheSameChunksAgainAndInEveryThread) {
    const auto chunker = *make_chunker(GetParam());
    for (const auto& [name, text] : awkward_texts()) {
        const auto once = chunks_of(GetParam(), text);
        std::vector<std::vector<Chunk>> results(4);
        std::vector<std::jthread> threads;
        for (auto& result : results) threads.emplace_back([&result, &chunker, &whole = text] { result = chunker->chunk(whole); });
        threads.clear();
        for (const auto& result : results) EXPECT_TRUE(same(once, result)) << name;
    }
}

TEST_P(ChunkerContract, BlankDocumentsHaveNoChunks) {
    for (const std::string text : {"", " ", "\n\r\n\t \v\f", "\u00a0\u2003\u3000\u2029\u0085"}) {
        EXPECT_TRUE(chunks_of(GetParam(), text).empty());
    }
    EXPECT_EQ(chunks_of(GetParam(), std::string_view("\0", 1)).size(), 1U) << "NUL is no white space";
}

TEST_P(ChunkerContract, TextThatFitsIsOneChunkWithoutTheWhiteSpaceAround) {
    const auto chunks = chunks_of(GetParam(), " \n ok\u00a0\n");
    ASSERT_EQ(chunks.size(), 1U);
    EXPECT_EQ(chunks[0].text, "ok");
    EXPECT_EQ(chunks[0].start, 3U);
    EXPECT_EQ(chunks[0].embedded_text(), "ok");
}

std::vector<ChunkSettings> all_settings() {
    std::vector<ChunkSettings> all{{.chunker = "whole"}};
    for (const char* name : {"fixed", "sentence", "markdown"}) {
        for (const auto unit : {ChunkUnit::tokens, ChunkUnit::characters}) {
            for (const auto& [size, overlap] :
                 std::vector<std::pair<std::uint32_t, std::uint32_t>>{{2, 0}, {9, 4}, {40, 0}, {40, 12}, {400, 50}}) {
                all.push_back({.chunker = name, .size = size, .overlap = overlap, .unit = unit});
            }
        }
    }
    return all;
}

std::string name_of(const testing::TestParamInfo<ChunkSettings>& info) {
    const auto& s = info.param;
    return s.chunker + "_" + (s.unit == ChunkUnit::tokens ? "tokens" : "characters") + "_" + std::to_string(s.size) + "_" +
           std::to_string(s.overlap);
}

INSTANTIATE_TEST_SUITE_P(All, ChunkerContract, testing::ValuesIn(all_settings()), name_of);

class LargeDocuments : public testing::TestWithParam<const char*> {};

// Ten times the text may take ten times the steps, and a few more for where it is cut. Anything quadratic takes a hundred times.
TEST_P(LargeDocuments, TakeStepsInProportion) {
#if defined(HOMEOSTAT_FAULT_POINTS)
    for (const auto& [name, unit_text] : repeated_texts()) {
        for (const auto unit : {ChunkUnit::tokens, ChunkUnit::characters}) {
            const auto chunker = *make_chunker({.chunker = GetParam(), .size = 400, .overlap = 150, .unit = unit});
            const auto steps = [&](std::size_t bytes) {
                std::string text;
                while (text.size() < bytes) text += unit_text;
                const std::uint64_t before = chunk_steps();
                const auto chunks = chunker->chunk(text);
                EXPECT_FALSE(chunks.empty());
                EXPECT_TRUE(is_white(std::string_view(text).substr(chunks.back().end))) << name;
                return chunk_steps() - before;
            };
            const std::uint64_t small = steps(100 << 10);
            EXPECT_LT(steps(1000 << 10), 20 * small + 1'000) << name << " small took " << small;
        }
    }
#else
    GTEST_SKIP() << "a release build counts no steps";
#endif
}

TEST_P(LargeDocuments, OfTenMegabytesKeepThePromises) {
    std::string text;
    while (text.size() < (10U << 20)) {
        for (const auto& part : awkward_parts()) text += part;
    }
    const ChunkSettings settings{.chunker = GetParam(), .overlap = 50, .unit = ChunkUnit::tokens};
    EXPECT_EQ(broken_promise(text, settings, chunks_of(settings, text)), "");
}

INSTANTIATE_TEST_SUITE_P(All, LargeDocuments, testing::Values("whole", "fixed", "sentence", "markdown"));

TEST(Overlap, RepeatsTheEndOfTheChunkBefore) {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "Sentence number " + std::to_string(i) + " is here. ";
    for (const char* name : {"fixed", "sentence", "markdown"}) {
        const auto chunks = chunks_of({.chunker = name, .size = 60, .overlap = 20, .unit = ChunkUnit::tokens}, text);
        ASSERT_GT(chunks.size(), 5U);
        for (std::size_t i = 1; i < chunks.size(); ++i) EXPECT_LT(chunks[i].start, chunks[i - 1].end) << name << " " << i;
    }
    const auto one_sentence = std::string(40, 'a') + " " + std::string(40, 'b') + " " + std::string(400, 'c');
    const auto words =
        chunks_of({.chunker = "sentence", .size = 100, .overlap = 45, .unit = ChunkUnit::characters}, one_sentence);
    ASSERT_GT(words.size(), 3U);
    EXPECT_LT(words.back().start, words[words.size() - 2].end) << "in the midst of a word the overlap is graphemes";
}

TEST(Fixed, FillsEveryWindowAndSharesASmallTail) {
    const std::string text(210, 'x');
    const auto chunks = chunks_of({.chunker = "fixed", .size = 100, .unit = ChunkUnit::characters}, text);
    ASSERT_EQ(chunks.size(), 3U);
    EXPECT_EQ(chunks[0].text.size(), 100U);
    EXPECT_EQ(chunks[1].text.size(), 55U);
    EXPECT_EQ(chunks[2].text.size(), 55U);
}

}  // namespace
}  // namespace homeostat
