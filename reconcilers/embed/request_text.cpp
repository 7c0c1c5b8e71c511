#include "reconcilers/embed/request_text.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/outside_text.hpp"

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

Result<std::string> append_members(const std::string& object, const std::string& others) {
    using Json = nlohmann::json;
    const Json over = Json::parse(others, nullptr, false);
    Json members = Json::parse(object, nullptr, false);
    if (!members.is_object() || !over.is_object()) return invalid("members of a request must be a JSON object");
    for (const auto& [name, value] : over.items()) {
        value.is_null() ? void(members.erase(name)) : void(members[name] = value);
    }
    if (members.empty()) return std::string();
    const std::string text = members.dump(-1, ' ', false, Json::error_handler_t::replace);
    return "," + text.substr(1, text.size() - 2);
}

std::string quoted_excerpt(std::string_view text, std::size_t most) {
    std::string out;
    // Whole letters: half a one would be none.
    std::size_t end = std::min(most, text.size());
    while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    append_json_string(out, text.substr(0, end));
    if (text.size() > end) out += "...";
    return out;
}

std::string_view without_mark(std::string_view text) noexcept {
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    return text;
}

std::string clean_excerpt(std::string_view text, std::size_t most) { return outside_text(text, most); }

std::uint64_t estimated_tokens(const std::vector<std::string>& texts) {
    std::uint64_t bytes = 0;
    for (const auto& text : texts) bytes += text.size();
    return (bytes + 3) / 4;
}

std::uint64_t believable_tokens(std::uint64_t said, const std::vector<std::string>& texts) {
    constexpr std::uint64_t kBesideText = 1'024;
    std::uint64_t most = 0;
    for (const std::string& t : texts) most += t.size() + kBesideText;
    return said > most ? estimated_tokens(texts) : said;
}

}  // namespace homeostat
