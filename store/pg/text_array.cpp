#include "store/pg/text_array.hpp"

#include <pqxx/array>
#include <tuple>
#include <utility>

namespace homeostat {

namespace {

void append_quoted(std::string& out, const std::string& value) {
    if (out.back() != '{') out += ',';
    out += '"';
    for (const char c : value) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    out += '"';
}

}  // namespace

std::string format_text_array(const std::vector<std::string>& values) {
    std::string out = "{";
    for (const std::string& v : values) append_quoted(out, v);
    return out + "}";
}

std::string format_text_columns(const std::vector<std::vector<std::string>>& rows) {
    std::string out = "{";
    for (std::size_t c = 0; !rows.empty() && c < rows.front().size(); ++c) {
        out += c == 0 ? "{" : ",{";
        for (const auto& row : rows) append_quoted(out, row[c]);
        out += '}';
    }
    return out + "}";
}

std::vector<std::string> parse_text_array(std::string_view text) {
    using Found = pqxx::array_parser::juncture;
    std::vector<std::string> out;
    try {
        // What marks an array is ASCII, which no other character of UTF-8 has in it.
        pqxx::array_parser parser(text);
        for (auto [found, value] = parser.get_next(); found != Found::done; std::tie(found, value) = parser.get_next()) {
            if (found == Found::string_value) out.push_back(std::move(value));
            if (found == Found::null_value) out.emplace_back();
        }
    } catch (const pqxx::failure&) {  // NOLINT(bugprone-empty-catch): it is no array from here on
    }
    return out;
}

}  // namespace homeostat
