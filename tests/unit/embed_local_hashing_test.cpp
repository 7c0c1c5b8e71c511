// The hashing embedder's own promises; what it shares with the others is in the conformance suite.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "reconcilers/embed/hashing.hpp"

namespace homeostat {
namespace {

std::vector<float> hash(std::string_view text, std::uint32_t dimensions = 384) {
    std::vector<float> row(dimensions, NAN);
    FeatureHasher(dimensions).embed(text, row.data());
    return row;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

RC_GTEST_PROP(EmbedHashing, EveryTextHasUnitLengthInEveryWidth, (const std::string& text)) {
    const auto dimensions = *rc::gen::inRange<std::uint32_t>(1, FeatureHasher::kMaxDimensions + 1);
    const auto row = hash(text, dimensions);
    RC_ASSERT(std::fabs(dot(row, row) - 1.0) < 1e-5);
}

TEST(EmbedHashing, GivesADirectionWhereFeaturesCancelOrThereAreNone) {
    for (const char* text : {"", " ", "\t\n", "...", "?!", "\x01", "a", "ab cd"}) {
        for (const std::uint32_t dimensions : {1U, 2U, 3U, 16000U}) {
            const auto row = hash(text, dimensions);
            EXPECT_NEAR(dot(row, row), 1.0, 1e-6) << '"' << text << "\" in " << dimensions;
        }
    }
    EXPECT_NE(hash("..."), hash("?!"));
}

TEST(EmbedHashing, PutsTextsThatShareWordsNearEachOther) {
    const auto a = hash("the cat sat on the red mat in the kitchen");
    const auto near = hash("a cat sat in the kitchen, on a red mat");
    const auto far = hash("quarterly revenue grew by eleven percent");
    EXPECT_GT(dot(a, near), 0.6);
    EXPECT_LT(dot(a, far), 0.3);
}

TEST(EmbedHashing, FoldsCaseAndPunctuationButNotOrderAndWords) {
    EXPECT_EQ(hash("Hello, World!"), hash("hello world"));
    EXPECT_NE(hash("hello world"), hash("world hello"));
    EXPECT_NE(hash("hello world"), hash("hello word"));
    EXPECT_NE(hash("\xC3\xA9t\xC3\xA9"), hash("\xC3\xA0t\xC3\xA0"));
}

// Vectors in a database outlive the program that wrote them: a change here needs a new name of the model.
TEST(EmbedHashing, StaysTheSameFromReleaseToRelease) {
    const std::vector<float> expected{5 / 11.0F, -7 / 11.0F, 1 / 11.0F, 1 / 11.0F, 2 / 11.0F, -4 / 11.0F, 0, -5 / 11.0F};
    const auto row = hash("homeostat keeps embeddings true", 8);
    ASSERT_EQ(FeatureHasher::kName, "hashing-v1");
    for (std::size_t i = 0; i < row.size(); ++i) EXPECT_FLOAT_EQ(row[i], expected[i]) << i;
}

}  // namespace
}  // namespace homeostat
