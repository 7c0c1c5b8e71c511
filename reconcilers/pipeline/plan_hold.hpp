// Before a run begins: whether it would cost more than its pipeline's approve_above, by what a plan says
// (inspect/observation.hpp), and nobody has approved that. Nothing was paid by then, nor for the first fill. Edits that the
// change feed names are no plan.
#pragma once

#include <optional>
#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "store/control/budgets.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// The code of the error of a run that somebody waits for, and that waits for approval.
inline constexpr std::string_view kApprovalNeeded = "ApprovalNeeded";

// What it found where the run has to wait, and nothing where it may begin. Observes the source once more, so it takes as long as
// a sweep; only where approve_above is declared.
Result<std::optional<Observation>> plan_too_dear(Pool& reads, Pool& writes, const PipelineSpec& pipeline,
                                                 const ProviderSpec& provider, const ObserveSettings& settings,
                                                 const Context& context);

// What holds a pipeline back because of what it costs; absent where nothing is declared, and nothing was told.
struct Holds {
    std::optional<BudgetHold> budget, plan;
};
Result<Holds> read_holds(Session& session, const PipelineSpec& pipeline, const ProviderSpec& provider,
                         const std::vector<Condition>& told);

}  // namespace homeostat
