#include "reconcilers/chunk/pieces.hpp"

#include <algorithm>
#include <utility>

namespace homeostat {
namespace {

constexpr std::uint8_t value(Rank rank) noexcept { return static_cast<std::uint8_t>(rank); }
constexpr std::uint8_t heading_rank(int level) noexcept { return static_cast<std::uint8_t>(value(Rank::heading) + 6 - level); }

}  // namespace

Pieces::Pieces(const ChunkSettings& settings, const SegmentationRules& rules, Segmenter& segmenter)
    : rules_(rules),
      unit_(settings.unit),
      segmenter_(segmenter),
      measure_(settings.unit, segmenter),
      overlap_(measure_.of_units(settings.overlap)),
      limit_(measure_.of_units(settings.size) - overlap_) {}

void Pieces::enter(std::string context) {
    std::uint64_t cost = 0;
    if (!context.empty()) {
        const std::string shown = context + std::string(kContextEnd);
        Segmenter segmenter(rules_, shown);
        cost = Measure(unit_, segmenter).cost(0, shown.size());
    }
    contexts_.push_back(std::move(context));
    context_costs_.push_back(cost);
}

std::uint8_t Pieces::take_rank(Rank at_least) {
    const Rank earned = after_sentence_ ? Rank::sentence : Rank::line;
    const Rank rank = std::max({at_least, pending_, earned});
    pending_ = Rank::glue;
    return std::exchange(after_heading_, false) ? value(Rank::glue) : value(rank);
}

void Pieces::prose(std::size_t begin, std::size_t end, Rank at_least) {
    const auto [first, last] = segmenter_.trimmed(begin, end);
    if (first == last) return;
    std::uint8_t rank = take_rank(at_least);
    const bool ascii = is_ascii(segmenter_.text().substr(first, last - first));
    for (std::size_t at = first; at < last;) {
        const std::size_t next = segmenter_.grapheme_ceil(segmenter_.next_sentence(at, last, ascii));
        const auto [from, to] = segmenter_.trimmed(at, next);
        if (from < to) {
            add(from, to, rank);
            rank = value(Rank::sentence);
        }
        at = next;
    }
    after_sentence_ = segmenter_.ends_sentence(first, last);
}

void Pieces::verbatim(std::size_t begin, std::size_t end, Rank at_least) {
    const auto [first, last] = segmenter_.trimmed(begin, end);
    if (first == last) return;
    add(begin, last, take_rank(at_least));
    after_sentence_ = false;
}

void Pieces::heading(std::size_t begin, std::size_t end, int level, std::string above, std::string path) {
    const auto [first, last] = segmenter_.trimmed(begin, end);
    if (first == last) return;
    pending_ = Rank::glue;
    enter(std::move(above));
    add(first, last, std::exchange(after_heading_, true) ? value(Rank::glue) : heading_rank(level));
    enter(std::move(path));
    after_sentence_ = false;
}

void Pieces::add(std::size_t begin, std::size_t end, std::uint8_t rank) {
    const std::uint64_t limit = limit_ - context_costs_.back();
    if (measure_.fits(begin, end, limit)) return push(begin, end, rank);
    add_words(begin, end, rank, limit);
}

void Pieces::add_words(std::size_t begin, std::size_t end, std::uint8_t rank, std::uint64_t limit) {
    const bool ascii = is_ascii(segmenter_.text().substr(begin, end - begin));
    for (std::size_t at = begin; at < end;) {
        const std::size_t next = segmenter_.grapheme_ceil(segmenter_.next_word(at, end, ascii));
        auto [from, to] = segmenter_.trimmed(at, next);
        while (from < to) {
            std::size_t cut = measure_.furthest(from, to, limit);
            if (cut == from) cut = segmenter_.next_grapheme(from);
            // A word may hold white space (a narrow no-break space does not end one), and a window of it nothing else.
            const auto [first, last] = segmenter_.trimmed(from, cut);
            if (first < last) push(first, last, std::exchange(rank, value(Rank::word)));
            from = cut;
        }
        at = next;
    }
}

void Pieces::push(std::size_t begin, std::size_t end, std::uint8_t rank) {
    Piece piece{.begin = static_cast<std::uint32_t>(begin),
                .end = static_cast<std::uint32_t>(end),
                .cost = static_cast<std::uint32_t>(measure_.cost(begin, end)),
                .context = static_cast<std::uint32_t>(contexts_.size() - 1)};
    if (!pieces_.empty()) {
        const Piece& before = pieces_.back();
        piece.offset = before.offset + before.cost + measure_.cost(before.end, begin);
    }
    if (rank >= value(Rank::paragraph)) {
        ++paragraphs_;
        in_paragraph_ = 0;
    }
    const std::uint32_t ordinal = rank >= value(Rank::paragraph) ? paragraphs_ : ++in_paragraph_;
    piece.priority = gap_priority(rank, segmenter_.text().substr(begin, end - begin), ordinal);
    pieces_.push_back(piece);
}

// Back over whole pieces of the chunk before, else over whole words of its last piece, while they cost no more than the overlap;
// in the midst of a word, over graphemes.
std::size_t Pieces::overlap_begin(std::size_t previous, std::size_t first) const {
    const Piece& here = pieces_[first];
    if (rank_of(here.priority) >= value(Rank::heading)) return here.begin;
    std::size_t i = first;
    while (i > previous + 1 && here.offset - pieces_[i - 1].offset <= overlap_) --i;
    if (i < first) return pieces_[i].begin;
    const Piece& last = pieces_[first - 1];
    const bool ascii = is_ascii(segmenter_.text().substr(last.begin, last.end - last.begin));
    const std::size_t earliest = measure_.earliest(last.begin, here.begin, overlap_);
    if (rank_of(here.priority) == value(Rank::word)) return earliest > last.begin ? earliest : here.begin;
    for (std::size_t at = last.begin; at < last.end;) {
        at = segmenter_.grapheme_ceil(segmenter_.next_word(at, last.end, ascii));
        if (at >= earliest) return at < last.end ? at : here.begin;
    }
    return here.begin;
}

std::vector<Chunk> Pieces::chunks() const {
    std::vector<Chunk> chunks;
    std::size_t previous = 0;
    for (const auto& [first, last] : pack(pieces_, context_costs_, limit_)) {
        const Piece& piece = pieces_[first];
        std::size_t begin = piece.begin;
        // A grapheme that leaves no room for it is not made larger by an overlap.
        const bool room = piece.cost + context_costs_[piece.context] <= limit_;
        if (overlap_ > 0 && room && !chunks.empty()) begin = overlap_begin(previous, first);
        const std::size_t end = pieces_[last - 1].end;
        chunks.push_back({.context = contexts_[piece.context],
                          .text = segmenter_.text().substr(begin, end - begin),
                          .start = begin,
                          .end = end});
        previous = first;
    }
    return chunks;
}

}  // namespace homeostat
