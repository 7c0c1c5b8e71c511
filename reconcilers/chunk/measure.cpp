#include "reconcilers/chunk/measure.hpp"

#include <algorithm>

#include "reconcilers/chunk/steps.hpp"

namespace homeostat {
namespace {

// Lead bytes of U+3000..U+DFFF and U+F000..U+FFFF: kana, ideographs, Hangul, full-width forms. A plain sum, so that it
// vectorises.
bool is_wide_lead(char c) noexcept {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0xE3 && byte <= 0xED) || byte == 0xEF;
}

}  // namespace

std::uint64_t quarter_tokens(std::string_view text) noexcept {
    count_chunk_steps(text.size());
    std::uint64_t wide = 0;
    for (const char c : text) wide += is_wide_lead(c) ? 1U : 0U;
    return text.size() + wide;
}

std::uint64_t estimate_tokens(std::string_view text) noexcept { return (quarter_tokens(text) + 3) / 4; }

std::uint64_t Measure::cost(std::size_t begin, std::size_t end) const {
    if (unit_ == ChunkUnit::characters) return segmenter_.count_graphemes(begin, end);
    return quarter_tokens(segmenter_.text().substr(begin, end - begin));
}

bool Measure::fits(std::size_t begin, std::size_t end, std::uint64_t limit) const {
    if (unit_ == ChunkUnit::tokens) return end - begin <= limit && cost(begin, end) <= limit;
    return end - begin <= limit || furthest(begin, end, limit) == end;
}

std::size_t Measure::furthest(std::size_t begin, std::size_t end, std::uint64_t limit) const {
    std::uint64_t used = 0;
    std::size_t at = begin;
    if (unit_ == ChunkUnit::characters) {
        for (; at < end && used < limit; ++used) at = segmenter_.next_grapheme(at);
        return std::min(at, end);
    }
    const std::string_view text = segmenter_.text();
    for (; at < end; ++at) {
        used += is_wide_lead(text[at]) ? 2U : 1U;
        if (used > limit) break;
    }
    count_chunk_steps(at - begin);
    return std::max(begin, segmenter_.grapheme_floor(at));
}

std::size_t Measure::earliest(std::size_t begin, std::size_t end, std::uint64_t limit) const {
    std::uint64_t used = 0;
    std::size_t at = end;
    if (unit_ == ChunkUnit::characters) {
        for (; at > begin && used < limit; ++used) at = segmenter_.grapheme_floor(at - 1);
        return std::max(at, begin);
    }
    const std::string_view text = segmenter_.text();
    for (; at > begin; --at) {
        used += is_wide_lead(text[at - 1]) ? 2U : 1U;
        if (used > limit) break;
    }
    count_chunk_steps(end - at);
    return std::min(end, segmenter_.grapheme_ceil(at));
}

}  // namespace homeostat
