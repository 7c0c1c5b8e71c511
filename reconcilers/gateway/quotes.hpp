// What failed is told to all who use a provider: of another's pipeline too, in its conditions and of the provider itself.
// Endpoints quote what they refuse; whose documents those are may read it of his own batch, and nobody else of the provider.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

// The error without what its message has in common with one of the texts: each run of twelve bytes and more, and each text of
// four and more as a whole, is one "...". Its other fields stay: limits are read from them, and they are not shown.
Error without_quotes(Error error, const std::vector<std::string>& texts);

}  // namespace homeostat
