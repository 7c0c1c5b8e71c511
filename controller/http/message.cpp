#include "controller/http/message.hpp"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

std::string_view title_of(int status) {
    switch (status) {
        case 400: return "Bad request";
        case 401: return "Token needed";
        case 403: return "Not allowed";
        case 404: return "Not found";
        case 405: return "Method not allowed";
        case 406: return "Not acceptable";
        case 408: return "Request took too long";
        case 409: return "Conflict";
        case 410: return "Gone";
        case 413: return "Body too large";
        case 415: return "Unsupported media type";
        case 421: return "Wrong host";
        case 429: return "Too many requests";
        case 431: return "Headers too large";
        case 503: return "Not available now";
        case 504: return "No answer in time";
        default: return status < 500 ? "Refused" : "Internal error";
    }
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

bool same_letters(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// The next part of a list, taken off its front.
std::string_view next_part(std::string_view& list, char separator) {
    const std::size_t end = std::min(list.find(separator), list.size());
    const std::string_view part = trimmed(list.substr(0, end));
    list.remove_prefix(std::min(list.size(), end + 1));
    return part;
}

std::string_view value_of(const std::vector<std::pair<std::string, std::string>>& pairs, std::string_view name) {
    const auto found = std::ranges::find_if(pairs, [&](const auto& pair) { return pair.first == name; });
    return found == pairs.end() ? std::string_view() : std::string_view(found->second);
}

// How exactly a range names the type: 0 not at all, 1 anything, 2 its family, 3 itself.
int nearness(std::string_view range, std::string_view type) {
    if (same_letters(range, type)) return 3;
    if (range == "*/*") return 1;
    const std::size_t slash = type.find('/');
    const bool family = range.ends_with("/*") && same_letters(range.substr(0, range.size() - 2), type.substr(0, slash));
    return family ? 2 : 0;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const noexcept { return value_of(headers, name); }
std::string_view HttpRequest::parameter(std::string_view name) const noexcept { return value_of(parameters, name); }

HttpResponse problem(int status, std::string_view detail) {
    const nlohmann::ordered_json body{
        {"type", "about:blank"}, {"title", title_of(status)}, {"status", status}, {"detail", visible_text(detail)}};
    return {.status = status, .content_type = "application/problem+json", .body = body.dump() + "\n"};
}

HttpResponse come_again(std::string_view detail, int seconds) {
    HttpResponse response = problem(503, detail);
    response.headers.emplace_back("Retry-After", std::to_string(seconds));
    return response;
}

bool accepts(std::string_view accept, std::string_view type) {
    if (trimmed(accept).empty()) return true;
    int best = 0;
    bool wanted = false;
    while (!accept.empty()) {
        std::string_view part = next_part(accept, ',');
        const int near = nearness(next_part(part, ';'), type);
        if (near < best || near == 0) continue;
        bool none = false;
        while (!part.empty()) {
            const std::string_view parameter = next_part(part, ';');
            none = none || (parameter.starts_with("q=0") && parameter.find_first_not_of("0.", 2) == std::string_view::npos);
        }
        best = near;
        wanted = !none;
    }
    return wanted;
}

}  // namespace homeostat
