#include "reconcilers/chunk/kinds.hpp"
#include "reconcilers/chunk/pieces.hpp"

namespace homeostat {
namespace {

class SentenceChunker final : public Chunker {
public:
    SentenceChunker(const ChunkSettings& settings, Rules rules) : settings_(settings), rules_(std::move(rules)) {}

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
        Pieces pieces(settings, *rules_, segmenter);
        Line line;
        for (std::size_t at = range.first; at < range.second; at = line.next) {
            line = line_at(document, at);
            const auto [begin, end] = segmenter.trimmed(line.begin, line.end);
            if (begin == end) {
                pieces.raise(Rank::paragraph);
            } else {
                pieces.prose(begin, end);
            }
        }
        return pieces.chunks();
    }

    ChunkSettings settings_;
    Rules rules_;
};

}  // namespace

std::unique_ptr<Chunker> make_sentence(const ChunkSettings& settings, Rules rules) {
    return std::make_unique<SentenceChunker>(settings, std::move(rules));
}

}  // namespace homeostat
