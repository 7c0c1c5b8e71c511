// Carries out what is asked for in table homeostat.erasure: takes every trace of a document out of every table, looks in all of
// them until nothing is found, and writes the receipt.
//
// A step is a transaction, and each may be the last of this process: a request is open until a look has found nothing, and
// whoever takes it up again begins with the look. Nothing is erased that is still in the source, as it would be embedded again.
#pragma once

#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Whether some still wait, with their reason in their rows; the next pass tries again. An error is one of a lease that was lost,
// or a database that does not answer. Blocks; under the pipeline's lease.
Result<bool> carry_out_erasures(Pool& reads, Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                                const Context& context);

}  // namespace homeostat
