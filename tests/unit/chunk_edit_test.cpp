// How many chunks an edit changes: the bar is two for an edit of one paragraph in a document of fifty chunks.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"

namespace homeostat {
namespace {

using Random = std::mt19937_64;
using Paragraphs = std::vector<std::string>;

std::size_t between(Random& random, std::size_t low, std::size_t high) { return low + random() % (high - low + 1); }

std::string sentence(Random& random) {
    std::string text(1, static_cast<char>('A' + between(random, 0, 25)));
    for (std::size_t n = between(random, 4, 18); n > 0; --n) {
        for (std::size_t k = between(random, 1, 8); k > 0; --k) text += static_cast<char>('a' + between(random, 0, 25));
        text += n > 1 ? " " : ". ";
    }
    return text;
}

std::string paragraph(Random& random) {
    std::string text;
    for (std::size_t n = between(random, 1, 9); n > 0; --n) text += sentence(random);
    return text;
}

std::string joined(const Paragraphs& paragraphs, bool headings) {
    std::string text;
    for (std::size_t i = 0; i < paragraphs.size(); ++i) {
        if (headings && i % 7 == 0) text += std::string(1 + i / 7 % 3, '#') + " Part " + std::to_string(i) + "\n\n";
        text += paragraphs[i] + "\n\n";
    }
    return text;
}

// A document of about fifty chunks.
Paragraphs document(Random& random, const Chunker& chunker, bool headings) {
    Paragraphs paragraphs;
    while (chunker.chunk(joined(paragraphs, headings)).size() < 50) {
        for (int i = 0; i < 10; ++i) paragraphs.push_back(paragraph(random));
    }
    return paragraphs;
}

std::size_t to_embed(const Chunker& chunker, const std::string& before, const std::string& after) {
    std::set<std::string> known;
    for (const auto& chunk : chunker.chunk(before)) known.insert(chunk.embedded_text());
    std::size_t fresh = 0;
    for (const auto& chunk : chunker.chunk(after)) fresh += known.contains(chunk.embedded_text()) ? 0 : 1;
    return fresh;
}

using Edit = std::function<void(Paragraphs&, std::size_t, Random&)>;

// Share of edits, out of `rounds`, that embed more than two chunks; and the most that any embedded.
std::pair<double, std::size_t> over_two(const std::string& name, std::size_t rounds, const Edit& edit) {
    const auto chunker = *make_chunker({.chunker = name, .size = 400});
    const bool headings = name == "markdown";
    Random random(20240607);
    std::size_t over = 0;
    std::size_t most = 0;
    Paragraphs paragraphs;
    for (std::size_t round = 0; round < rounds; ++round) {
        if (round % 20 == 0) paragraphs = document(random, *chunker, headings);
        Paragraphs edited = paragraphs;
        edit(edited, between(random, 0, paragraphs.size() - 1), random);
        const auto fresh = to_embed(*chunker, joined(paragraphs, headings), joined(edited, headings));
        over += fresh > 2 ? 1 : 0;
        most = std::max(most, fresh);
    }
    return {static_cast<double>(over) / static_cast<double>(rounds), most};
}

void change_a_word(Paragraphs& p, std::size_t i, Random& random) {
    const auto at = p[i].find(' ', between(random, 40, p[i].size()));
    if (at == std::string::npos || p[i].size() < 60) return void(p[i].insert(p[i].size() - 2, " indeed"));
    p[i].replace(at, 1, " changed ");
}
void change_the_first_word(Paragraphs& p, std::size_t i, Random&) { p[i] = "Edited: " + p[i]; }
void append_a_sentence(Paragraphs& p, std::size_t i, Random& random) { p[i] += sentence(random); }
void drop_the_end(Paragraphs& p, std::size_t i, Random&) { p[i].resize(p[i].size() / 2 + 20, 'x'); }
void rewrite(Paragraphs& p, std::size_t i, Random& random) { p[i] = paragraph(random); }

class Edits : public testing::TestWithParam<const char*> {};

// The bar. The share allowed is what the header calls a gap carried over the line, or a leaf that overflows twice.
TEST_P(Edits, InsideAParagraphEmbedTwoChunksAtMost) {
    const std::map<std::string, Edit> edits{
        {"a word", change_a_word}, {"a sentence more", append_a_sentence}, {"half of it gone", drop_the_end}};
    for (const auto& [what, edit] : edits) {
        const auto [share, most] = over_two(GetParam(), 400, edit);
        RecordProperty(what, std::to_string(share) + " most " + std::to_string(most));
        EXPECT_LE(share, 0.01) << what;
        EXPECT_LE(most, 5U) << what;
    }
}

// These give the gap before the paragraph another worth, so that now and then a third or fourth chunk is cut anew; never more of
// the document.
TEST_P(Edits, OfWholeParagraphsEmbedSeldomMoreThanTwo) {
    const std::map<std::string, Edit> edits{
        {"first word", change_the_first_word},
        {"rewritten", rewrite},
        {"inserted",
         [](Paragraphs& p, std::size_t i, Random& r) { p.insert(p.begin() + static_cast<std::ptrdiff_t>(i), paragraph(r)); }},
        {"removed", [](Paragraphs& p, std::size_t i, Random&) { p.erase(p.begin() + static_cast<std::ptrdiff_t>(i)); }}};
    for (const auto& [what, edit] : edits) {
        if (std::string(GetParam()) == "markdown" && (what == "inserted" || what == "removed")) continue;  // would move headings
        const auto [share, most] = over_two(GetParam(), 400, edit);
        RecordProperty(what, std::to_string(share) + " most " + std::to_string(most));
        EXPECT_LE(share, 0.15) << what;
        EXPECT_LE(most, 7U) << what;
    }
}

// No hash to tell the paragraphs apart: ordinals do, and an edit still stays where it is.
TEST_P(Edits, OfRepeatedTextStayLocalToo) {
    const auto chunker = *make_chunker({.chunker = GetParam(), .size = 400});
    Paragraphs paragraphs(300, "The same paragraph stands here three hundred times over. It says nothing new. It never does.");
    const auto before = joined(paragraphs, false);
    const auto chunks = chunker->chunk(before).size();
    EXPECT_GT(chunks, 15U);
    EXPECT_LT(chunks, 40U) << "and the chunks are well filled";
    paragraphs[137] += " Except for this one.";
    EXPECT_LE(to_embed(*chunker, before, joined(paragraphs, false)), 2U);
}

TEST_P(Edits, ChunksAreWellFilled) {
    const auto chunker = *make_chunker({.chunker = GetParam(), .size = 400});
    Random random(7);
    const auto text = joined(document(random, *chunker, false), false);
    const auto chunks = chunker->chunk(text);
    EXPECT_GT(static_cast<double>(estimate_tokens(text)) / static_cast<double>(chunks.size()), 0.55 * 400);
    std::size_t tiny = 0;
    for (const auto& chunk : chunks) tiny += estimate_tokens(chunk.text) < 400 / 8 ? 1 : 0;
    EXPECT_LE(tiny, 1U);
}

INSTANTIATE_TEST_SUITE_P(Local, Edits, testing::Values("sentence", "markdown"));

TEST(Sentence, KeepsParagraphsAndSentencesWhole) {
    Random random(11);
    const auto chunker = *make_chunker({.chunker = "sentence", .size = 120});
    for (int round = 0; round < 50; ++round) {
        Paragraphs paragraphs;
        for (int i = 0; i < 20; ++i) paragraphs.push_back(paragraph(random));
        const auto text = joined(paragraphs, false);
        for (const auto& chunk : chunker->chunk(text)) {
            EXPECT_EQ(chunk.text.back(), '.');
            EXPECT_TRUE(chunk.start == 0 || text[chunk.start - 1] == ' ' || text[chunk.start - 1] == '\n');
        }
        for (const auto& p : paragraphs) {
            if (estimate_tokens(p) > 120) continue;
            const auto at = text.find(p);
            const auto chunks = chunker->chunk(text);
            EXPECT_TRUE(std::any_of(chunks.begin(), chunks.end(),
                                    [&](const Chunk& c) { return c.start <= at && c.end + 1 >= at + p.size(); }));
        }
    }
}

}  // namespace
}  // namespace homeostat
