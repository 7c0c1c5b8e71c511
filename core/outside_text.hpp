// Text that somebody else wrote (a provider, a program, the server, whoever declares), fit to be shown and stored: the one
// function that it passes at its edge. What comes out is well-formed UTF-8 on one line, of a bounded length, without characters
// that move the cursor, hide, or turn the direction of writing, and without words that look like secrets. Pure; safe from any
// thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace homeostat {

inline constexpr std::size_t kMostOutside = 2'000;  // letters of a message

// At most `most` letters, and "..." where there were more. What is no letter becomes U+FFFD, what is not to be seen a space, and
// what looks like a secret ***.
std::string outside_text(std::string_view text, std::size_t most = kMostOutside);

// The same without looking for secrets: for what is written here, around what has passed already.
std::string visible_text(std::string_view text, std::size_t most = kMostOutside);

// Whether a letter has no place in a line: controls, separators of lines, marks of direction and width, byte order marks, tags.
bool is_hidden(char32_t letter) noexcept;

// The length of the well-formed letter at the beginning of `text`, and which it is; 0 where there is none.
std::size_t letter_at(std::string_view text, char32_t& letter) noexcept;

}  // namespace homeostat
