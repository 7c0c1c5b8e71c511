// One vector as a cache keeps it: its floats bit for bit, compressed where it is large and that helps. Only the highest byte of
// each float is compressed (sign and exponent, alike in an embedding); the others are noise. It saves about a seventh. Immutable,
// and so safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace homeostat {

class PackedVector {
public:
    static constexpr std::size_t kNeverCompress = std::numeric_limits<std::size_t>::max();

    PackedVector() = default;
    // Vectors of more bytes than `compress_above` are compressed; those that would not get smaller stay as they are.
    explicit PackedVector(std::span<const float> values, std::size_t compress_above = kNeverCompress);

    std::size_t dimensions() const noexcept { return dimensions_; }
    std::size_t bytes() const noexcept { return sizeof(PackedVector) + bytes_.capacity(); }
    bool compressed() const noexcept { return bytes_.size() != dimensions_ * sizeof(float); }

    void copy_to(std::span<float> out) const;  // `out` has exactly dimensions() elements
    std::vector<float> values() const;

private:
    std::uint32_t dimensions_ = 0;
    std::vector<std::uint8_t> bytes_;
};

}  // namespace homeostat
