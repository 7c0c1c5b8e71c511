#include "store/pg/rows.hpp"

#include <fmt/format.h>

#include <pqxx/strconv>

#include "store/pg/libpq.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

namespace {

template <class Number>
Number number_of(std::string_view text) {
    try {
        return pqxx::from_string<Number>(text);
    } catch (const pqxx::conversion_error&) {
        throw StoreFailure(internal_error(fmt::format("the database answered \"{}\" where a number was expected", text)));
    }
}

}  // namespace

Params& Params::add(double d) { return values_.emplace_back(pqxx::to_string(d)), *this; }

int Rows::size() const noexcept { return result_ ? libpq::rows(result_.get()) : 0; }
bool Rows::null(int row, int column) const { return libpq::null(result_.get(), row, column); }

std::int64_t Rows::affected() const {
    const std::string_view n = result_ ? libpq::affected(result_.get()) : "";
    return n.empty() ? 0 : number_of<std::int64_t>(n);
}

std::string_view Rows::view(int row, int column) const {
    const std::optional<std::string_view> value = libpq::value(result_.get(), row, column);
    if (!value) throw StoreFailure(internal_error(fmt::format("an answer has no row {}, column {}", row, column)));
    return *value;
}

std::optional<std::string> Rows::maybe(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return text(row, column);
}

std::int64_t Rows::i64(int row, int column) const { return number_of<std::int64_t>(view(row, column)); }

std::optional<std::int64_t> Rows::maybe_i64(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return i64(row, column);
}

double Rows::f64(int row, int column) const { return number_of<double>(view(row, column)); }

}  // namespace homeostat
