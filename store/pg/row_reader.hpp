// The columns of one row from left to right, so that a reader's order is the statement's order and nothing is numbered. Times and
// durations come as the statement makes them: microseconds since 1970, milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/rows.hpp"

namespace homeostat {

class RowReader {
public:
    // `rows` outlives it.
    RowReader(const Rows& rows, int row) : rows_(rows), row_(row) {}

    std::string_view view() { return rows_.view(row_, column_++); }
    std::string text() { return rows_.text(row_, column_++); }
    std::optional<std::string> maybe() { return rows_.maybe(row_, column_++); }
    bool boolean() { return rows_.boolean(row_, column_++); }
    double real() { return rows_.f64(row_, column_++); }
    std::optional<double> maybe_real();
    Millis millis() { return Millis{rows_.i64(row_, column_++)}; }
    std::optional<Millis> maybe_millis();
    std::optional<WallTime> maybe_time();
    WallTime stamp();  // of a timestamptz as text
    std::optional<WallTime> maybe_stamp();
    void skip() { ++column_; }
    template <class I = std::int64_t>
    I integer() {
        return static_cast<I>(rows_.i64(row_, column_++));
    }
    template <class I>
    std::optional<I> maybe_integer() {
        const auto value = rows_.maybe_i64(row_, column_++);
        return value ? std::optional<I>(static_cast<I>(*value)) : std::nullopt;
    }
    // Names as homeostat.column_list_text writes them: quoted where needed, with ", " between.
    std::vector<std::string> names();
    std::vector<std::string> words();  // of a text[]
    StringMap map();  // of a JSON object
    std::vector<CaptureBase> bases();  // of a JSON list

private:
    const Rows& rows_;
    int row_;
    int column_ = 0;
};

// `read(RowReader)` of every row.
template <class F>
auto all_of(const Rows& rows, F read) {
    std::vector<decltype(read(RowReader(rows, 0)))> out;
    out.reserve(static_cast<std::size_t>(rows.size()));
    for (int i = 0; i < rows.size(); ++i) out.push_back(read(RowReader(rows, i)));
    return out;
}

}  // namespace homeostat
