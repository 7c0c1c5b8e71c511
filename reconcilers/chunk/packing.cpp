#include "reconcilers/chunk/packing.hpp"

#include <algorithm>

namespace homeostat {
namespace {

constexpr std::size_t kHashedBytes = 32;
constexpr int kRankShift = 60;

std::uint64_t mix(std::uint64_t x) noexcept {
    x ^= x >> 33U;
    x *= 0xff51afd7ed558ccdU;
    x ^= x >> 33U;
    x *= 0xc4ceb9fe1a85ec53U;
    return x ^ (x >> 33U);
}

// Answers which piece of a range has the gap of the highest priority; the leftmost of equals.
class HighestGap {
public:
    explicit HighestGap(const std::vector<Piece>& pieces) : pieces_(pieces), leaves_(pieces.size()), best_(2 * pieces.size()) {
        for (std::size_t i = 0; i < leaves_; ++i) best_[leaves_ + i] = static_cast<std::uint32_t>(i);
        for (std::size_t i = leaves_; i-- > 1;) best_[i] = better(best_[2 * i], best_[2 * i + 1]);
    }

    // In [begin, end), which is not empty.
    std::size_t in(std::size_t begin, std::size_t end) const {
        auto best = static_cast<std::uint32_t>(begin);
        for (begin += leaves_, end += leaves_; begin < end; begin /= 2, end /= 2) {
            if (begin % 2 == 1) best = better(best, best_[begin++]);
            if (end % 2 == 1) best = better(best, best_[--end]);
        }
        return best;
    }

private:
    std::uint32_t better(std::uint32_t a, std::uint32_t b) const {
        if (pieces_[a].priority != pieces_[b].priority) return pieces_[a].priority > pieces_[b].priority ? a : b;
        return std::min(a, b);
    }

    const std::vector<Piece>& pieces_;
    std::size_t leaves_;
    std::vector<std::uint32_t> best_;
};

std::uint64_t end_offset(const Piece& piece) noexcept { return piece.offset + piece.cost; }

// Where to cut [begin, end), which holds at least two pieces.
std::size_t best_cut(const std::vector<Piece>& pieces, const HighestGap& gaps, std::size_t begin, std::size_t end,
                     std::uint64_t margin) {
    const std::size_t best = gaps.in(begin + 1, end);
    const std::uint64_t low = pieces[begin].offset + margin;
    const std::uint64_t stop = end_offset(pieces[end - 1]);
    const std::uint64_t high = stop > margin ? stop - margin : 0;
    const auto at = [&](std::size_t i) { return pieces.begin() + static_cast<std::ptrdiff_t>(i); };
    const auto first =
        std::lower_bound(at(begin + 1), at(end), low, [](const Piece& p, std::uint64_t v) { return p.offset < v; });
    const auto last = std::upper_bound(first, at(end), high, [](std::uint64_t v, const Piece& p) { return v < p.offset; });
    if (first >= last) return best;
    const std::size_t inner =
        gaps.in(static_cast<std::size_t>(first - pieces.begin()), static_cast<std::size_t>(last - pieces.begin()));
    return rank_of(pieces[inner].priority) == rank_of(pieces[best].priority) ? inner : best;
}

}  // namespace

std::uint64_t gap_priority(std::uint8_t rank, std::string_view behind, std::uint32_t ordinal) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : behind.substr(0, kHashedBytes)) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return (std::uint64_t{rank} << kRankShift) | ((mix(hash) >> 36U) << 32U) | (mix(ordinal + 1) >> 32U);
}

std::uint8_t rank_of(std::uint64_t priority) noexcept { return static_cast<std::uint8_t>(priority >> kRankShift); }

std::vector<std::pair<std::size_t, std::size_t>> pack(const std::vector<Piece>& pieces,
                                                      const std::vector<std::uint64_t>& context_costs, std::uint64_t limit) {
    std::vector<std::pair<std::size_t, std::size_t>> chunks;
    if (pieces.empty()) return chunks;
    const HighestGap gaps(pieces);
    std::vector<std::pair<std::size_t, std::size_t>> open{{0, pieces.size()}};
    while (!open.empty()) {
        const auto [begin, end] = open.back();
        open.pop_back();
        const std::uint64_t text = end_offset(pieces[end - 1]) - pieces[begin].offset;
        if (end - begin == 1 || text + context_costs[pieces[begin].context] <= limit) {
            chunks.emplace_back(begin, end);
            continue;
        }
        const std::size_t cut = best_cut(pieces, gaps, begin, end, limit / 4);
        open.emplace_back(cut, end);
        open.emplace_back(begin, cut);
    }
    return chunks;
}

}  // namespace homeostat
