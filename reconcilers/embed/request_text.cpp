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

// The length of the well-formed letter at the beginning of `text`, and which it is; 0 where there is none.
std::size_t letter_at(std::string_view text, char32_t& letter) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > text.size()) return 0;
    letter = length == 1 ? first : first & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) return 0;
        letter = (letter << 6U) | (byte(i) & 0x3FU);
    }
    const char32_t least = length == 3 ? 0x800 : length == 4 ? 0x10000 : 0;
    return letter < least || letter > 0x10FFFF || (letter >= 0xD800 && letter < 0xE000) ? 0 : length;
}

// Controls, separators of lines, marks of direction, byte order marks.
bool is_hidden(char32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
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
    append_json_string(out, text.substr(0, most));
    if (text.size() > most) out += "...";
    return out;
}

std::string_view without_mark(std::string_view text) noexcept {
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    return text;
}

std::string clean_excerpt(std::string_view text, std::size_t most) {
    std::string out;
    std::size_t letters = 0;
    bool broken = false;  // what came before is no letter: one sign stands for all of it
    while (!text.empty() && letters < most) {
        char32_t letter = 0;
        const std::size_t length = letter_at(text, letter);
        if (length == 0) {
            if (!broken) out += "\xEF\xBF\xBD";
            letters += broken ? 0 : 1;
        } else {
            is_hidden(letter) ? out.push_back(' ') : void(out.append(text, 0, length));
            ++letters;
        }
        broken = length == 0;
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    if (!text.empty()) out += "...";
    return out;
}

std::uint64_t estimated_tokens(const std::vector<std::string>& texts) {
    std::uint64_t bytes = 0;
    for (const auto& text : texts) bytes += text.size();
    return (bytes + 3) / 4;
}

}  // namespace homeostat
