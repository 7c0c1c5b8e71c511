// Joins pieces of text (sentences, lines, words) into chunks such that an edit changes few of them.
//
// Filling chunks from the left would move every later cut when a paragraph grows. Instead the text is divided from the top: while
// a range is too large it is cut at its best gap, and a gap's worth depends on nothing but its rank (headings above paragraphs
// above sentences ...) and a hash of the first bytes behind it. So an edit that leaves the beginnings of its paragraph and
// sentences alone leaves every cut elsewhere where it was: the chunk it is in changes, or becomes two where it overflows, or
// joins its sibling where both fit one now. An edit that does change a gap's worth changes the chunks that touch that gap. To
// spare us tiny chunks, a gap a quarter of the limit away from both ends of the range goes before one of its rank that is not;
// only an edit that carries a gap over that line moves a cut elsewhere, between siblings. Expect chunks to be 60 % full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace homeostat {

// How good a place the gap before a piece is. Glue holds a heading to what follows it.
enum class Rank : std::uint8_t { glue, word, line, sentence, paragraph, heading };  // headings: heading + 0 (h6) .. + 5 (h1)

struct Piece {
    std::uint32_t begin = 0;  // bytes of the document, trimmed
    std::uint32_t end = 0;
    std::uint32_t cost = 0;  // of [begin, end)
    std::uint32_t context = 0;  // which context a chunk has that begins here
    std::uint64_t offset = 0;  // cost of all text before `begin`, counted from the first piece
    std::uint64_t priority = 0;  // of the gap before it: rank, hash, tie-break
};

// Gaps of equal rank and equal first bytes are told apart by `ordinal`, so that repeated text is divided evenly, too.
std::uint64_t gap_priority(std::uint8_t rank, std::string_view behind, std::uint32_t ordinal) noexcept;
std::uint8_t rank_of(std::uint64_t priority) noexcept;

// Ranges of indexes into `pieces`, in order and without gaps. Each costs at most `limit` together with the context it begins with
// (`context_costs[piece.context]`), or is a single piece. O(n + chunks * log n).
std::vector<std::pair<std::size_t, std::size_t>> pack(const std::vector<Piece>& pieces,
                                                      const std::vector<std::uint64_t>& context_costs, std::uint64_t limit);

}  // namespace homeostat
