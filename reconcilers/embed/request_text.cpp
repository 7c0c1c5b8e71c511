#include "reconcilers/embed/request_text.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace homeostat {

namespace {

bool needs_escape(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

void append_escaped(std::string& out, char c) {
    switch (c) {
        case '"': out += "\\\""; return;
        case '\\': out += "\\\\"; return;
        case '\n': out += "\\n"; return;
        case '\t': out += "\\t"; return;
        case '\r': out += "\\r"; return;
        default: fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    }
}

}  // namespace

// Requests are mostly text, and text is mostly runs that need nothing: a run is copied in one go.
void append_json_string(std::string& out, std::string_view text) {
    if (!simdjson::validate_utf8(text)) {
        out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        return;
    }
    out += '"';
    for (std::size_t at = 0; at < text.size();) {
        const auto stop = std::find_if(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(), needs_escape);
        const auto end = static_cast<std::size_t>(stop - text.begin());
        out.append(text, at, end - at);
        if (end < text.size()) append_escaped(out, text[end]);
        at = end + 1;
    }
    out += '"';
}

void append_json_texts(std::string& out, std::string_view prefix, const std::vector<std::string>& texts) {
    std::size_t bytes = 0;
    for (const auto& text : texts) bytes += prefix.size() + text.size() + 3;
    out.reserve(out.size() + bytes + bytes / 16);
    out += '[';
    for (const auto& text : texts) {
        if (out.back() != '[') out += ',';
        append_json_string(out, prefix.empty() ? text : std::string(prefix) + text);
    }
    out += ']';
}

std::string quoted_excerpt(std::string_view text, std::size_t most) {
    std::string out;
    append_json_string(out, text.substr(0, most));
    if (text.size() > most) out += "...";
    return out;
}

std::uint64_t estimated_tokens(const std::vector<std::string>& texts) {
    std::uint64_t bytes = 0;
    for (const auto& text : texts) bytes += text.size();
    return (bytes + 3) / 4;
}

}  // namespace homeostat
