#include "reconcilers/embed/embedder.hpp"

#include <fmt/format.h>

#include <cmath>

namespace homeostat {
namespace {

Error bad(std::string message, const char* code = "") {
    return Error{.cls = ErrorClass::bad_answer, .message = std::move(message), .origin = Origin::theirs, .code = code};
}

// The database reckons with floats: beyond these, sums of squares come to nothing or to infinity, and distances with them. Floats
// whose bytes stand the other way round are nearly always beyond them too.
constexpr double kLeastSquares = 1e-30;
constexpr double kMostSquares = 1e30;

Status validate_row(const float* row, std::uint32_t dimensions, std::size_t index) {
    double squares = 0;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
        // NaN and infinity survive the sum, so the common case needs one test a row.
        squares += static_cast<double>(row[d]) * row[d];
    }
    if (!std::isfinite(squares)) {
        std::uint32_t d = 0;
        while (d + 1 < dimensions && std::isfinite(row[d])) ++d;
        return bad(fmt::format("number {} of vector {} in the answer is {}, not a finite number; nothing of it was used", d,
                               index, row[d]));
    }
    if (squares <= 0) {
        return bad(fmt::format("vector {} in the answer is all zeros and has no direction; nothing of it was used", index));
    }
    if (squares < kLeastSquares || squares > kMostSquares) {
        return bad(
            fmt::format("vector {} in the answer has the length {:.3g}, which no model makes (bytes in the wrong order?); "
                        "nothing of it was used",
                        index, std::sqrt(squares)));
    }
    return {};
}

}  // namespace

Status validate_embeddings(const Embeddings& answer, std::size_t expected_count, std::uint32_t expected_dimensions) {
    if (expected_count == 0 && answer.values.empty()) return {};
    if (answer.dimensions != expected_dimensions) {
        return bad(fmt::format("the vectors in the answer of \"{}\" have {} dimensions, and {} were declared; correct the "
                               "declared dimensions, or the model",
                               answer.model, answer.dimensions, expected_dimensions),
                   bad_answer::kWidth);
    }
    if (answer.values.size() != expected_count * expected_dimensions) {
        return bad(fmt::format("the answer holds {} numbers, and {} vectors of {} dimensions were asked for; nothing of it was "
                               "used",
                               answer.values.size(), expected_count, expected_dimensions),
                   bad_answer::kCount);
    }
    for (std::size_t i = 0; i < expected_count; ++i) {
        if (Status s = validate_row(answer.row(i), expected_dimensions, i); !s) return s;
    }
    return {};
}

}  // namespace homeostat
