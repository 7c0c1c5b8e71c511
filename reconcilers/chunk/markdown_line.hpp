// What a line of Markdown begins, as far as cutting it needs to know: CommonMark's rules for headings, fences, lists, quotes and
// rules, and the pipes of tables. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace homeostat {

enum class LineKind : std::uint8_t {
    blank,
    heading,       // ATX: # Title
    fence,         // ``` or ~~~ that opens
    underline,     // === or ---: a setext heading where a paragraph stands above
    rule,          // *** and the like: no heading, whatever stands above
    item,          // of a list
    row,           // of a table, or a quote: a line that continues nothing
    indented,      // four columns or more: code, or a list's continuation
    text,
};

struct MarkdownLine {
    LineKind kind = LineKind::text;
    int level = 0;               // of a heading, or what an underline makes
    std::string_view title{};    // of an ATX heading
    char fence = 0;              // ` or ~
    std::size_t fence_length = 0;
};

MarkdownLine classify(std::string_view line) noexcept;
bool closes_fence(std::string_view line, char fence, std::size_t length) noexcept;

}  // namespace homeostat
