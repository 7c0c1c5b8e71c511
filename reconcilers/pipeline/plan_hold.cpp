#include "reconcilers/pipeline/plan_hold.hpp"

#include <algorithm>

#include "store/control/leases.hpp"

namespace homeostat {

Result<std::optional<Observation>> plan_too_dear(Pool& reads, Pool& writes, const PipelineSpec& pipeline,
                                                 const ProviderSpec& provider, const ObserveSettings& settings,
                                                 const Context& context) {
    if (!pipeline.approve_above || pipeline.management != "Manage" || pipeline.drift_policy != "Enforce")
        return std::optional<Observation>();
    Result<Observation> found = internal_error("nothing was observed");
    {
        Result<Pool::Lease> session = reads.acquire(context);
        if (!session) return session.error();
        found = observe_pipeline(**session, pipeline, provider, settings, context.stop);
    }
    if (!found) return found.error();
    const PlanEstimate& plan = found->plan;
    const bool dear = plan.price > *pipeline.approve_above;
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    bool held = false;
    const Status noted = guarded([&] {
        Transaction tx = (*session)->begin();
        hold_lease(tx, pipeline_lease(pipeline.uid), context.epoch);
        // What was approved stays so until its run has ended, however little of it is left.
        if (dear) held = hold_plan(tx, pipeline, provider.currency, {plan.documents, plan.tokens, plan.price});
        if (!dear) forget_held_plan(tx, pipeline.uid);
        tx.commit();
    });
    if (!noted) return noted.error();
    return held ? std::optional<Observation>(*std::move(found)) : std::nullopt;
}

Result<Holds> read_holds(Session& session, const PipelineSpec& pipeline, const ProviderSpec& provider,
                         const std::vector<Condition>& told) {
    const auto was_told = [&](std::string_view type) {
        return std::any_of(told.begin(), told.end(), [&](const Condition& c) { return c.type == type; });
    };
    Holds holds;
    if (has_budget(pipeline, provider) || was_told("BudgetSpent")) {
        Result<BudgetHold> hold = read_budget_hold(session, pipeline.uid);
        if (!hold) return hold.error();
        holds.budget = *std::move(hold);
    }
    if (pipeline.approve_above || was_told("PlanHeld")) {
        Result<BudgetHold> hold = read_plan_hold(session, pipeline.uid);
        if (!hold) return hold.error();
        holds.plan = *std::move(hold);
    }
    return holds;
}

}  // namespace homeostat
