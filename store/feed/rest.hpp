// Whether pipelines that had nothing to do still have nothing to do, asked for many at once.
//
// What a pass over a pipeline finds follows from rows, the catalog and the time. A mark is a short text of all of it but the
// time: the declaration and its provider, the source and the tables behind it, status, conditions, revisions, and the change feed
// down to each trigger and its function. Where the mark is the same before and after, a pass that found nothing to do the first
// time would find nothing the second time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// In the order of `uids`: "" for one that has something to do (a run, a batch, named changes) or has no feed. Costs a few
// statements, however many they are.
Result<std::vector<std::string>> read_rest_marks(Session& session, const std::vector<std::int64_t>& uids);

}  // namespace homeostat
