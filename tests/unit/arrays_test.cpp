// Binary arrays, byte by byte where the layout is the point; what the server makes of them is asked in store_pgtest.
#include "store/pg/arrays.hpp"

#include <gtest/gtest.h>

#include "store/pg/text_array.hpp"

namespace homeostat {
namespace {

std::string hex(const Bytes& bytes) {
    std::string out;
    for (const std::byte b : bytes) {
        constexpr char kDigits[] = "0123456789abcdef";
        out += kDigits[std::to_integer<int>(b) >> 4];
        out += kDigits[std::to_integer<int>(b) & 15];
    }
    return out;
}

TEST(Arrays, ABigintArray) {
    const std::vector<std::int64_t> values{1, -1};
    EXPECT_EQ(hex(binary_array(values)),
              "00000001"
              "00000000"
              "00000014"
              "00000002"
              "00000001"
              "00000008"
              "0000000000000001"
              "00000008"
              "ffffffffffffffff");
}

TEST(Arrays, AnEmptyArrayHasNoDimension) {
    EXPECT_EQ(hex(binary_array(std::vector<std::int64_t>{})),
              "00000000"
              "00000000"
              "00000014");
    EXPECT_EQ(hex(binary_matrix({}, 0)),
              "00000000"
              "00000000"
              "00000019");
}

TEST(Arrays, NullIsALengthOfMinusOne) {
    const std::vector<std::optional<std::string_view>> values{std::nullopt, ""};
    EXPECT_EQ(hex(binary_array(values)),
              "00000001"
              "00000001"
              "00000019"
              "00000002"
              "00000001"
              "ffffffff"
              "00000000");
}

TEST(Arrays, AVectorCarriesItsWidth) {
    const float values[] = {1.0F, -2.0F};
    const std::vector<const float*> rows{values, nullptr};
    EXPECT_EQ(hex(binary_vectors(rows, 2, VectorType::vector, 0x4242)),
              "00000001"
              "00000001"
              "00004242"
              "00000002"
              "00000001"
              "0000000c"
              "0002"
              "0000"
              "3f800000"
              "c0000000"
              "ffffffff");
    EXPECT_EQ(hex(binary_vectors(rows, 2, VectorType::halfvec, 0x4242)).substr(40),
              "00000008"
              "0002"
              "0000"
              "3c00"
              "c000"
              "ffffffff");
}

TEST(TextArray, ThereAndBackWhateverIsInIt) {
    const std::vector<std::string> odd{"", "a", "a,b", "{}", "\"quoted\"", "back\\slash", "NULL", " blank ", "ünïcödé\n"};
    EXPECT_EQ(parse_text_array(format_text_array(odd)), odd);
    EXPECT_TRUE(parse_text_array("{}").empty());
    EXPECT_EQ(parse_text_array("{a,NULL,\"NULL\"}"), (std::vector<std::string>{"a", "", "NULL"}));
}

}  // namespace
}  // namespace homeostat
