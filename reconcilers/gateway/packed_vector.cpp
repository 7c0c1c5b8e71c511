#include "reconcilers/gateway/packed_vector.hpp"

#include <zlib.h>

#include <bit>
#include <cassert>
#include <cstring>

namespace homeostat {

namespace {

constexpr std::size_t kWidth = sizeof(float);
constexpr std::size_t kLow = kWidth - 1;  // the bytes of a float that are noise, and stay as they are
constexpr int kLevel = 1;                 // the higher ones find nothing more

// The low bytes of all floats, then what zlib made of the high ones; nothing where that is not smaller.
std::vector<std::uint8_t> compress(std::span<const float> values) {
    const std::size_t n = values.size();
    const auto* raw = reinterpret_cast<const std::uint8_t*>(values.data());
    std::vector<std::uint8_t> high(n);
    for (std::size_t i = 0; i < n; ++i) high[i] = raw[i * kWidth + kLow];
    uLongf size = compressBound(n);
    std::vector<std::uint8_t> packed(size);
    if (compress2(packed.data(), &size, high.data(), n, kLevel) != Z_OK || size >= n) return {};
    std::vector<std::uint8_t> out(n * kLow + size);
    for (std::size_t i = 0; i < n; ++i) std::memcpy(&out[i * kLow], &raw[i * kWidth], kLow);
    std::memcpy(&out[n * kLow], packed.data(), size);
    return out;
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "sign and exponent are looked for in the last byte of a float");

PackedVector::PackedVector(std::span<const float> values, std::size_t compress_above)
    : dimensions_(static_cast<std::uint32_t>(values.size())) {
    if (values.empty()) return;
    if (values.size_bytes() > compress_above) bytes_ = compress(values);
    if (!bytes_.empty()) return;
    const auto* first = reinterpret_cast<const std::uint8_t*>(values.data());
    bytes_.assign(first, first + values.size_bytes());
}

void PackedVector::copy_to(std::span<float> out) const {
    assert(out.size() == dimensions_);
    if (bytes_.empty()) return;
    if (!compressed()) {
        std::memcpy(out.data(), bytes_.data(), bytes_.size());
        return;
    }
    const std::size_t n = dimensions_;
    std::vector<std::uint8_t> high(n);
    uLongf size = n;
    [[maybe_unused]] const int code = uncompress(high.data(), &size, &bytes_[n * kLow], bytes_.size() - n * kLow);
    assert(code == Z_OK && size == n);  // we wrote it ourselves, and it never left memory
    auto* raw = reinterpret_cast<std::uint8_t*>(out.data());
    for (std::size_t i = 0; i < n; ++i) {
        std::memcpy(&raw[i * kWidth], &bytes_[i * kLow], kLow);
        raw[i * kWidth + kLow] = high[i];
    }
}

std::vector<float> PackedVector::values() const {
    std::vector<float> out(dimensions_);
    copy_to(out);
    return out;
}

}  // namespace homeostat
