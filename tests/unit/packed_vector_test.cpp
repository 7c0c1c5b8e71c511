#include "reconcilers/gateway/packed_vector.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace homeostat {
namespace {

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
    std::vector<std::uint32_t> out;
    for (const float f : values) out.push_back(std::bit_cast<std::uint32_t>(f));
    return out;
}

std::vector<float> unit_vector(std::size_t dimensions) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> out(dimensions);
    float norm = 0;
    for (float& f : out) {
        f = normal(random);
        norm += f * f;
    }
    for (float& f : out) f /= std::sqrt(norm);
    return out;
}

RC_GTEST_PROP(PackedVector, GivesEveryBitBackCompressedOrNot, (std::vector<std::uint32_t> raw)) {
    std::vector<float> values;
    for (const std::uint32_t b : raw) values.push_back(std::bit_cast<float>(b));
    RC_ASSERT(bits(PackedVector(values).values()) == raw);
    RC_ASSERT(bits(PackedVector(values, 0).values()) == raw);
}

TEST(PackedVector, KeepsTheEdgesOfFloats) {
    using L = std::numeric_limits<float>;
    std::vector<float> values;
    for (int i = 0; i < 200; ++i) {
        for (const float f : {0.0F, -0.0F, L::denorm_min(), -L::denorm_min(), L::min(), L::max(), L::lowest(), L::infinity(),
                              -L::infinity(), L::quiet_NaN(), L::epsilon(), 1.0F}) {
            values.push_back(f);
        }
    }
    const PackedVector packed(values, 1'000);
    EXPECT_TRUE(packed.compressed());
    EXPECT_EQ(packed.dimensions(), values.size());
    EXPECT_EQ(bits(packed.values()), bits(values));
}

TEST(PackedVector, CompressesAboveTheThresholdOnlyAndOnlyWhereItHelps) {
    const std::vector<float> values = unit_vector(1'536);
    const PackedVector plain(values, 1'536 * 4);
    const PackedVector packed(values, 1'536 * 4 - 1);
    EXPECT_FALSE(plain.compressed());
    EXPECT_TRUE(packed.compressed());
    EXPECT_LT(packed.bytes(), plain.bytes() * 88 / 100);
    RecordProperty("saved", fmt::format("{} of {} bytes", packed.bytes(), plain.bytes()));
    EXPECT_EQ(bits(packed.values()), bits(values));

    std::mt19937 random(5);
    std::vector<float> noise(512);
    for (float& f : noise) f = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    EXPECT_FALSE(PackedVector(noise, 0).compressed());
    EXPECT_EQ(bits(PackedVector(noise, 0).values()), bits(noise));
    EXPECT_TRUE(PackedVector().values().empty());
}

}  // namespace
}  // namespace homeostat
