#include "reconcilers/chunk/markdown_line.hpp"

#include <algorithm>

namespace homeostat {
namespace {

bool blank(char c) noexcept { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view s) noexcept {
    while (!s.empty() && blank(s.front())) s.remove_prefix(1);
    while (!s.empty() && blank(s.back())) s.remove_suffix(1);
    return s;
}

std::size_t run(std::string_view s, char c) noexcept { return std::min(s.find_first_not_of(c), s.size()); }

// Columns before the first character; a tab is worth enough to make code.
std::size_t indentation(std::string_view line) noexcept {
    const auto spaces = run(line, ' ');
    return spaces < line.size() && line[spaces] == '\t' ? spaces + 4 : spaces;
}

MarkdownLine atx(std::string_view s) noexcept {
    const auto level = run(s, '#');
    if (level == 0 || level > 6 || (level < s.size() && !blank(s[level]))) return {};
    std::string_view title = trim(s.substr(level));
    const auto body = title.find_last_not_of('#');
    if (body == std::string_view::npos) {
        title = {};
    } else if (body + 1 < title.size() && blank(title[body])) {
        title = trim(title.substr(0, body));
    }
    return {.kind = LineKind::heading, .level = static_cast<int>(level), .title = title};
}

MarkdownLine fence(std::string_view s) noexcept {
    const char c = s.front();
    if (c != '`' && c != '~') return {};
    const auto length = run(s, c);
    if (length < 3 || (c == '`' && s.find('`', length) != std::string_view::npos)) return {};
    return {.kind = LineKind::fence, .fence = c, .fence_length = length};
}

bool is_rule(std::string_view s) noexcept {
    const char c = s.front();
    if (c != '*' && c != '-' && c != '_') return false;
    return std::all_of(s.begin(), s.end(), [c](char x) { return x == c || blank(x); }) && std::count(s.begin(), s.end(), c) >= 3;
}

bool is_item(std::string_view s) noexcept {
    std::size_t marker = 1;
    if (s.front() >= '0' && s.front() <= '9') {
        marker = std::min(s.find_first_not_of("0123456789"), s.size());
        if (marker > 9 || marker == s.size() || (s[marker] != '.' && s[marker] != ')')) return false;
        ++marker;
    } else if (s.front() != '-' && s.front() != '*' && s.front() != '+') {
        return false;
    }
    return marker == s.size() || blank(s[marker]);
}

}  // namespace

MarkdownLine classify(std::string_view line) noexcept {
    const std::string_view s = trim(line);
    if (s.empty()) return {.kind = LineKind::blank};
    const bool indented = indentation(line) >= 4;
    if (indented) return {.kind = is_item(s) && !is_rule(s) ? LineKind::item : LineKind::indented};
    if (const auto found = atx(s); found.kind == LineKind::heading) return found;
    if (const auto found = fence(s); found.kind == LineKind::fence) return found;
    if (run(s, '=') == s.size()) return {.kind = LineKind::underline, .level = 1};
    if (run(s, '-') == s.size()) return {.kind = LineKind::underline, .level = 2};
    if (is_rule(s)) return {.kind = LineKind::rule};
    if (is_item(s)) return {.kind = LineKind::item};
    if (s.front() == '|' || s.front() == '>') return {.kind = LineKind::row};
    return {};
}

bool closes_fence(std::string_view line, char fence, std::size_t length) noexcept {
    const std::string_view s = trim(line);
    return indentation(line) < 4 && run(s, fence) >= length && run(s, fence) == s.size();
}

}  // namespace homeostat
