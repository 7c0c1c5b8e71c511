// The part of the way through that records: status, conditions, failures.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/factory/retry.hpp"
#include "reconcilers/factory/write_gate.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_gauges.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "reconcilers/pipeline/rolling_back.hpp"
#include "store/control/batches.hpp"
#include "store/control/leases.hpp"
#include "store/control/steadiness.hpp"
#include "store/control/waiting.hpp"
#include "store/data/kept_vectors.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kWritesPause{5'000};

// Told by a pass that did nothing, and untrue from the first one on that may.
bool is_pause(const Condition& c) {
    return c.reason == "Suspended" || c.reason == kRolledBack || c.reason == "DependencyNotReady" || c.reason == kWaitingForLock;
}

Status forget_vectors(Pool& writes, std::int64_t provider, const Context& context) {
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    return forget_vectors_of(**session, provider);
}

}  // namespace

StatusUpdate PipelineReconciler::status_update(const Pass& pass) {
    StatusUpdate update;
    update.uid = pass.uid;
    update.observed_generation = pass.status.observed_generation;
    update.status = pass.status;
    update.status.conditions.clear();
    update.failures = pass.state.failures;
    update.window = pass.state.window;
    update.previous_source_documents = pass.state.previous_source_documents;
    update.status.next_attempt = pass.state.next_attempt;
    update.status.last_handled_reconcile = pass.state.last_handled_reconcile;
    update.provider_generation = pass.state.provider_generation;
    update.observed_mark = pass.state.observed_mark;
    if (pass.run) update.unkeyed = pass.run->unkeyed;
    return update;
}

// While a run goes on: what it does now, and the drift as far as this sweep has seen it.
Status PipelineReconciler::record_progress(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&]() -> Status {
        if (const Status read = read_truth(**session, pass); !read) return read;
        if (pass.distrusted) pass.status.last_error = pass.distrusted->message;
        Seen seen = seen_in(pass, true);
        if (pass.run) {
            Result<RunProgress> progress = read_progress(**session, pass.run->id);
            if (!progress) return progress.error();
            seen.healed = progress->written;
            seen.progress = fmt::format("{}: {} of {} planned so far {} done", to_string(seen.phase),
                                        progress->written + progress->dropped + progress->removed,
                                        plural(pass.run->planned, "document"), one_or_many(pass.run->planned, "is", "are"));
            if (!pass.open.last_error.empty()) seen.progress += fmt::format("; last trouble: {}", pass.open.last_error);
        }
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        StatusUpdate update = status_update(pass);
        update.observed_generation = pass.declared.generation;
        // The generation counts as observed only once its own run has ended, or it would not be due after a crash.
        if (pass.run || !pass.declared.suspend) update.observed_generation = pass.status.observed_generation;
        update.status.conditions = conditions_of(seen);
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
        publish(pass);
        return {};
    });
}

// Nothing is healed. A rollback goes on; once it is done the next look is due, and deep. One that a run's own gate asked for ends
// as that run would have: in its error.
Result<ReconcileOutcome> PipelineReconciler::stay_suspended(Pass& pass) {
    bool more = false;
    bool condemned = false;
    if (pass.points.rollback) {
        condemned = pass.points.rollback->unverified_run.has_value();
        Result<RollbackProgress> done =
            roll_back(writes_, clock_, pass.declared, pass.revisions, *pass.points.rollback, pass.run, pass.context);
        if (!done) return done.error();
        more = done->end == RollbackEnd::more || done->end == RollbackEnd::refused;
        if (!pass.run) pass.open = {};
        if (done->end != RollbackEnd::more) pass.points.rollback.reset();
        if (done->end == RollbackEnd::done) {
            pass.state.next_attempt.reset();
            pass.status.last_deep_sweep.reset();
            pass.status.documents = done->stored.documents;
            pass.status.chunks = done->stored.chunks;
            pass.status.blocked_prunes = 0;
            pass.status.blocked_plan.clear();
            pass.prune = {};
        }
    }
    if (condemned && !more) {
        // What a batch may have put there after the verdict.
        if (const Status forgotten = forget_vectors(writes_, pass.provider.uid, pass.context); !forgotten)
            return forgotten.error();
    }
    if (const Status recorded = record_progress(pass); !recorded) return recorded.error();
    if (more) return ReconcileOutcome{.again_in = milliseconds(1)};
    if (!condemned || !pass.distrusted)
        return ReconcileOutcome{.end = PassEnd::settled, .again_in = pass.declared.drift_interval};
    faults_.met(pipeline_of(pass.uid), *pass.distrusted,
                fmt::format("pipeline \"{}\": {}", pass.declared.name, pass.distrusted->message), clock_.steady_now(),
                pass.declared.provider);
    return ReconcileOutcome{.end = PassEnd::failed, .again_in = pass.declared.drift_interval};
}

// A plan that costs more than may be paid without asking: nothing of it has begun. Who waits for the end is told.
Result<ReconcileOutcome> PipelineReconciler::wait_for_approval(Pass& pass, const Observation& found) {
    if (pass.status.last_sweep && !pass.beside()) pass.status.drift = found.drift;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const Status taken = guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        take_feed_batches_along(tx, pass.uid);
        tx.commit();
    });
    if (!taken) return taken.error();
    if (const Status recorded = record_progress(pass); !recorded) return recorded.error();
    if (settings_.once) {
        return Error{.cls = ErrorClass::unavailable,
                     .message = pass.holds.plan ? pass.holds.plan->message : "",
                     .origin = Origin::user,
                     .code = std::string(kApprovalNeeded)};
    }
    return ReconcileOutcome{.end = PassEnd::waiting, .again_in = pass.declared.drift_interval};
}

// Between runs: what became of the feed, and that what a pass once waited for is over.
Status PipelineReconciler::record_between(Pass& pass) {
    Seen seen;
    seen.generation = pass.status.observed_generation;
    seen.feed = pass.feed_seen;
    std::vector<Condition> wanted = feed_conditions(seen);
    const auto& told = pass.status.conditions;
    if (pass.state.failures == 0 && std::any_of(told.begin(), told.end(), is_pause)) {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        if (const Status read = read_truth(**session, pass); !read) return read;
        for (Condition& c : conditions_of(seen_in(pass, false))) {
            if (c.type == "Ready" || c.type == "Synced" || c.type == "Reconciling") wanted.push_back(std::move(c));
        }
    }
    const auto same = [&](const Condition& c) {
        return std::any_of(pass.status.conditions.begin(), pass.status.conditions.end(), [&](const Condition& had) {
            // A bypass stays told until the next sweep finds none.
            return had.type == c.type && ((had.status == c.status && had.reason == c.reason) || had.reason == "Bypassed");
        });
    };
    // An edit of the provider that asks for no other vectors is seen by that alone.
    const bool seen_anew = pass.state.failures == 0 &&
                           std::exchange(pass.state.provider_generation, pass.provider.generation) != pass.provider.generation;
    if (!seen_anew && std::all_of(wanted.begin(), wanted.end(), same)) return {};
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        StatusUpdate update = status_update(pass);
        update.status.conditions = wanted;
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
    });
}

void PipelineReconciler::suffers_no_more(std::int64_t uid) {
    for (const std::string& part : {pipeline_of(uid), batches_of(uid)}) faults_.over(part, clock_.steady_now());
}

// The pass failed: the run ends, what it left planned is withdrawn, and the status says why and when it is tried again.
Result<ReconcileOutcome> PipelineReconciler::record_failure(Pass& pass, const Error& error) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const WallTime now = this->now(pass);
    ++pass.state.failures;
    // A database that is full or read-only is no trouble of this pipeline's, and is tried again soon.
    // It is suspended, and goes on at once where a person resumes it.
    const milliseconds wait =
        error.code == kVerificationFailed ? milliseconds(0)
        : is_write_trouble(error)         ? kWritesPause
        : error.retryable()
            ? std::max(settings_.retry_base, full_jitter(pass.state.failures, settings_.retry_base, settings_.retry_cap, 0.75))
            : settings_.reprobe;
    if (const Status read = read_truth(**session, pass); !read) return read.error();
    const Status done = guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        pass.state.next_attempt = now + wait;
        pass.state.last_handled_reconcile = pass.declared.reconcile_requested;
        pass.state.provider_generation = pass.provider.generation;
        pass.state.observed_mark = pass.run ? pass.run->source_mark : pass.state.source_mark;
        pass.status.last_error = error.message;
        pass.status.observed_generation = pass.declared.generation;
        Seen seen = seen_in(pass, false);
        seen.unkeyed = 0;
        seen.bypassed = 0;
        seen.failure = error;
        // A source that cannot be read is Unknown; one that was read and a provider that failed is not.
        seen.observed =
            !(error.cls == ErrorClass::db_permanent || error.cls == ErrorClass::db_resource || error.code == "AmbiguousKey");
        bool source_counted = !seen.observed;
        if (!seen.observed) pass.status.source_documents.reset();
        if (pass.run) {
            if (!pass.beside()) pass.status.drift = pass.run->found;
            if (seen.observed && pass.run->phase != RunPhase::sweeping) {
                pass.status.source_documents = pass.run->seen;
                source_counted = true;
            }
            seen.drift = pass.status.drift;
            seen.source_documents = pass.status.source_documents;
            // After one slow statement it goes on where it is.
            if (error.code != kTookTooLong) {
                end_run(tx, *pass.run, pass.declared.name, "Failed", error.message);
                discard_run_batches(tx, pass.uid, pass.run->id);
            }
        }
        StatusUpdate update = status_update(pass);
        update.source_counted = source_counted;
        update.status.conditions = conditions_of(seen);
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
    });
    if (!done) return done.error();
    publish(pass);
    faults_.met(pipeline_of(pass.uid), error, fmt::format("pipeline \"{}\": {}", pass.declared.name, error.message),
                clock_.steady_now(), pass.declared.provider);
    return ReconcileOutcome{.end = PassEnd::failed, .again_in = std::min(wait, pass.declared.drift_interval)};
}

void PipelineReconciler::publish(const Pass& pass) { publish_gauges(telemetry_.metrics, pass.declared.name, pass.status); }

}  // namespace homeostat
