// Whether vectors are those of the texts beside them: the fake endpoint makes a vector from nothing but its text.
#pragma once

#include <string>
#include <vector>

#include "tests/kit/cluster.hpp"

namespace homeostat::chaos {

// Of `some` rows of a served view, any (0: all of them): texts whose vector is not theirs, and whether two models made them.
std::vector<std::string> wrong_vectors(kit::Sql& sql, const std::string& view, int some);

}  // namespace homeostat::chaos
