// Revisions that a person wants dropped (homeostat.pipeline.revision_drop).
#pragma once

#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Drops the revision that is asked for, where it is neither served nor built, in a transaction of its own under the lease's
// epoch; says so as an event, and takes the request back. `revisions` follows. Where somebody reads its tables the error is of
// code kLockHeld, and it is tried again. Blocks.
Status drop_asked(Pool& writes, const PipelineSpec& declared, std::vector<Revision>& revisions, const Context& context);

}  // namespace homeostat
