// A revision as it would stand after tables were made or columns added, for comparing with it while writing nothing. Statements
// see a subquery in the place of the table; nothing of the user's is named in it but types of the catalog. Pure but for what it
// is given; any thread.
#pragma once

#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"

namespace homeostat {

// One that holds no document yet.
Revision preview_new(std::int64_t uid, const RevisionSettings& settings, const SourceShape& source);

// An existing one, with every metadata column of the source in it: those not held yet are NULL in every row.
Revision preview_aligned(Revision revision, const SourceShape& source);

}  // namespace homeostat
