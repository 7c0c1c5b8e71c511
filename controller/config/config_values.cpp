#include "controller/config/config_values.hpp"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <limits>

namespace homeostat {

namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

// Largest first: the order a compound duration must have.
constexpr std::array<Unit, 5> kDurations{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 5> kSizes{
    {{"TiB", 1ULL << 40U}, {"GiB", 1ULL << 30U}, {"MiB", 1ULL << 20U}, {"KiB", 1ULL << 10U}, {"", 1}}};

constexpr std::uint64_t kMaxMillis = 36'500ULL * 86'400'000;  // a century: far beyond every bound, far from overflow

// Takes "12unit" off the front of `text`.
template <std::size_t N>
std::optional<std::pair<std::uint64_t, const Unit*>> take(std::string_view& text, const std::array<Unit, N>& units) noexcept {
    std::uint64_t n = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (failure != std::errc() || end == text.data()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::size_t length = 0;
    while (length < text.size() && (text[length] < '0' || text[length] > '9')) ++length;
    const std::string_view name = text.substr(0, length);
    for (const Unit& unit : units) {
        if (unit.name == name) {
            text.remove_prefix(length);
            return std::pair{n, &unit};
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<Millis> parse_duration(std::string_view text) noexcept {
    if (text == "0") return Millis{0};
    std::uint64_t total = 0;
    std::uint64_t below = std::numeric_limits<std::uint64_t>::max();
    if (text.empty()) return std::nullopt;
    while (!text.empty()) {
        const auto part = take(text, kDurations);
        if (!part || part->second->factor >= below) return std::nullopt;
        below = part->second->factor;
        if (part->first > kMaxMillis / below) return std::nullopt;
        total += part->first * below;
    }
    if (total > kMaxMillis) return std::nullopt;
    return Millis{static_cast<Millis::rep>(total)};
}

std::string duration_text(Millis value) {
    if (value.count() <= 0) return "0";
    auto rest = static_cast<std::uint64_t>(value.count());
    std::string out;
    for (const Unit& unit : kDurations) {
        if (rest >= unit.factor) out += fmt::format("{}{}", rest / unit.factor, unit.name);
        rest %= unit.factor;
    }
    return out;
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
    const auto part = take(text, kSizes);
    if (!part || !text.empty()) return std::nullopt;
    if (part->first > std::numeric_limits<std::uint64_t>::max() / part->second->factor) return std::nullopt;
    return part->first * part->second->factor;
}

std::string size_text(std::uint64_t bytes) {
    for (const Unit& unit : kSizes) {
        if (bytes >= unit.factor && bytes % unit.factor == 0) return fmt::format("{}{}", bytes / unit.factor, unit.name);
    }
    return "0";
}

std::optional<double> parse_share(std::string_view text) noexcept {
    double value = 0;
    if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;  // inf and nan are no shares either
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::string redact_url(std::string_view url) {
    std::string out(url);
    const std::size_t scheme = out.find("://");
    if (scheme != std::string::npos) {
        const std::size_t start = scheme + 3;
        const std::size_t at = out.substr(0, out.find_first_of("/?", start)).rfind('@');
        const std::size_t colon = out.find(':', start);
        if (at != std::string::npos && colon < at) out.replace(colon + 1, at - colon - 1, "***");
        // A password with a slash in it makes what is before the slash a host and a port to whoever reads it so.
        const std::size_t far = out.rfind('@');
        if (at == std::string::npos && far != std::string::npos && colon < far) out.replace(colon + 1, far - colon - 1, "***");
    }
    for (std::size_t at = out.find("password"); at != std::string::npos; at = out.find("password", at + 1)) {
        const std::size_t equals = out.find_first_not_of(' ', at + 8);
        if (equals == std::string::npos || out[equals] != '=') continue;
        std::size_t start = out.find_first_not_of(' ', equals + 1);
        if (start == std::string::npos) break;
        const bool quoted = out[start] == '\'';
        std::size_t end = quoted ? start + 1 : out.find_first_of(scheme != std::string::npos ? "&" : " \t\n", start);
        while (quoted && end < out.size() && out[end] != '\'') end += out[end] == '\\' ? 2 : 1;
        if (end == std::string::npos || end > out.size()) end = out.size();
        out.replace(start, end - start + (quoted && end < out.size() ? 1 : 0), "***");
    }
    return out;
}

std::vector<std::string> parse_list(std::string_view rest) {
    std::vector<std::string> out;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(','), rest.size());
        std::string_view name = rest.substr(0, end);
        while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
        while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
        if (!name.empty()) out.emplace_back(name);
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return out;
}

}  // namespace homeostat
