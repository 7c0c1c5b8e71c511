// What a refusal says of a limit: of what it is one, and which number it names.
//
// Endpoints word it as they like ("batch size is invalid, it should not be larger than 10", "maximum context length is 8192
// tokens"). Whether a limit is one of a single text or of a whole request decides what follows: a text that is too long is nobody
// else's fault, and teaches nothing about requests. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace homeostat {

enum class LimitOf : std::uint8_t {
    nothing,  // no limit is spoken of
    text,  // of one text: its tokens or letters
    items,  // texts in a request
    tokens,  // of all texts of a request together
    bytes,  // of a request's body
};

// `said` as the endpoint sent it, in any case.
LimitOf limit_in_words(std::string_view said);
// The same of a request that had so many tokens: where the endpoint counts far fewer, it speaks of one of its texts.
LimitOf limit_in_words(std::string_view said, std::uint64_t tokens);
// That a limit of tokens is one of all texts together is said in so many words.
bool names_them_together(std::string_view said);

// The limit it names for a request that had `size` of them and was refused; absent where it names none that would explain it.
// `exact`: both sides count alike, as they do texts and do not tokens.
std::optional<std::uint64_t> limit_named(std::string_view said, std::uint64_t size, bool exact);
// How many it says there were, by its own count: a number near `size` above the limit.
std::optional<std::uint64_t> count_named(std::string_view said, std::uint64_t limit, std::uint64_t size);
// Likewise of bytes, which may have a unit ("2 MB").
std::optional<std::uint64_t> bytes_named(std::string_view said, std::uint64_t size);

}  // namespace homeostat
