// Ids for documents that were read and are not stored yet.
//
// A sequence cannot be drawn from where a source is read, because sources are read in read only transactions: what is in a view
// runs with our rights there. Belongs to the thread that calls it.
#pragma once

#include <vector>

#include "store/data/vectors.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// In one statement of its own, where there are any without.
Status give_ids(Session& session, const Revision& revision, std::vector<ReadDocument>& documents);

}  // namespace homeostat
