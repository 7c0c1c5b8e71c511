// Divides a document, line by line, into the pieces that packing.hpp joins, and makes chunks of what it joined.
// One for each call of a chunker; one thread.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/measure.hpp"
#include "reconcilers/chunk/packing.hpp"
#include "reconcilers/chunk/segmenter.hpp"

namespace homeostat {

class Pieces {
public:
    Pieces(const ChunkSettings& settings, const SegmentationRules& rules, Segmenter& segmenter);

    // Lines in document order, ranges without their terminators. The first piece of a line gets at least the rank given; a prose
    // line is divided into sentences, a verbatim one keeps its indentation and stays whole while it fits.
    void prose(std::size_t begin, std::size_t end, Rank at_least = Rank::line);
    void verbatim(std::size_t begin, std::size_t end, Rank at_least = Rank::line);
    // One or more lines; `level` 1 to 6. What follows is glued to it. A chunk that begins with it has the context `above`, one
    // that begins behind it `path`.
    void heading(std::size_t begin, std::size_t end, int level, std::string above, std::string path);
    // The next piece comes after a blank line or the like.
    void raise(Rank rank) { pending_ = std::max(pending_, rank); }

    std::vector<Chunk> chunks() const;

private:
    void add(std::size_t begin, std::size_t end, std::uint8_t rank);
    void add_words(std::size_t begin, std::size_t end, std::uint8_t rank, std::uint64_t limit);
    void enter(std::string context);
    void push(std::size_t begin, std::size_t end, std::uint8_t rank);
    std::uint8_t take_rank(Rank at_least);
    std::size_t overlap_begin(std::size_t previous, std::size_t first) const;

    const SegmentationRules& rules_;
    ChunkUnit unit_;
    Segmenter& segmenter_;
    Measure measure_;
    std::uint64_t overlap_;
    std::uint64_t limit_;  // of a chunk, its context included, its overlap not
    std::vector<Piece> pieces_;
    std::vector<std::string> contexts_{""};
    std::vector<std::uint64_t> context_costs_{0};
    Rank pending_ = Rank::glue;
    bool after_heading_ = false;
    bool after_sentence_ = false;  // the last line ended with the end of a sentence
    std::uint32_t paragraphs_ = 0;  // ordinals for gap_priority
    std::uint32_t in_paragraph_ = 0;
};

}  // namespace homeostat
