#include "store/pg/text_array.hpp"

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
    std::vector<std::string> out;
    if (text.size() < 2 || text == "{}") return out;
    text = text.substr(1, text.size() - 2);
    std::string current;
    bool quoted = false;
    bool was_quoted = false;
    const auto finish = [&] {
        out.push_back(!was_quoted && current == "NULL" ? std::string() : current);
        current.clear();
        was_quoted = false;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '\\' && i + 1 < text.size()) {
            current += text[++i];
        } else if (c == '"') {
            quoted = !quoted;
            was_quoted = true;
        } else if (c == ',' && !quoted) {
            finish();
        } else {
            current += c;
        }
    }
    finish();
    return out;
}

}  // namespace homeostat
