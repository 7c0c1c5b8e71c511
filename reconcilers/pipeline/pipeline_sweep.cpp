// The part of the way through that observes, diffs, plans and dispatches, and what follows when a sweep is complete.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/factory/plan.hpp"
#include "reconcilers/factory/retry.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_gauges.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "reconcilers/pipeline/sweep_standby.hpp"
#include "store/control/leases.hpp"
#include "store/data/vector_index.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

void count(DriftCounts& counts, DriftClass cls) {
    switch (cls) {
        case DriftClass::missing: ++counts.missing; break;
        case DriftClass::stale: ++counts.stale; break;
        case DriftClass::moved: ++counts.moved; break;
        case DriftClass::partial: ++counts.partial; break;
        case DriftClass::invalid: ++counts.invalid; break;
        case DriftClass::orphaned: ++counts.orphaned; break;
        case DriftClass::excess: ++counts.excess; break;
        case DriftClass::touched: break;  // the content is as it was: not drift, only a version to note
    }
}

bool to_embed(DriftClass c) {
    return c == DriftClass::missing || c == DriftClass::stale || c == DriftClass::partial || c == DriftClass::invalid;
}
// From here on a planner without fresh statistics would choose badly.
constexpr std::int64_t kManyDocuments = 5'000;
constexpr std::size_t kMostStrays = 10'000;  // taken away by one sweep

// What a feed that was trusted when the run began should have named. Later sweeps of the run see what came meanwhile, and what is
// left on purpose is found by each of them; a run after one that failed, whatever it is for, finds what that one had found.
bool unnamed(const Run& run, bool failed_before, bool heals, bool held, DriftClass c) {
    return run.feed_trusted && run.sweeps == 1 && heals && !failed_before &&
           (c == DriftClass::missing || c == DriftClass::stale || (c == DriftClass::orphaned && !held));
}

// One document in so many may be on the way to the next revision when that takes over, if some were at so many sweeps.
constexpr std::int64_t kTrickle = 100;
constexpr int kTrickleSweeps = 4;
constexpr int kEmptyLooks = 4;
constexpr milliseconds kLookAtFeed{50};  // from one look at whether it has caught up to the next

bool to_prune(DriftClass c) { return c == DriftClass::orphaned || c == DriftClass::excess; }

// A thousand each, of documents or chunks that have only their id.
void add_by_id(std::vector<PlannedBatch>& batches, BatchKind kind, DriftClass cls, const std::vector<std::int64_t>& ids) {
    for (std::size_t at = 0; at < ids.size(); at += 1'000) {
        PlannedBatch b{kind, cls, 0, {}};
        for (std::size_t i = at; i < std::min(ids.size(), at + 1'000); ++i) b.keys.push_back({std::to_string(ids[i])});
        batches.push_back(std::move(b));
    }
}

PruneInput prune_input(const PipelineSpec& declared, const LoopState& state, const Run& run, const PruneCandidates& candidates) {
    PruneInput input{.policy = declared.prune};
    input.confirmed = candidates.confirmed;
    input.source_rows = run.seen;
    // A sweep that ended at the declared count says nothing about how long the source is: it did not shrink.
    if (!declared.documents || run.seen < *declared.documents) input.previous_source_rows = state.previous_source_documents;
    input.pruned_in_window = state.window.pruned;
    input.max_ratio = declared.max_prune_ratio;
    input.max_rows = declared.max_prune_rows;
    input.approved = declared.approval && *declared.approval == candidates.plan;
    return input;
}

}  // namespace

// What was planned so far: whose it is now, and whether any of it has failed for good.
Status PipelineReconciler::answer_for_planned(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    // What an earlier holder of the lease planned is ours now. It cannot plan more: its epoch is behind.
    if (pass.open.of_others) {
        const Status adopted = guarded([&] {
            Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
            adopt_batches(tx, pass.uid, pass.context.epoch);
            tx.commit();
        });
        if (!adopted) return adopted;
        pass.open.of_others = false;
    }
    Result<std::optional<Error>> failed = failed_batch(**session, pass.run->id);
    if (!failed) return failed.error();
    if (*failed) return **failed;
    return {};
}

Result<ReconcileOutcome> PipelineReconciler::advance(Pass& pass) {
    Run& run = *pass.run;
    if (const Status answered = answer_for_planned(pass); !answered) return answered.error();
    const bool told = pass.is("Reconciling");
    bool swept = false;
    if (pass.beside() && pass.feed.full && !pressure_.pressing(pass.uid, clock_.steady_now())) {
        // Until this run ends nobody else would open it, and what is searched would go on getting older.
        Result<Pool::Lease> session = writes_.acquire(pass.context);
        if (!session) return session.error();
        if (const Status opened = open_full_feed(**session, pass); !opened) return opened.error();
    }
    if (pressed(pass)) {
        if (const Status withdrawn = withdraw(pass); !withdrawn) return withdrawn.error();
    }
    while (run.phase == RunPhase::sweeping) {
        const std::int64_t room = window(pass) - pass.open.batches;
        if (room <= 0) {
            if (const Status s = record_progress(pass); !s) return s.error();
            return ReconcileOutcome{.end = PassEnd::waiting, .again_in = milliseconds(1'000)};
        }
        if (pass.context.stop.stop_requested()) return cancelled("stopped during a sweep");
        // Its time is up: others have their turn, and the cursor knows where to go on.
        if (clock_.steady_now() >= pass.context.deadline) return ReconcileOutcome{.again_in = milliseconds(1)};
        if (const milliseconds pause = pause_left(pass); pause > milliseconds(0)) {
            if (swept || !told) {
                if (const Status s = record_pause(pass); !s) return s.error();
            }
            return ReconcileOutcome{.end = PassEnd::waiting, .again_in = pause};
        }
        if (const Status s = sweep(pass); !s) return s.error();
        swept = true;
    }
    if (pass.open.batches > 0) {
        if (const Status s = record_progress(pass); !s) return s.error();
        const milliseconds next = pass.open.next_in.value_or(milliseconds(1'000));
        return ReconcileOutcome{.end = PassEnd::waiting, .again_in = std::clamp(next, milliseconds(20), milliseconds(1'000))};
    }
    return verify_or_finish(pass);
}

// One slice: observed in a read-only snapshot, then its batches and the cursor in one transaction.
Status PipelineReconciler::sweep(Pass& pass) {
    Run& run = *pass.run;
    const SliceRequest request{.after = run.cursor,
                               .limit = slice_limit(pass),
                               .seen = run.seen,
                               .documents = pass.declared.documents,
                               .deep = run.deep};
    Result<Observed> observed = observe(pass, request);
    if (!observed) return observed.error();
    Slice& slice = observed->slice;
    learn_slice(pass, request.limit, observed->took);
    note_slice(pass, observed->took, slice.source_rows, slice.items.size());
    HOMEOSTAT_REACH("observe.after_slice");
    if (!run.cursor) run.unkeyed = observed->unkeyed;
    // A document whose content was refused is left alone until it is edited: what cannot be healed must not be retried for ever.
    std::vector<DriftItem> live;
    for (std::size_t i = 0; i < slice.items.size(); ++i) {
        if (i < observed->dead.size() && observed->dead[i] && to_embed(slice.items[i].cls)) {
            ++run.dead_letters;
        } else {
            if (!pass.retries_refused() &&
                unnamed(run, pass.state.failures > 0, pass.heals(), pass.status.blocked_prunes > 0, slice.items[i].cls))
                ++run.bypassed;
            live.push_back(std::move(slice.items[i]));
        }
    }
    slice.items = std::move(live);
    if (const Status left = leave_unsteady(pass, slice.items); !left) return left;
    return dispatch(pass, *observed);
}

Result<PipelineReconciler::Observed> PipelineReconciler::observe(Pass& pass, const SliceRequest& request) {
    Span span = telemetry_.tracer.start("observe", SpanKind::internal, pass.context.span);
    const SpanScope scope(telemetry_.tracer, span);
    span.set("homeostat.pipeline.uid", pass.uid);
    span.set("homeostat.run.id", pass.run->id);
    const auto look = [&](Transaction& tx) -> Result<Observed> {
        const SteadyTime started = clock_.steady_now();
        Observed seen;
        use_operators(tx, pass.source);
        if (!request.after) {
            Result<std::int64_t> n = count_unkeyed(tx, pass.source);
            if (!n) return n.error();
            seen.unkeyed = *n;
            if (pass.feed.kept) seen.too_late = keys_coming_too_late(tx, pass.source, pass.revision, pass.feed.run_id);
        }
        Result<Slice> slice = observe_slice(tx, pass.source, pass.revision, request);
        if (!slice) return slice.error();
        seen.slice = *std::move(slice);
        if (const Status left = leave_to_feed(pass, tx, seen); !left) return left.error();
        if (pass.stored_dead_letters > 0) {
            std::vector<Key> keys;
            for (const DriftItem& item : seen.slice.items) keys.push_back(item.key);
            Result<std::vector<bool>> among = dead_letters_among(tx, pass.source, pass.revision, keys);
            if (!among) return among.error();
            seen.dead = *std::move(among);
        }
        seen.took = clock_.steady_now() - started;
        return seen;
    };
    Result<Observed> observed = Observed();
    const auto on_standby = [&](Transaction& tx) -> Status {
        observed = look(tx);
        return observed ? Status() : observed.error();
    };
    const bool spared =
        settings_.standby != nullptr && settings_.standby->read(pass.uid, pass.declared.name, pass.context, on_standby);
    if (!spared) {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        observed = guarded([&] {
            Transaction tx = (*session)->begin(TxMode::read_snapshot);
            return look(tx);
        });
    }
    telemetry_.metrics
        .counter("homeostat_sweep_slices_total", "Slices of sweeps, by the server that they were read from.",
                 {{"server", spared ? "standby" : "primary"}})
        .add();
    if (!observed) {
        span.fail(observed.error());
        return observed.error();
    }
    span.set("homeostat.source_rows", observed->slice.source_rows);
    publish_slice(telemetry_.metrics, pass.declared.name, observed->took, observed->slice.source_rows);
    span.set("homeostat.drift", static_cast<std::int64_t>(observed->slice.items.size()));
    return observed;
}

Status PipelineReconciler::dispatch(Pass& pass, const Observed& observed) {
    Run& run = *pass.run;
    const Slice& slice = observed.slice;
    Span span = telemetry_.tracer.start("plan", SpanKind::internal, pass.context.span);
    const SpanScope scope(telemetry_.tracer, span);
    const std::string parent = pass.context.under(span).span.traceparent();  // of the batches, whoever claims them
    std::vector<DriftItem> prunes;
    for (const DriftItem& item : slice.items) {
        count(run.found, item.cls);
        if (to_prune(item.cls)) prunes.push_back(item);
    }
    run.found.missing += observed.still_to_come;
    const bool heals = pass.heals();
    std::vector<PlannedBatch> batches;
    if (heals) {
        const EmbedderLimits limits{.max_batch = pass.provider.max_batch};
        batches = plan_batches(wanted_now(pass, slice.items), {batch_documents(limits, settings_.batch_documents),
                                                               pass.declared.priority, pass.declared.mode == "emergency"});
    }
    for (const PlannedBatch& b : batches) {
        run.planned += static_cast<std::int64_t>(b.keys.size());
        run.planned_in_sweep += static_cast<std::int64_t>(b.keys.size());
    }
    span.set("homeostat.batches", static_cast<std::int64_t>(batches.size()));
    run.cursor = slice.last;
    run.seen += slice.source_rows;
    if (slice.final) run.phase = RunPhase::healing;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    Status dispatched = guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        insert_batches(tx, pass.uid, run.revision, run.generation, pass.context.epoch, run.id, parent, batches);
        if (heals) note_prune_candidates(tx, run, prunes);
        if (heals) take_back_too_late(tx, pass, observed.too_late);
        save_run(tx, run);
        HOMEOSTAT_REACH("dispatch.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("dispatch.after_commit");
    });
    if (!dispatched) return dispatched;
    pass.open.batches += static_cast<std::int64_t>(batches.size());
    // Healed while the next slice is observed, not after the last one.
    if (!batches.empty() && settings_.planned) settings_.planned();
    return {};
}

// The sweep is complete and everything it dispatched is healed: prune what two observations agree on, look again where something
// changed, and finish where nothing did.
Result<ReconcileOutcome> PipelineReconciler::verify_or_finish(Pass& pass) {
    Run& run = *pass.run;
    const bool heals = pass.heals();
    if (run.phase == RunPhase::healing && heals) {
        Result<ReconcileOutcome> completed = complete_sweep(pass);
        if (!completed) return completed;
        if (pass.open.batches > 0) return completed;
    }
    // A second look confirms deletions: they go, or wait with a plan that can be approved, which nobody hears of before that.
    const bool unconfirmed = heals && pass.declared.prune != "Never" && !pass.prune.blocked && pass.unconfirmed > 0;
    if (heals && (run.planned_in_sweep > 0 || unconfirmed) && run.sweeps < settings_.max_sweeps) {
        HOMEOSTAT_REACH("sweep.before_restart");
        // A deep look is repeated only where it found what a look at versions cannot see.
        const bool deep = run.deep && (run.found.partial + run.found.invalid > 0 || pass.declared.mode == "complete");
        if (const Status again = sweep_again(pass, deep); !again) return again.error();
        return advance(pass);
    }
    // The feed has yet to bring what is served now to the revision that is to take over: it is looked for again, ever less often.
    // New rows come to both, so under writers who never pause some are always on the way: few of them hold it up for a while
    // only.
    const bool of_feed = heals && pass.shed == 0 && run.found.missing > 0 && pass.next_to_serve() && run.planned_in_sweep == 0;
    const bool trickle = of_feed && run.sweeps > kTrickleSweeps && run.found.missing * kTrickle <= run.seen;
    if (trickle) run.found.missing = 0;
    // To an older snapshot a TRUNCATE hides what is written after it too: what is searched is not given up for one empty look.
    const bool emptied = heals && run.seen == 0 && pass.next_to_serve() && run.sweeps < kEmptyLooks;
    if (emptied || (of_feed && !trickle)) {
        if (const Status again = sweep_again(pass, false); !again) return again.error();
        return ReconcileOutcome{
            .end = PassEnd::waiting,
            .again_in = std::min(milliseconds(500) * (1 << std::min(run.sweeps, 7)), pass.declared.drift_interval)};
    }
    Result<bool> waits = waits_for_feed(pass);
    if (!waits) return waits.error();
    if (*waits) return ReconcileOutcome{.end = PassEnd::waiting, .again_in = kLookAtFeed};
    if (const Status indexed = keep_index(pass); !indexed) return indexed.error();
    const bool clean = run.found.total() == 0 && run.dead_letters == 0;
    return finish(pass, clean ? "Converged" : heals ? "DriftLeft" : "Observed", "");
}

// The connection is given back before the sweep goes on: it needs one itself.
Status PipelineReconciler::sweep_again(Pass& pass, bool deep) {
    Run& run = *pass.run;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    if (run.planned_in_sweep >= kManyDocuments) {
        if (const Status tended = tend_tables(**session, pass.revision); !tended) {
            spdlog::warn("pipeline \"{}\": its tables could not be analysed: {}", pass.declared.name, tended.error().message);
        }
    }
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        restart_sweep(tx, run, deep);
        tx.commit();
        pass.counted.reset();
    });
}

Result<ReconcileOutcome> PipelineReconciler::complete_sweep(Pass& pass) {
    Run& run = *pass.run;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    // Counted where something may go, and where the run ends here; a sweep that is repeated counts at its end.
    const bool ends = run.planned_in_sweep == 0 || run.sweeps >= settings_.max_sweeps;
    const bool counts = ends || run.found.orphaned + run.found.excess > 0;
    Result<Totals> stored = counts ? count_stored(**session, pass.revision) : Totals();
    if (!stored) return stored.error();
    Result<std::vector<std::int64_t>> strays =
        run.deep ? stray_chunks(**session, pass.revision, kMostStrays) : std::vector<std::int64_t>();
    if (!strays) return strays.error();
    const Status done = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        const PruneCandidates candidates = settle_prune_candidates(tx, run);
        pass.unconfirmed = candidates.all - candidates.confirmed;
        if (!pass.state.window.start || *pass.state.window.start + std::chrono::hours(1) <= now(pass))
            pass.state.window = {now(pass), 0};
        PruneInput input = prune_input(pass.declared, pass.state, run, candidates);
        input.documents = stored->documents;
        input.floor = settings_.prune_floor;
        pass.prune = decide_prune(input);
        pass.status.blocked_prunes = pass.prune.blocked ? candidates.confirmed - pass.prune.allowed : 0;
        std::vector<PlannedBatch> batches;
        if (pass.prune.allowed > 0) {
            const std::vector<std::int64_t> ids = take_confirmed_candidates(tx, run, static_cast<int>(pass.prune.allowed));
            add_by_id(batches, BatchKind::prune, DriftClass::orphaned, ids);
            run.planned += static_cast<std::int64_t>(ids.size());
            run.planned_in_sweep += static_cast<std::int64_t>(ids.size());
            pass.state.window.pruned += static_cast<std::int64_t>(ids.size());
        }
        // What is held back is named after what was let go, so that approving it means exactly that set.
        pass.status.blocked_plan = pass.prune.blocked ? prune_plan(tx, run) : "";
        if (pass.prune.blocked) pass.prune.message += fmt::format("; the plan is {}", pass.status.blocked_plan);
        if (run.deep) note_deep_sweep(pass, tx);
        add_by_id(batches, BatchKind::stray, DriftClass::partial, *strays);
        insert_batches(tx, pass.uid, run.revision, run.generation, pass.context.epoch, run.id, pass.context.span.traceparent(),
                       batches);
        pass.open.batches += static_cast<std::int64_t>(batches.size());
        run.phase = RunPhase::pruning;
        save_run(tx, run);
        StatusUpdate update = status_update(pass);
        if (counts && pass.revision.state == "served") {
            // Known from here on, not only when the run has ended, which may have an index to build.
            pass.status.documents = stored->documents;
            pass.status.source_documents = run.seen;
            update.status.source_documents = run.seen;
            update.counted = *stored;
            update.source_counted = true;
            pass.counted = Totals{stored->documents, stored->chunks, stored->documents, stored->chunks};
        }
        for (Condition& c : conditions_of(seen_in(pass, true))) {
            if (c.type == "PruneBlocked") update.status.conditions.push_back(std::move(c));
        }
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
        return {};
    });
    if (!done) return done.error();
    return ReconcileOutcome{.again_in = milliseconds(1'000)};
}

}  // namespace homeostat
