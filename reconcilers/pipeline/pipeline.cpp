#include "reconcilers/pipeline/pipeline.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "core/log_fields.hpp"
#include "reconcilers/factory/retry.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "reconcilers/pipeline/dropping.hpp"
#include "reconcilers/pipeline/erasing.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "reconcilers/pipeline/rolling_back.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/leases.hpp"
#include "store/control/steadiness.hpp"
#include "store/feed/capture.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

// A feed that lost its trust, or a source that was refreshed, is swept soon, but not once after the other.
constexpr milliseconds kBetweenSweeps{5'000};
constexpr ReconcileOutcome kGone{.end = PassEnd::gone};

// A run is one trace, however many passes it takes and whichever replica makes them: the first of them is its root.
Context part_of_run(const Context& context, Span& span, const PipelineSpec& declared, const std::optional<Run>& run) {
    span.set("homeostat.pipeline.name", declared.name);
    if (run) {
        span.join(SpanContext::from_traceparent(run->traceparent));
        span.set("homeostat.run.id", run->id);
    }
    return context.under(span);
}

}  // namespace

Transaction fenced_transaction(Session& session, const std::string& lease, const Context& context) {
    Transaction tx = session.begin();
    hold_lease(tx, lease, context.epoch);
    return tx;
}

PipelineReconciler::PipelineReconciler(Pool& reads, Pool& writes, Gateway& gateway, const MemoryBudget& memory,
                                       const WriterPressure& pressure, FeedProgress& feeds, FaultLog& faults, const Clock& clock,
                                       Telemetry telemetry, PipelineSettings settings)
    : reads_(reads),
      writes_(writes),
      gateway_(gateway),
      memory_(memory),
      pressure_(pressure),
      feeds_(feeds),
      faults_(faults),
      clock_(clock),
      telemetry_(telemetry),
      settings_(std::move(settings)),
      journals_(settings_.journal, settings_.once, clock) {}

Result<ReconcileOutcome> PipelineReconciler::reconcile(std::int64_t uid, const Context& given, Span& span) {
    Pass pass(uid, given);
    if (const Status loaded = load(pass); !loaded) {
        if (loaded.error().cls == ErrorClass::not_found) return kGone;
        return loaded.error();
    }
    pass.context = part_of_run(given, span, pass.declared, pass.run);
    pass.joined = pass.run.has_value();
    const Context& context = pass.context;
    const SpanScope scope(telemetry_.tracer, span);
    const LogFields about{{"pipeline", pass.declared.name},
                          {"provider", pass.declared.provider},
                          {"trace", span.context().valid() ? span.context().trace.hex() : ""}};
    if (pass.declared.suspend) suffers_no_more(uid);
    // Also of one that is suspended or fails: whoever must forget a document cannot wait for that.
    const Result<bool> erasing = pass.declared.deleting
                                     ? Result<bool>(false)
                                     : carry_out_erasures(reads_, writes_, pass.declared, pass.revisions, context);
    if (!erasing) return erasing.error();
    const Status taken = take_points(writes_, pass.declared, pass.revisions, pass.points, context);
    if (!taken) return taken.error();
    Result<ReconcileOutcome> outcome = pass.declared.deleting ? finalize(pass)
                                       : pass.points.adoption ? adopt(pass)
                                                              : run_pass(pass);
    if (!pass.trigger.empty()) span.set("homeostat.trigger", pass.trigger);
    if (!outcome && !settings_.once && (outcome.error().code == kLockHeld || outcome.error().code == kLockNotAvailable))
        outcome = wait_for_lock(pass, outcome.error());
    if (outcome && pass.declared.deleting) return outcome;
    if (outcome) {
        // Also while a run goes on, however long that takes: an edit does not wait for the end of a fill.
        outcome->has_feed = (pass.feed.kept || pass.feed_seen.health == FeedHealth::foreign) && !settings_.once;
        journals_.keep(writes_, pass.declared, pass.revisions, context, *outcome);
        if (*erasing) {
            outcome->again_in = std::min(outcome->again_in, kHeldLook);
            outcome->rests.reset();
        }
        return outcome;
    }
    const Error& error = outcome.error();
    span.fail(error);
    // What says nothing about the pipeline is the loop's business; all else is told to whoever looks at the pipeline. A statement
    // that took too long is most likely its source's.
    if (error.cls == ErrorClass::fenced || error.cls == ErrorClass::cancelled ||
        (error.cls == ErrorClass::db_transient && error.code != kTookTooLong && error.code != kDocumentTooSlow))
        return outcome;
    Result<ReconcileOutcome> recorded = record_failure(pass, error);
    return recorded ? std::move(recorded) : Result<ReconcileOutcome>(error);
}

Status PipelineReconciler::load(Pass& pass) {
    Result<Pool::Lease> session = reads_.acquire(pass.context);
    if (!session) return session.error();
    Result<PipelineSpec> declared = read_pipeline(**session, pass.uid);
    if (!declared) return declared.error();
    pass.declared = *std::move(declared);
    faults_.know(pass.uid, pass.declared.name);
    pass.spec = pass.declared;
    Result<LoopState> state = read_loop_state(**session, pass.uid);
    if (!state) return state.error();
    pass.state = *std::move(state);
    pass.loaded = clock_.steady_now();
    Result<PipelineStatus> status = read_status(**session, pass.uid);
    if (!status) return status.error();
    pass.status = *std::move(status);
    Result<std::optional<Run>> run = read_run(**session, pass.uid);
    if (!run) return run.error();
    pass.run = *std::move(run);
    Result<std::vector<Revision>> revisions = read_revisions(**session, pass.uid);
    if (!revisions) return revisions.error();
    pass.revisions = *std::move(revisions);
    if (const Revision* served = pass.served()) {
        Result<bool> there = is_there(**session, pass.declared.target, *served);
        if (!there) return there.error();
        pass.served_gone = !*there;
    }
    Result<OpenBatches> open = open_batches(**session, pass.uid, pass.context.epoch, pass.run ? pass.run->id : 0);
    if (!open) return open.error();
    pass.open = *std::move(open);
    Result<std::int64_t> dead = count_dead_letters(**session, pass.uid);
    if (!dead) return dead.error();
    pass.stored_dead_letters = *dead;
    Result<PointRequests> points = read_points(**session, pass.uid);
    if (!points) return points.error();
    pass.points = *std::move(points);
    Result<ProviderSpec> provider = find_provider(**session, pass.declared.provider);
    if (!provider) return provider.error();
    pass.provider = pass.declared_provider = *std::move(provider);
    if (const Revision* pinned = pass.pinned()) {
        Result<ProviderSpec> makes = provider_of_revision(**session, pass.declared, *pinned);
        if (!makes && makes.error().code != kRevisionOutdated) return makes.error();
        if (makes) {
            pass.provider = *std::move(makes);
        } else {
            pass.unprovided = makes.error();
        }
    }
    pass.renewed = renewed(pass);
    Result<FeedRow> feed = read_feed(**session, pass.uid);
    if (!feed) return feed.error();
    pass.feed = *std::move(feed);
    disregard_future(pass);
    recall_prune(pass);
    return {};
}

WallTime PipelineReconciler::now(const Pass& pass) const {
    return HOMEOSTAT_PLANTED("clock") ? clock_.now() : pass.now(clock_.steady_now());
}

// A time that has not come yet was written by a clock that ran ahead; what hangs on it is due. So is a next attempt that is
// further away than any is put off.
void PipelineReconciler::disregard_future(Pass& pass) const {
    if (HOMEOSTAT_PLANTED("clock")) return;
    const WallTime now = pass.state.at;
    if (pass.status.last_sweep && *pass.status.last_sweep > now && pass.state.failures == 0) pass.state.next_attempt.reset();
    for (std::optional<WallTime>* at : {&pass.status.last_sweep, &pass.status.last_deep_sweep, &pass.state.window.start}) {
        if (*at && **at > now) at->reset();
    }
    const milliseconds furthest =
        pass.state.failures > 0 ? std::max(settings_.retry_cap, settings_.reprobe) : pass.declared.drift_interval;
    if (pass.state.next_attempt && *pass.state.next_attempt > now + furthest) pass.state.next_attempt.reset();
}

// Aloud: is it wanted now, is there a place for its vectors, is a run under way, take that further.
Result<ReconcileOutcome> PipelineReconciler::run_pass(Pass& pass) {
    if (pass.declared.suspend) return stay_suspended(pass);
    if (const Status dropped = drop_asked(writes_, pass.declared, pass.revisions, pass.context); !dropped) return dropped.error();
    if (const Status looked = look_whether_mended(pass); !looked) return looked.error();
    bool deep = false;
    // What failed is left alone until its time has come, its triggers too.
    const bool resting = !pass.run && pass.state.failures > 0 && !due(pass, pass.trigger, deep);
    if (!resting) {
        if (const Status kept = keep_capture(pass); !kept) return kept.error();
    }
    if (!pass.run && !due(pass, pass.trigger, deep)) {
        if (const Status told = record_between(pass); !told) return told.error();
        const bool converged = pass.state.failures == 0 && pass.status.drift.total() == 0;
        return ReconcileOutcome{
            .end = converged ? PassEnd::converged : PassEnd::settled, .again_in = until_due(pass), .rests = rests_for(pass)};
    }
    Result<std::string> awaited = pass.pin_is_due() ? Result<std::string>("") : awaits(pass);  // who goes back waits for nobody
    if (!awaited) return awaited.error();
    if (!awaited->empty()) {
        pass.waiting_for = *std::move(awaited);
        if (const Status recorded = record_progress(pass); !recorded) return recorded.error();
        return ReconcileOutcome{.end = PassEnd::depends, .again_in = milliseconds(settings_.once ? 1'000 : 2'000)};
    }
    if (const Status turn = turn_to_alter(pass); !turn) return turn.error();
    if (const Status ready = prepare_revision(pass); !ready) return ready.error();
    if (pass.unprovided) return *pass.unprovided;
    if (pass.run && (pass.run->generation != pass.declared.generation || pass.run->revision != pass.revision.number)) {
        if (const Status ended = supersede(pass); !ended) return ended.error();
        pass.run.reset();
        pass.open = {};
        due(pass, pass.trigger, deep);
    }
    if (!pass.run) {
        Result<std::optional<Observation>> dear =
            plan_too_dear(reads_, writes_, pass.declared, pass.provider, {.deep = deep}, pass.context);
        if (!dear) return dear.error();
        if (*dear) return wait_for_approval(pass, **dear);
        if (const Status begun = begin_run(pass); !begun) return begun.error();
    }
    return advance(pass);
}

// What does not wait for its time; "" where nothing is asked for.
std::string_view PipelineReconciler::wanted_at_once(const Pass& pass) const {
    if (settings_.once) return "once";
    if (pass.asked()) return "requested";
    if (pass.pin_is_due()) return "pin";
    if (pass.status.observed_generation != pass.declared.generation) return "spec";
    if (pass.approved()) return "approved";
    // An edit of the provider may ask for other vectors than there are.
    if (pass.state.provider_generation != pass.provider.generation && !pass.serves_wanted()) return "provider";
    // Nothing is found by search meanwhile.
    if (pass.state.failures == 0) return pass.served_gone ? "repair" : pass.unnamed ? "feed" : pass.altered ? "refresh" : "";
    // An endpoint or a credential that was put right is tried at once, and so is a source that was refreshed since it failed.
    if (pass.state.provider_generation != pass.provider.generation || pass.renewed) return "provider";
    return pass.mended ? "mended" : pass.refreshed() ? "refresh" : "";
}

// The spec was edited under way: what was planned for the old one is of no use.
Status PipelineReconciler::supersede(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        discard_outdated_batches(tx, pass.uid, pass.declared.generation, pass.revision.number);
        // What this run has found in what is served, or might have, nobody heals there any more.
        const Revision* served = pass.served();
        const bool left = served != nullptr && served->number == pass.run->revision && pass.beside();
        if (left && (!pass.run->feed_trusted || pass.run->found.total() > 0)) note_served_gap(tx, pass.uid, milliseconds(0));
        end_run(tx, *pass.run, pass.declared.name, "Superseded", "the spec changed under way");
        discard_run_batches(tx, pass.uid, pass.run->id);
        tx.commit();
    });
}

bool PipelineReconciler::due(const Pass& pass, std::string& trigger, bool& deep) const {
    const WallTime now = this->now(pass);
    const bool deep_due = !pass.status.last_deep_sweep || *pass.status.last_deep_sweep + pass.declared.deep_interval <= now;
    deep = deep_due;
    if (const std::string_view wanted = wanted_at_once(pass); !wanted.empty()) {
        trigger = wanted;
        deep = deep_due || settings_.deep || (trigger == "requested" && !pass.retries_refused()) ||
               pass.status.observed_generation != pass.declared.generation;
        return true;
    }
    if (const std::optional<WallTime> at = sweep_due(pass)) {
        if (*at > now && !deep_due) return false;
        trigger = pass.refreshed() ? "refresh" : pass.feed.trusted && !pass.feed.full ? "interval" : "feed";
        return true;
    }
    if (pass.state.next_attempt && *pass.state.next_attempt > now) return false;
    trigger = pass.state.failures > 0 ? "retry" : "interval";
    return true;
}

// While the feed can be trusted there is nothing to find but what came past it.
std::optional<WallTime> PipelineReconciler::sweep_due(const Pass& pass) const {
    const PipelineSpec& p = pass.declared;
    if (pass.state.failures > 0 || !pass.status.last_sweep) return std::nullopt;
    if (pass.refreshed()) return *pass.status.last_sweep + kBetweenSweeps;
    if (pass.capture_fingerprint.empty()) return std::nullopt;
    // What it has named and nobody can take up is seen by a sweep at once, and then by those that there would be without it.
    if (const auto trouble = feeds_.trouble(pass.uid, clock_.steady_now()))
        return *pass.status.last_sweep + (trouble->swept ? p.drift_interval : kBetweenSweeps);
    // While a writer goes on of whom the feed may know nothing, one sweep more would not be the last.
    if (pass.feed.unsettled) return *pass.status.last_sweep + p.drift_interval;
    if (!pass.feed.trusted || pass.feed.full) return *pass.status.last_sweep + kBetweenSweeps;
    // What a run has found and left is nobody's to name, nor are edits of whoever passes the triggers by, for as long as sweeps
    // find some.
    if (pass.status.drift.total() > 0 || pass.passed_by()) return *pass.status.last_sweep + p.drift_interval;
    return *pass.status.last_sweep + std::max(p.sweep_interval, p.drift_interval);
}

milliseconds PipelineReconciler::until_due(const Pass& pass) const {
    const bool held = pass.feed_seen.health == FeedHealth::pending || !pass.left_over.empty() ||
                      (pass.declared.capture == "Off" && pass.feed.kept);
    if (held) return std::min(kHeldLook, pass.declared.drift_interval);
    const WallTime now = this->now(pass);
    const auto left = [&](WallTime at) {
        return std::max(std::chrono::duration_cast<milliseconds>(at - now), milliseconds(100));
    };
    if (pass.feed.unsettled) return std::min(kBetweenSweeps, pass.declared.drift_interval);
    if (const std::optional<WallTime> at = sweep_due(pass)) return std::min(left(*at), pass.declared.drift_interval);
    // What fails is looked at all the same: the source may have been put right.
    if (pass.state.next_attempt) return std::min(left(*pass.state.next_attempt), pass.declared.drift_interval);
    return pass.declared.drift_interval;
}

// Where the feed is trusted, only time and what a mark tells of (store/feed/rest.hpp) decide that there is something to do.
std::optional<milliseconds> PipelineReconciler::rests_for(const Pass& pass) const {
    const std::optional<WallTime> sweep = sweep_due(pass);
    if (!sweep || !pass.feed.trusted || pass.feed.full || !pass.status.last_deep_sweep || !pass.left_over.empty())
        return std::nullopt;
    if (feeds_.trouble(pass.uid, clock_.steady_now())) return std::nullopt;
    const WallTime until = std::min(*sweep, *pass.status.last_deep_sweep + pass.declared.deep_interval);
    return std::max(std::chrono::duration_cast<milliseconds>(until - now(pass)), milliseconds(0));
}

Status PipelineReconciler::begin_run(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    bool deep = false;
    due(pass, pass.trigger, deep);
    if (pass.trigger == "requested" || pass.trigger == "provider") gateway_.allow_probe(pass.provider.name);
    tried(pass);
    if (!pass.source_facts.empty()) {
        const Lock lock(mutex_);
        std::get<std::string>(swept_[pass.uid]) = pass.source_facts;
    }
    Result<Totals> stored = count_stored(**session, pass.revision);
    if (!stored) return stored.error();
    if (const Status opened = open_full_feed(**session, pass); !opened) return opened;
    if (settings_.once) take_over_feed(**session, pass);
    pass.begin_trace(telemetry_.tracer);
    const bool moves = !feeds_.trouble(pass.uid, clock_.steady_now());
    feeds_.swept(pass.uid);
    const Status begun = guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        // What the feed planned for what was declared before would be refused for ever; this run sees what it was for.
        discard_outdated_batches(tx, pass.uid, pass.declared.generation, pass.revision.number);
        // Every write is before this run's checkpoint or after it. Batches have been asked for first: who writes one waits for
        // this.
        hold_writers(tx, pass.uid);
        Run run;
        run.uid = pass.uid;
        run.revision = pass.revision.number;
        run.generation = pass.declared.generation;
        run.reconcile_id = pass.context.reconcile_id;
        run.trigger = pass.trigger;
        run.deep = deep && stored->documents > 0;  // where nothing is stored there is nothing to look at deeply
        run.traceparent = pass.context.span.traceparent();
        // What a refresh brings is nothing that a trigger should have named, nor is a refused document that is tried again, nor
        // what was taken up for another declaration and then given up, nor what the next revision has not yet.
        run.feed_trusted = moves && pass.feed.trusted && !pass.feed.full && !pass.capture_fingerprint.empty() &&
                           !pass.refreshed() && !pass.retries_refused() && !pass.beside() &&
                           pass.status.observed_generation == pass.declared.generation;
        // Whatever changes from here on is named, and what changed before is seen by this sweep; where the feed was full, by the
        // one that begins when all have ended who found it full.
        if (!pass.capture_fingerprint.empty()) pass.feed.trusted = keep_feed(tx, pass.uid, pass.capture_fingerprint, true);
        if (pass.beside()) {
            note_served_unproven(tx, pass.uid);
        } else {
            close_served_gap(tx, pass.uid);
        }
        pass.run = start_run(tx, run);
        // What this revision is made of, which need not be what is declared.
        const PipelineSpec made = spec_of_revision(pass.declared, pass.revision.settings);
        if (versions_outdated(tx, made, *pass.run, pass.source.version, stored->documents > 0)) pass.run->deep = true;
        open_checkpoint(tx, pass.revision, pass.run->id, *stored);
        tx.commit();
    });
    HOMEOSTAT_REACH("run.after_start");
    if (begun) {
        const Result<double> rate = recent_rate(**session, pass.uid);
        note_pace(pass, rate ? *rate : 0);
    }
    return begun;
}

}  // namespace homeostat
