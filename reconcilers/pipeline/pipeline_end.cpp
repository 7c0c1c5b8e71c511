// The end of a pipeline: its data where they are to go, its triggers, its row.
#include <fmt/format.h>

#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/feed/capture.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

// Whoever reads what is to go is not waited for: it goes as soon as nobody does.
Result<ReconcileOutcome> PipelineReconciler::finalize(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    if (pass.declared.deletion_policy == "Delete") {
        if (const Status turn = turn_to_alter(pass); !turn) return turn.error();
        if (const Status dropped = drop_pipeline_data(**session, pass.declared); !dropped) return dropped.error();
    }
    const LockTurn turn = turn_to_lock(**session, pass, of_triggers(pass, InTheWay::everybody));
    if (!turn.waits.empty()) return lock_held(turn.waits, kLockNotAvailable);
    const Status gone = guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        tx.exec(turn.timeout);
        if (const Status removed = remove_capture(tx, pass.uid); !removed) throw StoreFailure(removed.error());
        add_event(tx, {.uid = pass.uid,
                       .reason = "Deleted",
                       .message = fmt::format("pipeline \"{}\" is deleted; its vectors are {}", pass.declared.name,
                                              pass.declared.deletion_policy == "Delete" ? "gone" : "left in place"),
                       .reconcile_id = pass.context.reconcile_id});
        tx.exec({"pipeline_finalize", "UPDATE homeostat.pipeline SET finalizers = '{}' WHERE uid = $1::bigint"},
                Params::of(pass.uid));
        tx.exec({"pipeline_delete", "DELETE FROM homeostat.pipeline WHERE uid = $1::bigint"}, Params::of(pass.uid));
        tx.commit();
    });
    if (!gone) return gone.error();
    suffers_no_more(pass.uid);
    telemetry_.metrics.forget("pipeline", pass.declared.name);
    {
        const Lock lock(mutex_);
        slice_limits_.erase({pass.uid, false});
        slice_limits_.erase({pass.uid, true});
        paces_.erase(pass.uid);
        tried_.erase(pass.uid);
        held_off_.erase({pass.uid, false});
        held_off_.erase({pass.uid, true});
    }
    return ReconcileOutcome{.end = PassEnd::gone};
}

}  // namespace homeostat
