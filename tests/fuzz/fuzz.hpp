// What every fuzz target is, and how it says that a promise is broken. Built with libFuzzer where HOMEOSTAT_FUZZ is on (docs in
// tests/fuzz/README.md); else with a main that plays the corpus that is kept beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace homeostat::fuzz {

inline void promise(bool kept, const char* what) {
    if (kept) return;
    std::fprintf(stderr, "a promise is broken: %s\n", what);
    std::abort();
}

inline bool continues(std::string_view text, std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U; }

// Decodes by itself, by the table of the Unicode standard (3-7): what it checks must not be asked whether it is right.
inline std::size_t letters_of(std::string_view text) {
    std::size_t letters = 0;
    for (std::size_t i = 0; i < text.size(); ++letters) {
        const auto first = static_cast<unsigned char>(text[i]);
        const auto second = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
        const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        promise(first < 0x80 || (first >= 0xC2 && first <= 0xF4), "a byte begins no letter");
        promise(i + length <= text.size(), "a letter is cut");
        for (std::size_t k = 1; k < length; ++k) promise(continues(text, i + k), "a letter is broken");
        promise(first != 0xE0 || second >= 0xA0, "a letter of three bytes is written too long");
        promise(first != 0xED || second <= 0x9F, "half of a pair is no letter");
        promise(first != 0xF0 || second >= 0x90, "a letter of four bytes is written too long");
        promise(first != 0xF4 || second <= 0x8F, "a letter is beyond the last");
        promise(first >= 0x20 && first != 0x7F, "a control is in the line");
        promise(first != 0xC2 || second >= 0xA0, "a control of the second kind is in the line");
        // Marks of direction: U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069.
        if (first == 0xE2 && (second == 0x80 || second == 0x81)) {
            const auto third = static_cast<unsigned char>(text[i + 2]);
            promise(second != 0x80 || !(third == 0x8E || third == 0x8F || (third >= 0xA8 && third <= 0xAE)),
                    "a mark of direction");
            promise(second != 0x81 || !(third >= 0xA6 && third <= 0xA9), "a mark that isolates a direction");
        }
        i += length;
    }
    return letters;
}

}  // namespace homeostat::fuzz
