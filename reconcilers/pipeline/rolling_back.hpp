// Takes checkpoints for people, and takes a pipeline back to one (homeostat.checkpoint, homeostat.rollback).
//
// A rollback is a transaction that begins it, one that plans it, one for some documents each, and one that ends it; each may be
// the last of this process, and whoever takes it up goes on behind the last that was committed. The pipeline is pinned since it
// was asked for, so nobody else writes; what had been planned goes with the first of them. Only that one holds the pipeline's
// row. Planning and ending read the whole journal and have half an hour each; what takes longer is undone, told as a failure
// (TookTooLong), and tried again. docs/internals/rollback.md says why it is exact, and why
// nothing is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/resource.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/runs.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Checkpoints that are asked for, and what a rollback would do. Blocks; under the pipeline's lease.
Status take_points(Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                   const PointRequests& points, const Context& context);

enum class RollbackEnd : std::uint8_t { more, done, refused };  // refused: it is pinned no more
struct RollbackProgress {
    RollbackEnd end = RollbackEnd::more;
    Totals stored;  // once it is done
};
// Goes on until the context's deadline. Steps run side by side, on threads that end with them, a session of `writes` each. `run`,
// which is under way, has ended then and is none any more.
Result<RollbackProgress> roll_back(Pool& writes, const Clock& clock, const PipelineSpec& declared,
                                   const std::vector<Revision>& revisions, RollbackRequest request, std::optional<Run>& run,
                                   const Context& context);

}  // namespace homeostat
