// The target view reconciler: rows of a relation become pipelines, change them, and let them go.
//
// A pass looks once (store/control/target_views.hpp), decides here what may go, and writes in transactions that hold the view's
// lease. What a relation does not show in two complete looks in a row goes as the view says, behind brakes like those for
// documents: nothing goes where the relation reads as empty or shrank by more than half, and no more than a share within the
// hour, unless a person has approved exactly that set. A relation that cannot be read is Unknown: nothing changes.
//
// The decisions are pure. The reconciler is thread-safe as the Reconciler contract says; all state is in the database but for the
// plan that the look before saw.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/control/target_views.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct RemovalInput {
    std::int64_t vanished = 0;  // pipelines whose row is gone
    std::int64_t declared = 0;  // with those
    std::int64_t rows = 0;  // of the relation now
    std::optional<std::int64_t> counted_rows;  // at the look it is compared with
    std::int64_t removed_in_window = 0;  // within the hour
    double max_ratio = 0.10;
    bool approved = false;  // a person has approved this very set
};

// All of the set goes, or nothing of it.
struct RemovalDecision {
    bool blocked = false;
    std::string reason;  // CamelCase, for the condition
    std::string message;
};
RemovalDecision decide_removal(const RemovalInput& input);

// What a look leads to.
struct TargetViewPlan {
    std::vector<std::string> retire;
    RemovalDecision removal;
    bool unconfirmed = false;  // something vanished, and only this look has seen it
    bool clear_approval = false;  // it was used, or what it names does not wait any more
    TargetViewStatus status;  // counts as they are once everything planned is done; conditions are made after that
};
// `plan_before`: of the look before, as far as known. Nothing is due to `sight` alone.
TargetViewPlan plan_target_view(const TargetViewSpec& view, const TargetViewStatus& before, const TargetViewSight& sight,
                                const std::string& plan_before, WallTime now);

std::vector<Condition> target_view_conditions(const TargetViewSpec& view, const TargetViewSight& sight,
                                              const TargetViewPlan& plan);

class TargetViewReconciler final : public Reconciler {
public:
    // All outlive the reconciler. `declared` is called when pipelines were written, so that somebody looks at them at once.
    // `once`: rows that were refused a moment ago are tried again.
    TargetViewReconciler(Pool& reads, Pool& writes, const Clock& clock, Telemetry telemetry, bool once,
                         std::function<void()> declared);

    Result<ReconcileOutcome> reconcile(std::int64_t uid, const Context& context, Span& span) override EXCLUDES(mutex_);

private:
    struct Pass;

    Result<ReconcileOutcome> run_pass(Pass& pass) EXCLUDES(mutex_);
    Status declare(Pass& pass);
    Status conclude(Pass& pass);
    Result<ReconcileOutcome> record(Pass& pass, const TargetViewStatus& status, ReconcileOutcome outcome);
    Result<ReconcileOutcome> finalize(Pass& pass);
    void publish(const TargetViewSpec& view, const TargetViewStatus& status);

    Pool& reads_;
    Pool& writes_;
    const Clock& clock_;
    Telemetry telemetry_;
    const bool once_;
    const std::function<void()> declared_;
    Mutex mutex_;
    std::map<std::int64_t, std::string> plans_ GUARDED_BY(mutex_);  // as the last look saw them, by uid
};

}  // namespace homeostat
