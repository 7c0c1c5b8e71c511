// The tables and columns of a revision as they stand, which others may have dropped, and columns that nothing needs any more.
#pragma once

#include <string>
#include <vector>

#include "store/data/revisions.hpp"

namespace homeostat {

// The sequence of its documents' ids. It is named by us: a name of PostgreSQL's own choice gives way to one that another replica
// has not committed yet, and would not be the one that reads and writes ask for.
std::string ids_of(const RevisionTables& tables);
// Names it so where it has another name: made by an earlier version, or renamed by somebody. Throws StoreFailure.
void name_ids(Transaction& tx, const RevisionTables& tables);
// Those of its tables that are not there, or lack a column that they were made with ("homeostat_data.p1_r1_chunk"): DROP
// EXTENSION vector CASCADE leaves a table of chunks without vectors. The journal counts too. Throws StoreFailure.
std::vector<std::string> lost_tables(Transaction& tx, const Revision& revision);

// Drops the columns of metadata that are read no more and keep a type of the user's from being dropped: retired ones, and in a
// revision that is not worked on those whose type is no longer the source's. Nothing is rewritten. What somebody's view rests on,
// or somebody reads for longer, is left for the next call. Throws StoreFailure.
void drop_unused_metadata(Transaction& tx, Revision& revision, const SourceShape& source);

}  // namespace homeostat
