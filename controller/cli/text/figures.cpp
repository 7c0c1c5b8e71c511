#include "controller/cli/text/figures.hpp"

#include <fmt/core.h>

#include <cmath>

namespace homeostat {

std::string count_text(std::int64_t n) {
    std::string digits = std::to_string(n);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3) {
        digits.insert(static_cast<std::size_t>(at), ",");
    }
    return digits;
}

std::string counted(std::int64_t n, std::string_view thing) {
    return fmt::format("{} {}{}", count_text(n), thing, n == 1 ? "" : "s");
}

std::string duration_text(double seconds) {
    if (seconds < 90) return fmt::format("{:.0f} s", std::ceil(seconds));
    if (seconds < 5'400) return fmt::format("{:.0f} min", std::ceil(seconds / 60));
    if (seconds < 172'800) return fmt::format("{:.1f} h", seconds / 3'600);
    return fmt::format("{:.0f} d", std::ceil(seconds / 86'400));
}

std::string key_text(const std::vector<std::string>& key) {
    std::string out;
    for (const std::string& part : key) out += (out.empty() ? "" : ", ") + part;
    return out;
}

}  // namespace homeostat
