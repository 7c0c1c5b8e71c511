// Which documents the open heals of a pipeline hold.
#pragma once

#include <cstdint>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Of these keys, those that an open heal of this revision holds, in the order given. A heal commits its documents together with
// the end of its batch: so one statement sees either the batch or what it has written, and a document that is in neither now
// comes to be only by a heal that reads the source after now.
std::vector<bool> keys_under_way(Transaction& tx, std::int64_t uid, std::int32_t revision, const SourceShape& source,
                                 const std::vector<Key>& keys);

}  // namespace homeostat
