// Secrets that somebody was sent and quotes are blotted out of what he says, in whatever form he quotes them. Pure; safe from any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

// So many letters of a secret in a row give too much of it away.
inline constexpr std::size_t kMostQuoted = 7;

// The text with every occurrence of the secret blotted out, and every part of it longer than kMostQuoted: as it is, in other
// case, broken by white space, escaped (JSON, percent, HTML, any of them twice), as base64 or hex, alone or in the middle of
// more. A secret of at most kMostQuoted letters is only blotted out whole, and not in base64 or hex.
std::string redact(std::string text, std::string_view secret);
// Of all, but for those of less than four letters, which would leave nothing to read.
std::string redact_all(std::string text, const std::vector<std::string>& secrets);

}  // namespace homeostat
