#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/markdown_line.hpp"

namespace homeostat {
namespace {

std::vector<Chunk> markdown(std::string_view text, std::uint32_t size) {
    return (*make_chunker({.chunker = "markdown", .size = size, .unit = ChunkUnit::characters}))->chunk(text);
}

const Chunk* chunk_with(const std::vector<Chunk>& chunks, std::string_view part) {
    for (const auto& chunk : chunks) {
        if (chunk.text.find(part) != std::string_view::npos) return &chunk;
    }
    return nullptr;
}

std::string context_of(const std::vector<Chunk>& chunks, std::string_view part) {
    const auto* chunk = chunk_with(chunks, part);
    return chunk == nullptr ? "no chunk holds it" : chunk->context;
}

std::string filler(const std::string& name) {
    std::string text;
    for (int i = 0; i < 8; ++i) text += name + " sentence " + std::to_string(i) + " fills the section up. ";
    return text + "\n\n";
}

TEST(Markdown, GivesEachChunkThePathOfHeadingsAboveIt) {
    const std::string text = "Before all.\n\n# A\n\n" + filler("Alpha") + "## B\n\n" + filler("Beta") + "### C ###\n\n" +
                             filler("Gamma") + "## D\n\n" + filler("Delta") + "# E\n\n" + filler("Eps");
    const auto chunks = markdown(text, 200);
    EXPECT_EQ(context_of(chunks, "Before all"), "");
    EXPECT_EQ(context_of(chunks, "Alpha sentence 7"), "A");
    EXPECT_EQ(context_of(chunks, "Beta sentence 7"), "A > B");
    EXPECT_EQ(context_of(chunks, "Gamma sentence 7"), "A > B > C");
    EXPECT_EQ(context_of(chunks, "Delta sentence 7"), "A > D");
    EXPECT_EQ(context_of(chunks, "Eps sentence 7"), "E");
    const auto* begin_of_c = chunk_with(chunks, "### C");
    ASSERT_NE(begin_of_c, nullptr);
    EXPECT_EQ(begin_of_c->context, "A > B") << "its own heading is in the text already";
    EXPECT_EQ(begin_of_c->text.substr(0, 16), "### C ###\n\nGamma") << "a heading stays with what follows";
    EXPECT_EQ(chunk_with(chunks, "Delta sentence 7")->embedded_text().substr(0, 7), "A > D\n\n");
}

TEST(Markdown, JoinsSmallSectionsUnderTheirCommonHeading) {
    std::string text = "# Top\n\n";
    for (int i = 0; i < 12; ++i) text += "## S" + std::to_string(i) + "\n\nShort text.\n\n";
    const auto chunks = markdown(text, 120);
    EXPECT_LT(chunks.size(), 8U);
    for (const auto& chunk : chunks) {
        EXPECT_EQ(chunk.text[0], '#');
        EXPECT_EQ(chunk.context, chunk.start == 0 ? "" : "Top");
    }
}

TEST(Markdown, ReadsSetextHeadingsOfSeveralLines) {
    const std::string text = "A title\nof two lines\n====\n\n" + filler("One") + "Second\n---\n\n" + filler("Two") +
                             "- item\n---\n\n" + filler("Three");
    const auto chunks = markdown(text, 200);
    EXPECT_EQ(context_of(chunks, "One sentence 7"), "A title of two lines");
    EXPECT_EQ(context_of(chunks, "Two sentence 7"), "A title of two lines > Second");
    EXPECT_EQ(context_of(chunks, "Three sentence 7"), "A title of two lines > Second") << "behind a list --- is a rule";
}

TEST(Markdown, FindsNoHeadingsInFencesIndentedCodeOrFrontMatter) {
    const std::string text =
        "---\ntitle: front matter\n---\n\n# Real\n\n```sh\n# comment\nTitle\n---\n```\n\n    # indented\n\n~~~\n```\n# still "
        "code\n~~~\n\n" +
        filler("Body");
    EXPECT_EQ(context_of(markdown(text, 150), "Body sentence 7"), "Real");
    const std::string open = "# T\n\n````\n```\n# not closed by fewer\n" + filler("Code");
    EXPECT_EQ(context_of(markdown(open, 150), "Code sentence 7"), "T");
}

TEST(Markdown, CutsTablesListsAndCodeBetweenLines) {
    std::string text = "# T\n\n| name | value |\n|------|-------|\n";
    for (int i = 0; i < 40; ++i) text += "| row " + std::to_string(i) + ". Yes. | No. Maybe. |\n";
    text += "\n";
    for (int i = 0; i < 40; ++i) text += "- item " + std::to_string(i) + " of the list\n";
    text += "\n```\n";
    for (int i = 0; i < 40; ++i) text += "    call(" + std::to_string(i) + "); // Why? Because. So.\n";
    text += "```\n";
    const auto chunks = markdown(text, 200);
    EXPECT_GT(chunks.size(), 15U);
    for (const auto& chunk : chunks) {
        EXPECT_TRUE(chunk.start == 0 || text[chunk.start - 1] == '\n') << chunk.text;
        EXPECT_TRUE(chunk.end == text.size() || text[chunk.end] == '\n') << chunk.text;
    }
    EXPECT_EQ(chunk_with(chunks, "call(20)")->text.substr(0, 4), "    ") << "code keeps its indentation";
}

TEST(Markdown, LeavesOuterHeadingsOutWhereThePathWouldCrowdOutTheText) {
    const std::string text = "# " + std::string(60, 'o') + "\n\n## Inner\n\n" + filler("Text");
    const auto chunks = markdown(text, 120);
    EXPECT_EQ(context_of(chunks, "Text sentence 7"), "Inner");
    for (const auto& chunk : chunks) EXPECT_LE(chunk.embedded_text().size(), 120U);
}

TEST(MarkdownLine, IsWhatCommonMarkSays) {
    const auto kind = [](std::string_view line) { return classify(line).kind; };
    EXPECT_EQ(kind("#"), LineKind::heading);
    EXPECT_EQ(kind("   ## x"), LineKind::heading);
    EXPECT_EQ(kind("    ## x"), LineKind::indented);
    EXPECT_EQ(kind("####### x"), LineKind::text);
    EXPECT_EQ(kind("#tag"), LineKind::text);
    EXPECT_EQ(classify("# a # b ##").title, "a # b");
    EXPECT_EQ(classify("# c#").title, "c#");
    EXPECT_EQ(classify("## ##").title, "");
    EXPECT_EQ(kind("``` a`b"), LineKind::text);
    EXPECT_EQ(kind("~~~ a`b"), LineKind::fence);
    EXPECT_EQ(kind("---"), LineKind::underline);
    EXPECT_EQ(kind("- - -"), LineKind::rule);
    EXPECT_EQ(kind("***"), LineKind::rule);
    EXPECT_EQ(kind("== ="), LineKind::text);
    EXPECT_EQ(kind("-"), LineKind::underline);
    EXPECT_EQ(kind("+ a"), LineKind::item);
    EXPECT_EQ(kind("12) a"), LineKind::item);
    EXPECT_EQ(kind("12a"), LineKind::text);
    EXPECT_EQ(kind("\t- a"), LineKind::item);
    EXPECT_EQ(kind("> q"), LineKind::row);
    EXPECT_EQ(kind(" \t"), LineKind::blank);
    EXPECT_TRUE(closes_fence("````  ", '`', 3));
    EXPECT_FALSE(closes_fence("``", '`', 3));
    EXPECT_FALSE(closes_fence("``` x", '`', 3));
    EXPECT_FALSE(closes_fence("    ```", '`', 3));
}

}  // namespace
}  // namespace homeostat
