// Types that extensions bring, as keys: whether two tables can be compared by them.
#pragma once

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Throws StoreFailure (invalid, the declaration's fault) where a key column of `oid`, a relation, has a type by which PostgreSQL
// cannot join two tables in full: one without an order, or whose equality is neither merged nor hashed. Blocks for a round trip.
void refuse_keys_that_do_not_join(Transaction& tx, const PipelineSpec& spec, const std::string& oid);

}  // namespace homeostat
