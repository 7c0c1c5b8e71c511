// Feature hashing: a text's words, pairs of neighbouring words and three-byte pieces of words, each adding a signed weight to the
// dimension its hash names; then unit length. No state, no model, the same on every machine.
//
// ASCII letters are folded to lower case; bytes above 127 count as letters, so any script works. A text without words (blank,
// punctuation) or whose features cancel out points along one dimension chosen by its hash: no vector is ever zero.
#pragma once

#include <cstdint>
#include <string_view>

namespace homeostat {

class FeatureHasher {
public:
    static constexpr std::uint32_t kMaxDimensions = 16000;  // what the vector type of pgvector holds
    static constexpr std::string_view kName = "hashing-v1";

    explicit FeatureHasher(std::uint32_t dimensions) : dimensions_(dimensions) {}

    // Writes `dimensions` floats of unit length.
    void embed(std::string_view text, float* row) const;

private:
    void add(std::uint64_t feature, float weight, float* row) const;
    void add_words(std::string_view text, float* row) const;

    std::uint32_t dimensions_;
};

}  // namespace homeostat
