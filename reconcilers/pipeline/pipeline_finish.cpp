// The end of a run: it is verified, a revision that is whole takes over, and what the run has found and done is told.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/batches.hpp"
#include "store/control/freshness.hpp"
#include "store/control/leases.hpp"
#include "store/control/steadiness.hpp"
#include "store/control/waiting.hpp"
#include "store/data/left_behind.hpp"
#include "store/data/served_view.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kShedPause{30'000};

}  // namespace

// A later revision takes over where it has nothing left to heal: search sees one or the other. What was still planned for the
// one before goes: nobody reads that any more, and all of it was planned for this one too. Nobody writes to either meanwhile, so
// that the count is that of what is served from the commit on. Whether it does; the view is replaced at the end of `tx`, because
// everybody who searches waits from then on.
bool PipelineReconciler::Pass::take_over(Transaction& tx, Totals& stored) {
    if (revision.state == "served" || run->found.to_embed() > 0 || held_back) return false;
    hold_writers(tx, uid);
    if (stored.documents <= kCountedAtOnce) stored = count_stored(tx, revision);
    mark_served(tx, uid, revision.number);
    discard_superseded_batches(tx, uid, revision.number);
    pass_served_gap_on(tx, uid);
    add_event(tx, {.uid = uid,
                   .reason = "RevisionServed",
                   .message = fmt::format("revision {} is served now", revision.number),
                   .reconcile_id = context.reconcile_id});
    note_served();
    return true;
}

Status PipelineReconciler::Pass::look_what_is_lost(Session& session, std::int64_t floor) {
    const Revision* now = served();
    if (now == nullptr || revision.state == "served" || run->found.to_embed() > 0) return {};
    Result<LeftBehind> lost = left_behind(session, *now, revision);
    if (!lost) return lost.error();
    if (lost->documents == 0 || (declared.approval && *declared.approval == lost->plan)) return {};
    PruneInput input;
    input.policy = declared.prune;
    input.confirmed = lost->documents;
    input.documents = run->seen + lost->documents;
    input.source_rows = run->seen;
    input.previous_source_rows = state.previous_source_documents;
    input.pruned_in_window = state.window.pruned;
    input.max_ratio = declared.max_prune_ratio;
    input.max_rows = declared.max_prune_rows;
    input.floor = floor;
    const PruneDecision decided = decide_prune(input);
    if (!decided.blocked) {
        state.window.pruned += lost->documents;
        return {};
    }
    held_back = true;
    prune = decided;
    prune.allowed = 0;
    prune.message =
        fmt::format("revision {} is whole, and does not take over: searches would lose {}, which it has not; {}; the plan is {}",
                    revision.number, plural(lost->documents, "document"), decided.message, lost->plan);
    status.blocked_prunes = lost->documents;
    status.blocked_plan = lost->plan;
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
    const Status trusted =
        verify_run(writes_, settings_.ask, {pass.declared, pass.provider, pass.revision, pass.run->id, progress->embedded},
                   pass.condemned, pass.context);
    pass.run->found.stale += pass.condemned.distrusted;
    return trusted;
}

// All that the end of a run writes but the view.
Status PipelineReconciler::end_well(Pass& pass, Transaction& tx, const Totals& stored, std::string_view result,
                                    const std::string& message) {
    Run& run = *pass.run;
    if (const Status dropped = drop_old_revision(tx, pass.uid, settings_.keep_revisions, settings_.keep_days); !dropped)
        return dropped;
    if (pass.stored_dead_letters > 0) {
        use_operators(tx, pass.source);
        if (const Status settled = settle_dead_letters(tx, pass.source, pass.revision); !settled) return settled;
    }
    note_versions_hold(tx, run);
    take_down(pass, stored);
    if (pass.feed_seen.health == FeedHealth::overrun && pass.feed.trusted) pass.feed_seen = {FeedHealth::active, ""};
    // A run that somebody waited for has taken over what the feed had named, and seen whatever else had changed by then.
    if (settings_.once && pass.feed.kept) close_gap(tx, pass.uid, run.id);
    if (pass.feed.kept) forget_closed_gap(tx, pass.uid);
    // What is gone and is never removed is declared to stay.
    const std::int64_t stays = pass.declared.prune == "Never" ? run.found.orphaned : 0;
    if (pass.heals() && run.found.total() == stays) note_swept(tx, run);
    // What waited for this run waits no more; what came meanwhile does.
    end_run(tx, run, pass.declared.name, result, message);
    if (pass.declared.approve_above) forget_plan(tx, pass.uid);
    pass.status.waiting = read_waiting(tx, pass.uid);
    Seen seen = seen_in(pass, false);
    seen.filtered = pass.source.filtered;
    seen.unsteady = settle_unsteady(tx, pass.uid, run.id);
    StatusUpdate update = status_update(pass);
    if (!pass.beside()) update.counted = stored;
    update.source_counted = true;
    update.status.conditions = conditions_of(seen);
    write_status(tx, update, pass.context.reconcile_id);
    if (run.found.total() == 0) count_source_as_stored(tx, pass.source, pass.revision);
    return {};
}

Result<ReconcileOutcome> PipelineReconciler::finish(Pass& pass, std::string_view result, const std::string& message) {
    Run& run = *pass.run;
    if (const Status trusted = verify(pass); !trusted) {
        // The run is still under way until its rollback ends it, which the next pass begins: it tells why, too.
        if (pass.condemned.undone) return ReconcileOutcome{.again_in = milliseconds(1)};
        return trusted.error();
    }
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
    if (const Status lost = pass.look_what_is_lost(**session, settings_.prune_floor); !lost) return lost.error();
    const Pass::Known before = pass.known();
    const Status done = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        const bool takes_over = pass.take_over(tx, *stored);
        if (const Status ended = end_well(pass, tx, *stored, result, message); !ended) return ended;
        if (takes_over) {
            if (const Status shown = serve_revision(tx, pass.spec, pass.revision, pass.source, pass.vectors); !shown)
                return shown;
        }
        HOMEOSTAT_REACH("finish.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("finish.after_commit");
        return {};
    });
    if (!done) {
        pass.know(before);
        return done.error();
    }
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

}  // namespace homeostat
