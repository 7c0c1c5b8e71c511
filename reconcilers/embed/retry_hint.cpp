#include "reconcilers/embed/retry_hint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

namespace homeostat {

namespace {

std::optional<double> number(std::string_view text, std::string_view& rest) {
    double v = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v, std::chars_format::fixed);
    if (ec != std::errc() || !std::isfinite(v) || v < 0) return std::nullopt;
    rest = text.substr(static_cast<std::size_t>(end - text.data()));
    return v;
}

// What stands before a length of time.
constexpr std::array<std::string_view, 12> kLeads{"try again in ",
                                                  "try again after ",
                                                  "retry in ",
                                                  "retry after ",
                                                  "retry your request after ",
                                                  "retry your request in ",
                                                  "wait for ",
                                                  "please wait ",
                                                  "available in ",
                                                  "resets in ",
                                                  "reset in ",
                                                  "reset after "};

struct Unit {
    std::string_view word;
    double seconds;
};
constexpr std::array<Unit, 15> kUnits{{{"milliseconds", 0.001},
                                       {"millisecond", 0.001},
                                       {"minutes", 60},
                                       {"minute", 60},
                                       {"seconds", 1},
                                       {"second", 1},
                                       {"hours", 3600},
                                       {"hour", 3600},
                                       {"mins", 60},
                                       {"secs", 1},
                                       {"min", 60},
                                       {"sec", 1},
                                       {"ms", 0.001},
                                       {"s", 1},
                                       {"m", 60}}};

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

// "6m0s", "1 minute and 30 seconds", "9"; of a bare number seconds.
std::optional<double> span_at(std::string_view text) {
    std::optional<double> total;
    for (;;) {
        std::string_view rest;
        const auto v = number(text.substr(0, 32), rest);
        if (!v) return total;
        rest = text.substr(text.substr(0, 32).size() - rest.size());
        if (rest.starts_with(' ')) rest.remove_prefix(1);
        const auto end = static_cast<std::size_t>(std::find_if_not(rest.begin(), rest.end(), is_letter) - rest.begin());
        const std::string_view word = rest.substr(0, end);
        const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.word == word; });
        if (unit == kUnits.end()) return total ? total : word == "h" ? std::optional<double>(*v * 3600) : v;
        total = total.value_or(0) + *v * unit->seconds;
        text = rest.substr(end);
        for (const std::string_view between : {" ", ", ", "and "}) {
            if (text.starts_with(between)) text.remove_prefix(between.size());
        }
    }
}

}  // namespace

std::optional<double> seconds_of(std::string_view text) {
    if (text.empty()) return std::nullopt;
    double total = 0;
    while (!text.empty()) {
        std::string_view rest;
        const auto v = number(text, rest);
        if (!v) return std::nullopt;
        if (rest.empty() && total == 0) return v;
        if (rest.starts_with("ms")) {
            total += *v / 1000;
            rest.remove_prefix(2);
        } else {
            const double unit = rest.starts_with('s') ? 1 : rest.starts_with('m') ? 60 : rest.starts_with('h') ? 3600 : 0;
            if (unit == 0) return std::nullopt;
            total += *v * unit;
            rest.remove_prefix(1);
        }
        text = rest;
    }
    return total;
}

std::optional<double> seconds_in_words(std::string_view lower) {
    std::optional<double> longest;
    for (const std::string_view lead : kLeads) {
        for (auto at = lower.find(lead); at != std::string_view::npos; at = lower.find(lead, at + lead.size())) {
            const auto span = span_at(lower.substr(at + lead.size()));
            if (span && (!longest || *span > *longest)) longest = span;
        }
    }
    return longest;
}

}  // namespace homeostat
