#include "reconcilers/pipeline/adopted_match.hpp"

#include <algorithm>
#include <cmath>

namespace homeostat {

namespace {

// The greatest number of a halfvec, and the smallest that is not stored as 0.
constexpr float kHalfMost = 65504.0F;
constexpr float kHalfLeast = 5.97e-8F;
// The square of a smaller number is 0 in the sum that makes a vector's length.
constexpr float kLeast = 1e-22F;
constexpr float kMost = 1e18F;

std::optional<LeftBehind> what_is_wrong(const std::vector<float>& vector, const AdoptedForm& form) {
    if (vector.empty()) return LeftBehind::without_vector;
    if (vector.size() != form.dimensions) return LeftBehind::other_width;
    const bool full = form.type == VectorType::vector;
    float largest = 0;
    for (const float x : vector) {
        if (!std::isfinite(x)) return LeftBehind::not_a_vector;
        largest = std::max(largest, std::abs(x));
    }
    if (largest < (full ? kLeast : kHalfLeast) || largest > (full ? kMost : kHalfMost)) return LeftBehind::not_a_vector;
    return std::nullopt;
}

}  // namespace

AdoptedMatch match_document(const std::vector<Chunk>& chunks, const std::vector<AdoptedRow>& rows, const AdoptedForm& form) {
    AdoptedMatch out;
    const auto leave = [](LeftBehind why) { return AdoptedMatch{{}, why}; };
    if (rows.empty() && !chunks.empty()) return leave(LeftBehind::without_vector);
    if (!form.numbered && rows.size() > 1) return leave(LeftBehind::duplicate);
    std::vector<const AdoptedRow*> of_chunk(chunks.size(), nullptr);
    for (const AdoptedRow& row : rows) {
        if (form.numbered && !row.number) return leave(LeftBehind::other_chunks);
        const std::int64_t at = form.numbered ? *row.number - form.first_chunk : 0;
        if (at < 0 || at >= static_cast<std::int64_t>(chunks.size())) return leave(LeftBehind::other_chunks);
        const AdoptedRow*& place = of_chunk[static_cast<std::size_t>(at)];
        if (place != nullptr) return leave(LeftBehind::duplicate);
        place = &row;
    }
    if (std::find(of_chunk.begin(), of_chunk.end(), nullptr) != of_chunk.end()) return leave(LeftBehind::other_chunks);
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        if (form.has_text && of_chunk[i]->text != chunks[i].embedded_text()) return leave(LeftBehind::other_text);
    }
    for (const AdoptedRow* row : of_chunk) {
        if (const auto wrong = what_is_wrong(row->vector, form)) return leave(*wrong);
        out.vectors.push_back(row->vector.data());
    }
    return out;
}

}  // namespace homeostat
