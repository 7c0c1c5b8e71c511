#include "store/pg/arrays.hpp"

#include <bit>
#include <cstring>

namespace homeostat {

namespace {

// Appends big-endian integers and raw bytes to one buffer reserved up front.
class Writer {
public:
    explicit Writer(std::size_t expected) { out_.reserve(expected); }

    void u16(std::uint16_t v) { be(v); }
    void u32(std::uint32_t v) { be(v); }
    void u64(std::uint64_t v) { be(v); }
    void raw(std::string_view s) {
        const auto* p = reinterpret_cast<const std::byte*>(s.data());
        out_.insert(out_.end(), p, p + s.size());
    }
    std::byte* extend(std::size_t n) {
        out_.resize(out_.size() + n);
        return out_.data() + out_.size() - n;
    }
    void header(std::uint32_t oid, std::size_t n, bool nulls) {
        u32(n == 0 ? 0 : 1);
        u32(nulls ? 1 : 0);
        u32(oid);
        if (n == 0) return;
        u32(static_cast<std::uint32_t>(n));
        u32(1);  // lower bound
    }
    Bytes take() { return std::move(out_); }

private:
    template <class U>
    void be(U v) {
        std::byte buffer[sizeof(U)];
        for (std::size_t i = 0; i < sizeof(U); ++i) buffer[i] = static_cast<std::byte>((v >> (8 * (sizeof(U) - 1 - i))) & 0xFF);
        out_.insert(out_.end(), buffer, buffer + sizeof(U));
    }
    Bytes out_;
};

constexpr std::size_t kHeader = 20;
constexpr std::uint32_t kNull = 0xFFFFFFFF;

// Round to nearest even, as pgvector's own cast does.
std::uint16_t to_half(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
    const std::uint32_t mantissa = bits & 0x7FFFFF;
    const int exponent = static_cast<int>((bits >> 23) & 0xFF) - 127;
    if (exponent == 128) return static_cast<std::uint16_t>(sign | 0x7C00 | (mantissa != 0 ? 0x200 : 0));
    if (exponent > 15) return static_cast<std::uint16_t>(sign | 0x7C00);
    if (exponent < -25) return sign;
    // The value as an integer of units of the last half bit, then rounded.
    const std::uint32_t full = exponent == -127 ? 0 : (mantissa | 0x800000);
    const int shift = exponent >= -14 ? 13 : -exponent - 1;
    const std::uint32_t kept = full >> shift;
    const std::uint32_t rest = full & ((1U << shift) - 1);
    const std::uint32_t half = 1U << (shift - 1);
    const std::uint32_t rounded = kept + ((rest > half || (rest == half && (kept & 1) != 0)) ? 1 : 0);
    const std::uint32_t base = exponent >= -14 ? static_cast<std::uint32_t>(exponent + 14) << 10 : 0;
    return static_cast<std::uint16_t>(sign | (base + rounded));
}

}  // namespace

Bytes binary_array(std::span<const std::int64_t> values) {
    Writer w(kHeader + values.size() * 12);
    w.header(kInt8Oid, values.size(), false);
    for (const std::int64_t v : values) {
        w.u32(8);
        w.u64(static_cast<std::uint64_t>(v));
    }
    return w.take();
}

Bytes binary_array(std::span<const std::optional<std::int64_t>> values) {
    Writer w(kHeader + values.size() * 12);
    w.header(kInt8Oid, values.size(), true);
    for (const std::optional<std::int64_t>& v : values) {
        w.u32(v ? 8 : kNull);
        if (v) w.u64(static_cast<std::uint64_t>(*v));
    }
    return w.take();
}

Bytes binary_array(std::span<const std::int32_t> values) {
    Writer w(kHeader + values.size() * 8);
    w.header(kInt4Oid, values.size(), false);
    for (const std::int32_t v : values) {
        w.u32(4);
        w.u32(static_cast<std::uint32_t>(v));
    }
    return w.take();
}

Bytes binary_array(std::span<const std::string_view> values, std::uint32_t oid) {
    std::size_t total = kHeader;
    for (const std::string_view v : values) total += 4 + v.size();
    Writer w(total);
    w.header(oid, values.size(), false);
    for (const std::string_view v : values) {
        w.u32(static_cast<std::uint32_t>(v.size()));
        w.raw(v);
    }
    return w.take();
}

Bytes binary_array(std::span<const std::optional<std::string_view>> values, std::uint32_t oid) {
    std::size_t total = kHeader;
    for (const auto& v : values) total += 4 + (v ? v->size() : 0);
    Writer w(total);
    w.header(oid, values.size(), true);
    for (const auto& v : values) {
        w.u32(v ? static_cast<std::uint32_t>(v->size()) : kNull);
        if (v) w.raw(*v);
    }
    return w.take();
}

Bytes binary_matrix(std::span<const std::string_view> values, std::size_t rows) {
    std::size_t total = kHeader + 8;
    for (const std::string_view v : values) total += 4 + v.size();
    Writer w(total);
    if (values.empty()) {
        w.header(kTextOid, 0, false);
        return w.take();
    }
    w.u32(2);
    w.u32(0);
    w.u32(kTextOid);
    for (const std::size_t n : {rows, values.size() / rows}) {
        w.u32(static_cast<std::uint32_t>(n));
        w.u32(1);
    }
    for (const std::string_view v : values) {
        w.u32(static_cast<std::uint32_t>(v.size()));
        w.raw(v);
    }
    return w.take();
}

Bytes binary_vectors(std::span<const float* const> rows, std::uint32_t dimensions, VectorType type, std::uint32_t oid) {
    const std::size_t width = type == VectorType::vector ? 4 : 2;
    Writer w(kHeader + rows.size() * (8 + dimensions * width));
    w.header(oid, rows.size(), true);
    for (const float* row : rows) {
        if (row == nullptr) {
            w.u32(kNull);
            continue;
        }
        w.u32(static_cast<std::uint32_t>(4 + dimensions * width));
        w.u16(static_cast<std::uint16_t>(dimensions));
        w.u16(0);
        std::byte* out = w.extend(dimensions * width);
        for (std::uint32_t i = 0; i < dimensions; ++i) {
            if (type == VectorType::vector) {
                const std::uint32_t big = __builtin_bswap32(std::bit_cast<std::uint32_t>(row[i]));
                std::memcpy(out + i * 4, &big, 4);
            } else {
                const std::uint16_t big = __builtin_bswap16(to_half(row[i]));
                std::memcpy(out + i * 2, &big, 2);
            }
        }
    }
    return w.take();
}

}  // namespace homeostat
