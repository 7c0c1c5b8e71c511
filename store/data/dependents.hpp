// Who rests on relations of ours: what PostgreSQL refuses to drop them for, by name, so that a person knows what to drop first.
#pragma once

#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// What depends on these relations and is none of them: "view public.mine, materialized view public.sums", as the server describes
// its objects, in the order of their names and at most ten of them; "" where nothing does. Relations that are not there are left
// out. Throws StoreFailure.
std::string dependents_of(Transaction& tx, const std::vector<std::string>& relations);

}  // namespace homeostat
