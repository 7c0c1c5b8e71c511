#include "reconcilers/gateway/plural.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace homeostat {

std::string_view one_or_many(std::int64_t n, std::string_view one, std::string_view many) { return n == 1 ? one : many; }

std::string plural(std::int64_t n, std::string_view noun, std::string_view many) {
    if (n == 1 || many.empty()) return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
    return fmt::format("{} {}", n, many);
}

std::string span_text(double seconds) {
    seconds = std::max(0.0, seconds);
    if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
    if (seconds < 120) return fmt::format("{:.0f} s", seconds);
    if (seconds < 7'200) return fmt::format("{:.0f} min", seconds / 60);
    if (seconds < 172'800) return fmt::format("{:.1f} h", seconds / 3'600);
    return fmt::format("{:.0f} d", seconds / 86'400);
}

}  // namespace homeostat
