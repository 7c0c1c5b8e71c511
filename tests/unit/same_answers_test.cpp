// Texts that have nothing in common and come back with the same vectors.
#include "reconcilers/gateway/same_answers.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <numeric>

namespace homeostat {
namespace {

using Texts = std::vector<std::string>;

// Each text with the vector of its number.
Embeddings of(const std::vector<int>& numbers) {
    Embeddings out;
    out.dimensions = 4;
    for (const int n : numbers) out.values.insert(out.values.end(), {1, static_cast<float>(n), 2, 3});
    return out;
}

Texts texts(int first, int count, const std::string& head = "Text ") {
    Texts out;
    for (int i = 0; i < count; ++i) out.push_back(fmt::format("{}{}", head, first + i));
    return out;
}

TEST(SameAnswers, OneVectorForAllIsFoundInAnAnswerAndAcrossAnswers) {
    SameAnswers at_once;
    const Status found = at_once.look(texts(0, 10), of(std::vector<int>(10, 7)));
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().cls, ErrorClass::bad_answer);
    EXPECT_EQ(found.error().code, bad_answer::kRepeated);
    SameAnswers one_by_one;
    for (int i = 0; i < 7; ++i) EXPECT_TRUE(one_by_one.look(texts(i, 1), of({7})));
    EXPECT_TRUE(one_by_one.look(texts(0, 1), of({7}))) << "the same text again";
    EXPECT_FALSE(one_by_one.look(texts(7, 1), of({7})));
    EXPECT_TRUE(one_by_one.look(texts(8, 1), of({8}))) << "well again";
    EXPECT_TRUE(one_by_one.look(texts(9, 1), of({7})));
}

TEST(SameAnswers, AnAnswerToOtherTextsIsNoAnswer) {
    SameAnswers same;
    EXPECT_TRUE(same.look(texts(0, 3), of({0, 1, 2})));
    EXPECT_TRUE(same.look(texts(50, 5), of({50, 51, 52, 53, 54})));
    EXPECT_TRUE(same.look(texts(0, 3), of({0, 1, 2}))) << "the same texts";
    EXPECT_FALSE(same.look(texts(10, 3), of({0, 1, 2})));
    EXPECT_FALSE(same.look(texts(13, 3), of({0, 1, 2})));
    EXPECT_TRUE(same.look(texts(16, 3), of({16, 17, 18})));
    EXPECT_TRUE(same.look({"Text 0", "Text 1", "other"}, of({0, 1, 2}))) << "one of them may be by right";
}

TEST(SameAnswers, TextsThatAModelMayTakeForOneAreNoFault) {
    SameAnswers same;
    const std::string long_head(300, 'x');
    EXPECT_TRUE(same.look(texts(0, 20, long_head), of(std::vector<int>(20, 7)))) << "it reads no further";
    EXPECT_TRUE(same.look({"A b.", "a B", "A-B", "ab", "AB!", "a, b", "(a) b", "A  B", "a_b"}, of(std::vector<int>(9, 8))));
    EXPECT_TRUE(same.look({"!!!", "...", "?", "-", "*", "()", "[]", "{}", "/"}, of(std::vector<int>(9, 9))));
    EXPECT_TRUE(same.look({"Alpha", "Beta", "Gamma"}, of({1, 2, 3})));
    EXPECT_TRUE(same.look({"ALPHA", "beta", "gamma."}, of({1, 2, 3})));
    EXPECT_TRUE(same.look({"你好", "世界"}, of({4, 4}))) << "it knows none of these words";
    EXPECT_TRUE(same.look({"谢谢", "再见"}, of({4, 4})));
    EXPECT_TRUE(same.look({}, of({})));
}

}  // namespace
}  // namespace homeostat
