#include "reconcilers/chunk/kinds.hpp"
#include "reconcilers/chunk/measure.hpp"

namespace homeostat {
namespace {

// Windows of the full size; only the last may be smaller, and shares its text evenly with the one before where it would hold less
// than a quarter.
class FixedChunker final : public Chunker {
public:
    FixedChunker(const ChunkSettings& settings, Rules rules) : settings_(settings), rules_(std::move(rules)) {}

    using Chunker::chunk;
    std::vector<Chunk> chunk(std::string_view document, std::string_view context) const override {
        return cut_in_context(settings_, *rules_, context, [&](const ChunkSettings& left) { return cut(document, left); });
    }

private:
    std::vector<Chunk> cut(std::string_view document, const ChunkSettings& settings) const {
        std::vector<Chunk> chunks;
        Segmenter segmenter(*rules_, document);
        std::pair<std::size_t, std::size_t> range;
        if (fits_one_chunk(settings, segmenter, range, chunks)) return chunks;
        const Measure measure(settings.unit, segmenter);
        const std::uint64_t overlap = measure.of_units(settings.overlap);
        const std::uint64_t window = measure.of_units(settings.size) - overlap;
        std::size_t before = range.first;
        for (const std::size_t end : cuts(range, settings, segmenter, measure)) {
            // A grapheme that leaves no room for it is not made larger by an overlap.
            const bool room = before != range.first && measure.fits(before, end, window);
            const std::size_t begin = room ? measure.earliest(range.first, before, overlap) : before;
            const std::size_t fresh = segmenter.trimmed(before, end).first;
            // A window of nothing new but white space would repeat the end of the one before.
            if (fresh != end) {
                auto [from, to] = segmenter.trimmed(begin, end);
                if (!chunks.empty() && from <= chunks.back().start) from = fresh;
                chunks.push_back(chunk_of(document, from, to));
            }
            before = end;
        }
        return chunks;
    }

    // Where the windows end.
    static std::vector<std::size_t> cuts(std::pair<std::size_t, std::size_t> range, const ChunkSettings& settings,
                                         Segmenter& segmenter, const Measure& measure) {
        const std::uint64_t overlap = measure.of_units(settings.overlap);
        const std::uint64_t size = measure.of_units(settings.size);
        std::vector<std::size_t> cuts;
        std::size_t at = range.first;
        std::size_t before = at;
        while (at < range.second) {
            before = at;
            const std::uint64_t room = cuts.empty() ? size : size - overlap;
            at = measure.furthest(before, range.second, room);
            if (at == before) at = segmenter.next_grapheme(before);
            cuts.push_back(at);
        }
        if (cuts.size() < 2 || measure.cost(before, range.second) >= (size - overlap) / 4) return cuts;
        const std::size_t begin = cuts.size() > 2 ? cuts[cuts.size() - 3] : range.first;
        const std::uint64_t half = (measure.cost(begin, range.second) + 1) / 2;
        const std::size_t middle = measure.furthest(begin, range.second, half);
        if (middle > begin && measure.fits(middle, range.second, size - overlap)) cuts[cuts.size() - 2] = middle;
        return cuts;
    }

    ChunkSettings settings_;
    Rules rules_;
};

}  // namespace

std::unique_ptr<Chunker> make_fixed(const ChunkSettings& settings, Rules rules) {
    return std::make_unique<FixedChunker>(settings, std::move(rules));
}

}  // namespace homeostat
