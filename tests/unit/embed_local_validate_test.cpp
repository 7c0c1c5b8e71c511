// validate_embeddings: each way in which an answer can be wrong is found and named.
#include <gtest/gtest.h>

#include <limits>

#include "reconcilers/embed/embedder.hpp"

namespace homeostat {
namespace {

Embeddings answer(std::uint32_t dimensions, std::vector<float> values) {
    return {.dimensions = dimensions, .values = std::move(values), .tokens = 0, .model = "m"};
}

std::string reason(const Embeddings& e, std::size_t count, std::uint32_t dimensions) {
    const Status s = validate_embeddings(e, count, dimensions);
    if (s) return "";
    EXPECT_EQ(s.error().cls, ErrorClass::bad_answer);
    EXPECT_EQ(s.error().origin, Origin::theirs);
    return s.error().message;
}

TEST(ValidateEmbeddings, AcceptsWhatIsWhole) {
    EXPECT_EQ(reason(answer(2, {1, 0, 0.6F, -0.8F}), 2, 2), "");
    EXPECT_EQ(reason(answer(2, {1e-14F, 0, 1e14F, 1e14F}), 2, 2), "");
    EXPECT_EQ(reason(answer(2, {}), 0, 2), "");
    EXPECT_EQ(reason(answer(0, {}), 0, 2), "");
}

TEST(ValidateEmbeddings, NamesTheWrongWidthAndCount) {
    EXPECT_NE(reason(answer(3, {1, 0, 0}), 1, 2).find("have 3 dimensions, and 2 were declared"), std::string::npos);
    EXPECT_NE(reason(answer(2, {1, 0}), 2, 2).find("2 numbers, and 2 vectors of 2"), std::string::npos);
    EXPECT_NE(reason(answer(2, {1, 0, 1}), 1, 2), "");
    EXPECT_NE(reason(answer(2, {}), 1, 2), "");
    EXPECT_NE(reason(answer(2, {1, 0}), 0, 2), "");
}

TEST(ValidateEmbeddings, NamesTheNumberThatIsNotFinite) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    EXPECT_NE(reason(answer(2, {1, 0, 0, nan}), 2, 2).find("number 1 of vector 1"), std::string::npos);
    EXPECT_NE(reason(answer(2, {-infinity, 0}), 1, 2).find("number 0 of vector 0"), std::string::npos);
}

TEST(ValidateEmbeddings, NamesTheVectorThatNoDatabaseCanCompare) {
    EXPECT_NE(reason(answer(2, {1, 0, 3e-20F, 1e-20F}), 2, 2).find("vector 1 in the answer has the length 3.16e-20"),
              std::string::npos);
    EXPECT_NE(reason(answer(2, {3e20F, 1}), 1, 2).find("bytes in the wrong order"), std::string::npos);
    EXPECT_EQ(reason(answer(2, {1e-12F, 0, 1e12F, 0}), 2, 2), "");
}

TEST(ValidateEmbeddings, NamesTheVectorWithoutDirection) {
    EXPECT_NE(reason(answer(2, {1, 0, 0, -0.0F}), 2, 2).find("vector 1 in the answer is all zeros"), std::string::npos);
}

}  // namespace
}  // namespace homeostat
