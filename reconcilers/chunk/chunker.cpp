#include "reconcilers/chunk/chunker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reconcilers/chunk/kinds.hpp"
#include "reconcilers/chunk/measure.hpp"

namespace homeostat {
namespace {

constexpr std::array<std::string_view, 4> kChunkers{"whole", "fixed", "sentence", "markdown"};

class WholeChunker final : public Chunker {
public:
    explicit WholeChunker(Rules rules) : rules_(std::move(rules)) {}

    using Chunker::chunk;
    std::vector<Chunk> chunk(std::string_view document, std::string_view context) const override {
        Segmenter segmenter(*rules_, document);
        const auto [begin, end] = segmenter.trimmed(0, document.size());
        if (begin == end) return {};
        std::vector<Chunk> chunks{chunk_of(document, begin, end)};
        put_before(trimmed(*rules_, context), chunks);
        return chunks;
    }

private:
    Rules rules_;
};

Status check(const ChunkSettings& settings) {
    const std::string_view unit = settings.unit == ChunkUnit::tokens ? "tokens" : "characters";
    if (settings.size == 0)
        return invalid("the chunk size is 0; give the number of " + std::string(unit) + " a chunk may hold, such as 400");
    if (std::uint64_t{settings.overlap} * 2 >= settings.size && settings.overlap > 0) {
        return invalid(
            fmt::format("a chunk overlap of {} {} does not fit chunks of {}; it must be less than half the size, so {} at most",
                        settings.overlap, unit, settings.size, (settings.size - 1) / 2));
    }
    return {};
}

}  // namespace

std::string_view trimmed(const SegmentationRules& rules, std::string_view text) {
    Segmenter segmenter(rules, text);
    const auto [begin, end] = segmenter.trimmed(0, text.size());
    return text.substr(begin, end - begin);
}

void put_before(std::string_view context, std::vector<Chunk>& chunks) {
    if (context.empty()) return;
    for (Chunk& c : chunks) c.context = c.context.empty() ? std::string(context) : fmt::format("{}\n{}", context, c.context);
}

// The size that is left depends on the document's own context alone: an edit of the text moves no more cuts than without one.
std::vector<Chunk> cut_in_context(const ChunkSettings& settings, const SegmentationRules& rules, std::string_view context,
                                  const CutToSize& cut) {
    std::string_view shown = trimmed(rules, context);
    if (shown.empty()) return cut(settings);
    Segmenter segmenter(rules, shown);
    const Measure measure(settings.unit, segmenter);
    const std::uint64_t blank_line = kContextEnd.size();  // one unit of a cost each, whatever the unit is
    const std::uint64_t half = measure.of_units(settings.size - settings.overlap) / 2;
    if (half <= blank_line) return cut(settings);
    const auto [begin, end] = segmenter.trimmed(0, measure.furthest(0, shown.size(), half - blank_line));
    shown = shown.substr(begin, end - begin);
    if (shown.empty()) return cut(settings);
    const std::uint64_t unit = measure.of_units(1);
    const std::uint64_t taken = (measure.cost(begin, end) + blank_line + unit - 1) / unit;
    ChunkSettings left = settings;
    left.size -= static_cast<std::uint32_t>(taken);
    std::vector<Chunk> chunks = cut(left);
    put_before(shown, chunks);
    return chunks;
}

std::string Chunk::embedded_text() const {
    if (context.empty()) return std::string(text);
    std::string all;
    all.reserve(context.size() + kContextEnd.size() + text.size());
    return all.append(context).append(kContextEnd).append(text);
}

Chunk chunk_of(std::string_view document, std::size_t begin, std::size_t end) {
    return {.context = {}, .text = document.substr(begin, end - begin), .start = begin, .end = end};
}

bool fits_one_chunk(const ChunkSettings& settings, Segmenter& segmenter, std::pair<std::size_t, std::size_t>& range,
                    std::vector<Chunk>& chunks) {
    range = segmenter.trimmed(0, segmenter.text().size());
    if (range.first == range.second) return true;
    const Measure measure(settings.unit, segmenter);
    if (!measure.fits(range.first, range.second, measure.of_units(settings.size))) return false;
    chunks.push_back(chunk_of(segmenter.text(), range.first, range.second));
    return true;
}

std::string_view chunker_program(std::string_view chunker) noexcept {
    constexpr std::string_view kProgram = "program:";
    return chunker.starts_with(kProgram) ? chunker.substr(kProgram.size()) : std::string_view();
}

std::unique_ptr<Chunker> make_whole(Rules rules) { return std::make_unique<WholeChunker>(std::move(rules)); }

Result<std::unique_ptr<Chunker>> make_chunker(const ChunkSettings& settings) {
    const std::string_view name = settings.chunker;
    if (std::find(kChunkers.begin(), kChunkers.end(), name) == kChunkers.end()) {
        return invalid(fmt::format("there is no chunker \"{}\"{}; choose one of {}", name, did_you_mean(name, kChunkers),
                                   fmt::join(kChunkers, ", ")));
    }
    auto rules = SegmentationRules::create();
    if (!rules.ok()) return std::move(rules).error();
    if (name == "whole") return make_whole(*std::move(rules));
    if (auto status = check(settings); !status.ok()) return std::move(status).error();
    if (name == "fixed") return make_fixed(settings, *std::move(rules));
    if (name == "sentence") return make_sentence(settings, *std::move(rules));
    return make_markdown(settings, *std::move(rules));
}

}  // namespace homeostat
