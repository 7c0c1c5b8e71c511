#include "reconcilers/embed/request_text.hpp"

#include <nlohmann/json.hpp>

namespace homeostat {

void append_json_string(std::string& out, std::string_view text) {
    out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append_json_texts(std::string& out, std::string_view prefix, const std::vector<std::string>& texts) {
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
