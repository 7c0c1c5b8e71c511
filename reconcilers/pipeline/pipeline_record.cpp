// The part of the way through that records: status, conditions, the end of a run, failures.
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
#include "store/pg/pg_error.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kShedPause{30'000};
constexpr milliseconds kWritesPause{5'000};

// Told by a pass that did nothing, and untrue from the first one on that may.
bool is_pause(const Condition& c) {
    return c.reason == "Suspended" || c.reason == kRolledBack || c.reason == "DependencyNotReady" || c.reason == kWaitingForLock;
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

// Nothing is healed. A rollback goes on; once it is done the next look is due, and deep.
Result<ReconcileOutcome> PipelineReconciler::stay_suspended(Pass& pass) {
    bool more = false;
    if (pass.points.rollback) {
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
    if (const Status recorded = record_progress(pass); !recorded) return recorded.error();
    if (more) return ReconcileOutcome{.again_in = milliseconds(1)};
    return ReconcileOutcome{.end = PassEnd::settled, .again_in = pass.declared.drift_interval};
}

// A plan that costs more than may be paid without asking: nothing of it has begun. Who waits for the end is told.
Result<ReconcileOutcome> PipelineReconciler::wait_for_approval(Pass& pass, const Observation& found) {
    if (pass.status.last_sweep && !pass.beside()) pass.status.drift = found.drift;
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
    if (std::all_of(wanted.begin(), wanted.end(), same)) return {};
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

// A later revision takes over where it has nothing left to heal: one statement, and search sees one or the other. What was still
// planned for the one before goes: nobody reads that any more, and all of it was planned for this one too. Nobody writes to
// either meanwhile, so that the count is that of what is served from the commit on.
Status PipelineReconciler::serve_what_is_whole(Pass& pass, Transaction& tx, Totals& stored) {
    if (pass.revision.state == "served" || pass.run->found.to_embed() > 0) return {};
    hold_writers(tx, pass.uid);
    if (stored.documents <= kCountedAtOnce) stored = count_stored(tx, pass.revision);
    if (const Status served = serve_revision(tx, pass.spec, pass.revision, pass.source, pass.vectors); !served) return served;
    discard_superseded_batches(tx, pass.uid, pass.revision.number);
    pass_served_gap_on(tx, pass.uid);
    add_event(tx, {.uid = pass.uid,
                   .reason = "RevisionServed",
                   .message = fmt::format("revision {} is served now", pass.revision.number),
                   .reconcile_id = pass.context.reconcile_id});
    pass.revision.state = "served";
    for (Revision& r : pass.revisions) {
        if (r.number == pass.revision.number || r.state == "served")
            r.state = r.number == pass.revision.number ? "served" : "retired";
    }
    return {};
}

// What the run has found and done, as the status will have it.
void PipelineReconciler::take_down(Pass& pass, const Totals& stored) const {
    const Run& run = *pass.run;
    const WallTime now = this->now(pass);
    PipelineStatus& s = pass.status;
    // Of what is searched: where that is still another revision, this run has seen nothing of it.
    if (!pass.beside()) {
        s.revision = pass.revision.number;
        s.documents = stored.documents;
        s.chunks = stored.chunks;
        s.drift = run.found;
        s.dead_letters = run.dead_letters;
    }
    s.source_documents = run.seen;
    s.last_error.clear();
    s.last_sweep = now;
    if (!s.last_deep_sweep || run.deep) s.last_deep_sweep = now;
    const bool clean = run.found.total() == 0 && run.dead_letters == 0;
    if (clean) s.last_converged = now;
    pass.state.failures = 0;
    pass.state.provider_generation = pass.provider.generation;
    pass.state.observed_mark = run.source_mark;
    // What had to wait for memory is looked at again soon.
    pass.state.next_attempt =
        now + (pass.shed > 0 ? std::min(pass.declared.drift_interval, kShedPause) : pass.declared.drift_interval);
    pass.state.last_handled_reconcile = pass.declared.reconcile_requested;
    // Where deletions are held back the number to compare with stays, or the brake would let go at the next look.
    if (!pass.prune.blocked) pass.state.previous_source_documents = run.seen;
    s.observed_generation = run.generation;
}

// Before anything says that it is done, and before a later revision takes over.
Status PipelineReconciler::verify(Pass& pass) {
    if (pass.run->planned == 0 || !pass.heals()) return {};
    Result<RunProgress> progress = [&]() -> Result<RunProgress> {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        return read_progress(**session, pass.run->id);
    }();
    if (!progress) return progress.error();
    std::int64_t distrusted = 0;
    const Status trusted =
        verify_run(writes_, settings_.ask, {pass.declared, pass.provider, pass.revision, pass.run->id, progress->embedded},
                   distrusted, pass.context);
    pass.run->found.stale += distrusted;
    return trusted;
}

Result<ReconcileOutcome> PipelineReconciler::finish(Pass& pass, std::string_view result, const std::string& message) {
    Run& run = *pass.run;
    if (const Status trusted = verify(pass); !trusted) return trusted.error();
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    Result<Totals> stored = pass.counted ? *pass.counted : count_stored(**session, pass.revision);
    if (!stored) return stored.error();
    if (run.bypassed > 0) {
        // A feed that has filled meanwhile, or was told that something changed, did not fail to name it.
        Result<FeedRow> feed = read_feed(**session, pass.uid);
        if (!feed) return feed.error();
        if (feed->full || !feed->trusted) run.bypassed = 0;
    }
    if (const Status read = read_truth(**session, pass); !read) return read.error();
    const Status done = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        if (const Status served = serve_what_is_whole(pass, tx, *stored); !served) return served;
        if (const Status dropped = drop_old_revision(tx, pass.uid, settings_.keep_revisions, settings_.keep_days); !dropped)
            return dropped;
        if (pass.stored_dead_letters > 0) {
            use_operators(tx, pass.source);
            if (const Status settled = settle_dead_letters(tx, pass.source, pass.revision); !settled) return settled;
        }
        note_versions_hold(tx, run);
        take_down(pass, *stored);
        if (pass.feed_seen.health == FeedHealth::overrun && pass.feed.trusted) pass.feed_seen = {FeedHealth::active, ""};
        // A run that somebody waited for has taken over what the feed had named, and seen whatever else had changed by then.
        if (settings_.once && pass.feed.kept) close_gap(tx, pass.uid, run.id);
        // What waited for this run waits no more; what came meanwhile does.
        end_run(tx, run, pass.declared.name, result, message);
        if (pass.declared.approve_above) forget_plan(tx, pass.uid);
        pass.status.waiting = read_waiting(tx, pass.uid);
        Seen seen = seen_in(pass, false);
        seen.filtered = pass.source.filtered;
        seen.unsteady = settle_unsteady(tx, pass.uid, run.id);
        StatusUpdate update = status_update(pass);
        if (!pass.beside()) update.counted = *stored;
        update.source_counted = true;
        update.status.conditions = conditions_of(seen);
        write_status(tx, update, pass.context.reconcile_id);
        if (run.found.total() == 0) count_source_as_stored(tx, pass.source, pass.revision);
        HOMEOSTAT_REACH("finish.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("finish.after_commit");
        return {};
    });
    if (!done) return done.error();
    // As the source was counted anew.
    if (!pass.capture_fingerprint.empty()) {
        if (const Result<RoomMade> room = make_room(**session, pass.uid); !room) return room.error();
    }
    compare_pace(pass);
    publish(pass);
    // What the feed has planned is not healed by the end of this run.
    const bool converged = run.found.total() == 0 && run.dead_letters == 0 && pass.status.waiting.feed_documents == 0;
    suffers_no_more(pass.uid);
    spdlog::info("pipeline \"{}\": {} ({}, {})", pass.declared.name, result, plural(pass.status.documents, "document"),
                 plural(pass.status.chunks, "chunk"));
    return ReconcileOutcome{
        .end = converged ? PassEnd::converged : PassEnd::settled, .again_in = until_due(pass), .rests = rests_for(pass)};
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

void PipelineReconciler::note_pace(const Pass& pass, double documents_per_second) {
    const Lock lock(mutex_);
    paces_[pass.uid] = {clock_.steady_now(), documents_per_second};
}

void PipelineReconciler::compare_pace(const Pass& pass) {
    Pace pace;
    {
        const Lock lock(mutex_);
        const auto it = paces_.find(pass.uid);
        if (it == paces_.end()) return;  // begun by another replica
        pace = it->second;
        paces_.erase(it);
    }
    if (pace.documents_per_second <= 0 || pass.run->planned < kTellingDocuments) return;
    const double planned = static_cast<double>(pass.run->planned) / pace.documents_per_second;
    const double took = std::chrono::duration<double>(clock_.steady_now() - pace.started).count();
    telemetry_.metrics
        .gauge("homeostat_plan_duration_error_ratio",
               "How much longer (or, below zero, shorter) the last run took than its plan said, as a share of the plan.",
               {{"pipeline", pass.declared.name}})
        .set(took / planned - 1);
}

void PipelineReconciler::publish(const Pass& pass) { publish_gauges(telemetry_.metrics, pass.declared.name, pass.status); }

}  // namespace homeostat
