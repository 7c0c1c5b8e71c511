#include "reconcilers/embed/base64.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace homeostat {

namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint32_t kBad = 0x80000000U;

// One table for each of the four places of a group, already shifted: a group is three look-ups or-ed together, and a bad
// character shows in the top bit, which is tested once a group.
using Table = std::array<std::uint32_t, 256>;
constexpr Table shifted(int bits) {
    Table t{};
    t.fill(kBad);
    for (std::uint32_t i = 0; i < 64; ++i) t[static_cast<unsigned char>(kAlphabet[i])] = i << bits;
    return t;
}
constexpr Table kFirst = shifted(18);
constexpr Table kSecond = shifted(12);
constexpr Table kThird = shifted(6);
constexpr Table kFourth = shifted(0);

std::string_view without_padding(std::string_view text) noexcept {
    if (text.size() % 4 != 0) return text;
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
    return text;
}

}  // namespace

std::size_t base64_decoded_size(std::string_view text) noexcept { return without_padding(text).size() * 3 / 4; }

bool base64_decode(std::string_view text, std::byte* out) noexcept {
    text = without_padding(text);
    const auto* in = reinterpret_cast<const unsigned char*>(text.data());
    const std::size_t groups = text.size() / 4;
    for (std::size_t i = 0; i < groups; ++i, in += 4, out += 3) {
        const std::uint32_t v = kFirst[in[0]] | kSecond[in[1]] | kThird[in[2]] | kFourth[in[3]];
        if ((v & kBad) != 0) return false;
        out[0] = static_cast<std::byte>(v >> 16U);
        out[1] = static_cast<std::byte>(v >> 8U);
        out[2] = static_cast<std::byte>(v);
    }
    const std::size_t left = text.size() % 4;
    if (left == 0) return true;
    if (left == 1) return false;
    const std::uint32_t v = kFirst[in[0]] | kSecond[in[1]] | (left == 3 ? kThird[in[2]] : 0U);
    if ((v & kBad) != 0) return false;
    out[0] = static_cast<std::byte>(v >> 16U);
    if (left == 3) out[1] = static_cast<std::byte>(v >> 8U);
    return true;
}

bool base64_decode_floats(std::string_view text, std::span<float> out) noexcept {
    if (base64_decoded_size(text) != out.size_bytes()) return false;
    if (!base64_decode(text, reinterpret_cast<std::byte*>(out.data()))) return false;
    if constexpr (std::endian::native == std::endian::big) {
        for (float& f : out) {
            std::uint32_t bits = 0;
            std::memcpy(&bits, &f, sizeof bits);
            bits = __builtin_bswap32(bits);
            std::memcpy(&f, &bits, sizeof bits);
        }
    }
    return true;
}

void base64_append(std::string& out, std::span<const std::byte> bytes) {
    const std::size_t at = out.size();
    out.resize(at + (bytes.size() + 2) / 3 * 4);
    char* to = out.data() + at;
    std::size_t i = 0;
    const auto byte = [&](std::size_t k) { return std::to_integer<std::uint32_t>(bytes[k]); };
    for (; i + 3 <= bytes.size(); i += 3, to += 4) {
        const std::uint32_t v = byte(i) << 16U | byte(i + 1) << 8U | byte(i + 2);
        to[0] = kAlphabet[v >> 18U];
        to[1] = kAlphabet[v >> 12U & 63U];
        to[2] = kAlphabet[v >> 6U & 63U];
        to[3] = kAlphabet[v & 63U];
    }
    if (i == bytes.size()) return;
    const bool two = i + 2 == bytes.size();
    const std::uint32_t v = byte(i) << 16U | (two ? byte(i + 1) << 8U : 0U);
    to[0] = kAlphabet[v >> 18U];
    to[1] = kAlphabet[v >> 12U & 63U];
    to[2] = two ? kAlphabet[v >> 6U & 63U] : '=';
    to[3] = '=';
}

}  // namespace homeostat
