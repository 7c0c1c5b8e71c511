// How much of a text that a provider calls too long should be asked for next. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

// The beginning of the text, cut between two letters, that the refusal's own numbers let pass (less a twentieth, as tokens are
// not spread evenly); half of it where it names none. Never empty but for an empty text.
std::string shortened_text(std::string_view text, const Error& refusal);

}  // namespace homeostat
