// How much a text costs in the unit of the settings, as whole numbers that add up: the cost of two neighbouring pieces is exactly
// the sum of theirs. Tokens are counted in quarters, which are bytes plus one for each CJK character of three bytes; characters
// are grapheme clusters. Belongs to one thread, as its segmenter does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/segmenter.hpp"

namespace homeostat {

std::uint64_t quarter_tokens(std::string_view text) noexcept;

class Measure {
public:
    Measure(ChunkUnit unit, Segmenter& segmenter) : unit_(unit), segmenter_(segmenter) {}

    // `units` of the settings as a cost.
    std::uint64_t of_units(std::uint64_t units) const noexcept { return unit_ == ChunkUnit::tokens ? units * 4 : units; }
    // [begin, end) lies between two grapheme boundaries.
    std::uint64_t cost(std::size_t begin, std::size_t end) const;
    // cost(begin, end) <= limit, without asking more than that takes.
    bool fits(std::size_t begin, std::size_t end, std::uint64_t limit) const;
    // The last grapheme boundary p in [begin, end] with cost(begin, p) <= limit; `begin` where the first grapheme is too large.
    std::size_t furthest(std::size_t begin, std::size_t end, std::uint64_t limit) const;
    // The first grapheme boundary p in [begin, end] with cost(p, end) <= limit.
    std::size_t earliest(std::size_t begin, std::size_t end, std::uint64_t limit) const;

private:
    ChunkUnit unit_;
    Segmenter& segmenter_;
};

}  // namespace homeostat
