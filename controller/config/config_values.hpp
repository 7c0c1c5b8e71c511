// Values as people write them: durations (250ms, 15s, 2m, 1h, 1d), sizes (64MiB) and shares (0.25). Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"

namespace homeostat {

// A whole number with its unit, or several from large to small (1h30m). A bare number is refused, except 0.
std::optional<Millis> parse_duration(std::string_view text) noexcept;
// The shortest of those texts that means exactly `value`.
std::string duration_text(Millis value);

// A whole number of bytes, or with KiB, MiB, GiB, TiB.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;
std::string size_text(std::uint64_t bytes);

// A number in plain decimals (0.25); neither sign nor exponent.
std::optional<double> parse_share(std::string_view text) noexcept;

// What stands between commas, without the spaces around it; nothing empty.
std::vector<std::string> parse_list(std::string_view text);

// A URI or key=value string for libpq with its password blotted out.
std::string redact_url(std::string_view url);

}  // namespace homeostat
