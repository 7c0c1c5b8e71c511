// The rows of an answer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct pg_result;

namespace homeostat {

// Cheap to copy, keeps the answer alive. Views point into it. What is asked of a row or column that is not there, or is no number
// where one is read, throws StoreFailure: it is a mistake of ours.
class Rows {
public:
    Rows() = default;
    explicit Rows(std::shared_ptr<const pg_result> result) : result_(std::move(result)) {}
    int size() const noexcept;
    bool empty() const noexcept { return size() == 0; }
    std::int64_t affected() const;

    bool null(int row, int column) const;
    std::string_view view(int row, int column) const;  // "" for NULL
    std::string text(int row, int column) const { return std::string(view(row, column)); }
    std::optional<std::string> maybe(int row, int column) const;
    std::int64_t i64(int row, int column) const;
    std::optional<std::int64_t> maybe_i64(int row, int column) const;
    double f64(int row, int column) const;
    bool boolean(int row, int column) const { return view(row, column) == "t"; }

private:
    std::shared_ptr<const pg_result> result_;
};

}  // namespace homeostat
