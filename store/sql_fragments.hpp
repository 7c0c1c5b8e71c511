// Pieces of statements that name a source's columns; shared by the statements of store/vectors.hpp. Pure.
#pragma once

#include <string>
#include <string_view>

#include "store/relation.hpp"

namespace homeostat {

// `pattern` with {} for 1, 2, ... n (from `first`), joined by commas.
std::string numbered(std::size_t n, std::string_view pattern, int first = 1);

// s."a" = <right> AND ...; `right` has {0} for the number of the key column, {1} for its type, {2} for its collation.
std::string match_source(const SourceShape& source, std::string_view right);

}  // namespace homeostat
