// The small things that requests and messages of every provider are written with. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

// A JSON string. Ill-formed UTF-8 becomes U+FFFD: a document must never make a request that is not JSON.
void append_json_string(std::string& out, std::string_view text);

// A JSON list of the texts, each behind the prefix.
void append_json_texts(std::string& out, std::string_view prefix, const std::vector<std::string>& texts);

// The members of a JSON object, each behind a comma: what goes behind the first members of another one. Those of `others` come in
// the place of those they share a name with; null there takes one away. Refuses what is no JSON object.
Result<std::string> append_members(const std::string& object, const std::string& others = "{}");

// What the other side wrote, fit to stand in a message: quoted, escaped, well-formed, at most about `most` bytes of it.
std::string quoted_excerpt(std::string_view text, std::size_t most = 300);

// What some servers put before a text: a byte order mark.
std::string_view without_mark(std::string_view text) noexcept;

// The first words of what the other side wrote, fit to stand between quotes in a message: well-formed UTF-8, without control
// characters and without those that turn the direction of writing, at most `most` letters.
std::string clean_excerpt(std::string_view text, std::size_t most = 300);

// Where the provider does not say: about four bytes a token.
std::uint64_t estimated_tokens(const std::vector<std::string>& texts);
// What the provider says, unless that cannot be: no text has more tokens than bytes and what a server puts before it (a
// thousand).
std::uint64_t believable_tokens(std::uint64_t said, const std::vector<std::string>& texts);

}  // namespace homeostat
