#include "controller/cli/text/output.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 5> kCodes{"", "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[2m"};
constexpr std::array<std::string_view, 4> kForms{"table", "wide", "json", "yaml"};

// Letters, not bytes: names may be in any language.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string printable(std::string_view text) { return visible_text(text, text.size()); }

void TextTable::print(std::ostream& out, bool colour, std::string_view indent) const {
    std::vector<std::size_t> widths;
    for (const std::string& h : headers_) widths.push_back(width_of(h));
    for (const auto& row : rows_) {
        widths.resize(std::max(widths.size(), row.size()));  // there may be no headers
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i].text));
    }
    const auto line = [&](const std::vector<Cell>& row) {
        out << indent;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string text = printable(row[i].text);
            const bool tinted = colour && row[i].tint != Tint::plain;
            if (tinted) out << kCodes[static_cast<std::size_t>(row[i].tint)];
            out << text;
            if (tinted) out << "\x1b[0m";
            if (i + 1 < row.size()) out << std::string(widths[i] - width_of(text) + 2, ' ');
        }
        out << '\n';
    };
    if (!headers_.empty()) line(std::vector<Cell>(headers_.begin(), headers_.end()));
    for (const auto& row : rows_) line(row);
}

Tint condition_tint(std::string_view status, bool abnormal) {
    if (status == "Unknown") return Tint::warning;
    return (status == "True") != abnormal ? Tint::good : Tint::bad;
}

std::string time_text(WallTime time) {
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string age_text(WallTime from, WallTime now) {
    const auto seconds = std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now - from).count());
    if (seconds < 120) return fmt::format("{}s", seconds);
    if (seconds < 7200) return fmt::format("{}m", seconds / 60);
    if (seconds < 172'800) return fmt::format("{}h", seconds / 3600);
    return fmt::format("{}d", seconds / 86'400);
}

Result<OutputForm> output_form(std::string_view word) {
    const auto found = std::find(kForms.begin(), kForms.end(), word);
    if (found != kForms.end()) return static_cast<OutputForm>(found - kForms.begin());
    return invalid(fmt::format("-o {} is not known; it is table, wide, json or yaml{}", word, did_you_mean(word, kForms)));
}

}  // namespace homeostat
