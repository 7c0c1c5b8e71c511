// Splits text into the pieces of a unigram vocabulary (SentencePiece), exactly as the built-in model's own tokenizer does.
//
// NFKC, then the segmentation of the greatest sum of scores over code points; a run of characters the vocabulary does not know
// is one unknown piece. Immutable after construction; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace homeostat {

class SentencePiece {
public:
    struct Piece {
        std::string text;  // UTF-8; U+2581 stands for a space and occurs only in front
        double score = 0;
    };
    static constexpr std::int32_t kUnknown = 0;
    // No text is read further than this; 128 pieces rarely reach past 1 KiB of it.
    static constexpr std::size_t kMaxBytes = 64 * 1024;

    // The index of a piece is its id; the first `reserved` never match text.
    SentencePiece(const std::vector<Piece>& pieces, std::size_t reserved);

    // The first `limit` ids. Ill-formed UTF-8 reads as U+FFFD. An empty text has none.
    std::vector<std::int32_t> encode(std::string_view text, std::size_t limit) const;

private:
    struct Node {
        std::int32_t id = -1;  // of the piece that ends here, -1 where none does
        double score = 0;
    };
    struct Lattice;

    std::uint32_t child(std::uint32_t node, char32_t symbol) const;
    void segment(std::u32string_view symbols, double& total, Lattice& lattice) const;

    std::vector<Node> nodes_;
    std::unordered_map<std::uint64_t, std::uint32_t> children_;  // (node, symbol) -> node
    std::vector<std::uint8_t> lengths_;                          // of each piece, in code points
};

}  // namespace homeostat
