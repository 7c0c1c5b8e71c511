// Counts and lengths of time in sentences: "1 document is", "2 documents are", "1.5 s", "32 min". Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace homeostat {

std::string_view one_or_many(std::int64_t n, std::string_view one, std::string_view many);

// `noun` takes an s, or is replaced by `many`.
std::string plural(std::int64_t n, std::string_view noun, std::string_view many = {});

// As exact as somebody reads it: tenths below ten seconds, then seconds, minutes, hours, days.
std::string span_text(double seconds);

}  // namespace homeostat
