// Keeping the change feed: its triggers are made where they may be made, looked at in every pass, and trusted only as long as
// nobody has touched them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/batches.hpp"
#include "store/control/leases.hpp"
#include "store/feed/capture.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

bool may_make_all(const CapturePlan& plan, std::string& refused) {
    for (const CapturedRelation& r : plan.relations) {
        if (!r.may_trigger) refused = r.described;
    }
    return refused.empty();
}

FeedSeen told(FeedHealth health, std::string message) { return {health, std::move(message)}; }

FeedSeen blind(const BlindSpot& spot) {
    switch (spot.why) {
        case CaptureBlind::subscribed:
            return told(FeedHealth::subscribed,
                        fmt::format("a subscription writes to {}, which fires no triggers of statements; sweeps find what "
                                    "changes there, every drift_interval",
                                    spot.described));
        case CaptureBlind::foreign:
            return told(FeedHealth::foreign, fmt::format("{} is on another server and fires no triggers; sweeps find what "
                                                         "changes there, every drift_interval",
                                                         spot.described));
        case CaptureBlind::filtered:
            return told(FeedHealth::filtered, fmt::format("a policy chooses rows of {}, by what no trigger is told of; sweeps "
                                                          "find what changes, every drift_interval",
                                                          spot.described));
        case CaptureBlind::none: break;
    }
    return {};
}

}  // namespace

// What is served while another revision is built, as it was declared: what it is made of is watched too.
std::optional<PipelineSpec> PipelineReconciler::searched_beside(const Pass& pass, const Revision* wanted) {
    const Revision* served = pass.served();
    if (served == nullptr || wanted == served) return std::nullopt;
    PipelineSpec spec = spec_of_revision(pass.declared, served->settings);
    for (const std::string& name : served->tables.metadata_slots) {
        if (!name.empty()) spec.metadata.push_back(name);
    }
    return spec;
}

// What is there and what is missing is looked at without a lock or a write: mostly nothing is to be done.
Status PipelineReconciler::keep_capture(Pass& pass) {
    if (pass.declared.capture != "Auto" || pass.declared.management != "Manage") return drop_capture(pass);
    if (settings_.once) return {};  // nobody would take out what triggers put in
    std::optional<CaptureState> state;
    Result<CapturePlan> plan = [&]() -> Result<CapturePlan> {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        return guarded([&]() -> Result<CapturePlan> {
            Transaction tx = (*session)->begin(TxMode::read_only);
            // As the revision has it that this declaration means, or will have it once it is made.
            const Revision* same = pass.holding();
            const PipelineSpec spec = same == nullptr ? pass.declared : spec_of_revision(pass.declared, same->settings);
            Result<SourceShape> source = inspect_source(tx, spec);
            if (!source) return source.error();
            Result<CapturePlan> planned = plan_capture(tx, spec, *source, searched_beside(pass, same));
            if (!planned || planned->relations.empty()) return planned;
            Result<CaptureState> seen = look_at_capture(tx, pass.uid, *planned);
            if (!seen) return seen.error();
            state = *std::move(seen);
            return planned;
        });
    }();
    if (!plan) return plan.error();
    if (!state) {
        // What was watched before is left as it was.
        if (const Status dropped = drop_capture(pass); !dropped) return dropped;
        pass.feed_seen = plan->blind.why == CaptureBlind::none
                             ? told(FeedHealth::off, plan->none_because + "; sweeps find what changes")
                             : blind(plan->blind);
        return {};
    }
    if (pass.feed.kept && state->complete && pass.feed.fingerprint == state->fingerprint) {
        tell_capture(pass, *state, "");
    } else if (const Status aligned = align_capture(pass, *plan, false); !aligned) {
        return aligned;
    }
    if (state->left_over.empty() || state->set_by_hand || pass.feed_seen.health == FeedHealth::pending) return {};
    pass.left_over = state->left_over;
    return align_capture(pass, *plan, true);
}

Status PipelineReconciler::drop_capture(Pass& pass) {
    if (!pass.feed.kept) return {};
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const LockTurn turn = turn_to_lock(**session, pass, of_triggers(pass, InTheWay::everybody));
    if (!turn.waits.empty()) {
        pass.feed_seen = told(FeedHealth::off, turn.waits);
        return {};
    }
    Status dropped = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        tx.exec(turn.timeout);
        if (const Status removed = remove_capture(tx, pass.uid); !removed) return removed;
        tx.commit();
        return {};
    });
    if (!dropped && dropped.error().code == kLockNotAvailable && !settings_.once) {
        pass.feed_seen = told(FeedHealth::off, hold_off(**session, pass, of_triggers(pass, InTheWay::everybody),
                                                        "capture is Off, and the triggers are still there"));
        return {};
    }
    if (!dropped) return dropped;
    pass.feed = {};
    pass.feed_seen = told(FeedHealth::off, "capture is Off: sweeps find what changes");
    return {};
}

void PipelineReconciler::tell_capture(Pass& pass, const CaptureState& state, const std::string& refused) const {
    pass.capture_fingerprint = state.complete ? state.fingerprint : "";
    const auto trouble = feeds_.trouble(pass.uid, clock_.steady_now());
    if (state.complete && trouble) {
        pass.feed_seen = told(
            FeedHealth::failing,
            fmt::format("what the feed names cannot be taken up, and sweeps find it until it can: {}", trouble->error.message));
    } else if (state.complete && (pass.feed.full || pass.feed.unsettled)) {
        pass.feed_seen = told(FeedHealth::overrun,
                              pressure_.pressing(pass.uid, clock_.steady_now())
                                  ? "writers keep the database busy with changes; sweeps find them and heal them in "
                                    "feed.overrun_share of the time, and all of it once the writers let up"
                                  : "writers changed more at a time than is worth naming document by document; sweeps find it, "
                                    "and the feed names changes again when they are done");
    } else if (state.complete) {
        pass.feed_seen = told(FeedHealth::active, "");
    } else if (state.blind.why != CaptureBlind::none) {
        pass.feed_seen = blind(state.blind);
    } else if (!state.disabled.empty()) {
        pass.feed_seen = told(FeedHealth::disabled,
                              fmt::format("triggers of {} are switched off, so sweeps find what changes there; switch them on "
                                          "again with ALTER TABLE {} ENABLE TRIGGER ALL, or declare capture: Off",
                                          state.disabled, state.disabled));
    } else {
        pass.feed_seen = told(FeedHealth::no_right,
                              fmt::format("homeostat's role may not make triggers on {}; `homeostat capture sql {}` prints "
                                          "them for somebody who may; until then sweeps find what changes",
                                          refused, pass.declared.name));
    }
}

Result<CaptureState> PipelineReconciler::Pass::put_capture_in_place(Transaction& tx, const CapturePlan& plan, bool may) {
    Result<CaptureState> seen = look_at_capture(tx, uid, plan);
    if (!seen) return seen;
    const bool outdated = !seen->current;
    const bool trusted = feed.trusted;
    // Until now all that is searched was named, and what is put in place names all of that too.
    const bool whole = seen->table_stands && feed.fingerprint == seen->fingerprint && served_is_whole(tx, uid);
    const bool make = outdated || (may && !seen->missing.empty());
    bool writers_ended = false;
    if (outdated) {
        if (const Status made = make_capture_own(tx, uid, plan, *seen); !made) return made.error();
    }
    if (make && may) {
        const Result<bool> locked = make_capture_triggers(tx, plan);
        if (!locked) return locked.error();
        writers_ended = *locked;
    }
    if (make) {
        seen = look_at_capture(tx, uid, plan);
        if (!seen) return seen;
    }
    // Triggers that were away, switched off, or are new may have missed something.
    if (feed.fingerprint != seen->fingerprint) feed.trusted = false;
    unnamed = trusted && !feed.trusted && !seen->complete;
    keep_feed(tx, uid, seen->fingerprint, false);
    if (!seen->complete) distrust_feed(tx, uid, std::chrono::milliseconds(0));
    // Whoever is under way may have called what was replaced, and not have named what is to be named now: as with a feed that
    // was full, it is the sweep that begins when all of them have ended that sees it.
    if (outdated && seen->complete && !writers_ended) shut_feed(tx, uid);
    if (whole && seen->complete) keep_served_whole(tx, uid);
    return seen;
}

// What we may do about what is missing, in one transaction that holds the lease. `clear`: all triggers go first, those too that
// are left on a relation that is watched no more; whoever holds that one's lock holds up nothing else.
Status PipelineReconciler::align_capture(Pass& pass, const CapturePlan& plan, bool clear) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const LockTurn turn = turn_to_lock(**session, pass, of_triggers(pass, clear ? InTheWay::everybody : InTheWay::writers));
    if (!turn.waits.empty()) {
        if (!clear) pass.feed_seen = told(FeedHealth::pending, turn.waits);
        return {};
    }
    std::string refused;
    const bool may = may_make_all(plan, refused);
    if (clear && !may && !pass.capture_fingerprint.empty()) {
        pass.left_over.clear();  // somebody else has made them, and would have to again
        return {};
    }
    Status aligned = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        tx.exec(turn.timeout);
        if (clear) {
            if (const Status dropped = drop_capture_functions(tx, pass.uid); !dropped) return dropped;
        }
        const Result<CaptureState> state = pass.put_capture_in_place(tx, plan, may);
        if (!state) return state.error();
        tx.commit();
        tell_capture(pass, *state, refused);
        return {};
    });
    if (aligned) {
        pass.left_over.clear();
        faults_.over(triggers_of(pass.uid), clock_.steady_now());
        Result<FeedRow> feed = read_feed(**session, pass.uid);
        if (!feed) return feed.error();
        pass.feed = *std::move(feed);
        return {};
    }
    // A source that is locked, or a right that is gone: the feed waits, the pipeline goes on.
    const Error& error = aligned.error();
    if (error.code == kLockNotAvailable && clear) {
        hold_off(**session, pass, of_triggers(pass, InTheWay::everybody), "triggers that are left over could not be removed");
        return {};
    }
    if (error.code == kLockNotAvailable) {
        pass.feed_seen = told(FeedHealth::pending,
                              hold_off(**session, pass, of_triggers(pass, InTheWay::writers), "triggers could not be made"));
        faults_.met(triggers_of(pass.uid), triggers_of(pass.uid),
                    fmt::format("pipeline \"{}\": {}", pass.declared.name, pass.feed_seen.message), clock_.steady_now());
        return {};
    }
    if (error.cls == ErrorClass::fenced || error.cls == ErrorClass::cancelled || error.cls == ErrorClass::db_transient)
        return aligned;
    faults_.met(triggers_of(pass.uid), triggers_of(pass.uid),
                fmt::format("pipeline \"{}\": its triggers could not be made: {}", pass.declared.name, error.message),
                clock_.steady_now());
    pass.feed_seen =
        told(FeedHealth::pending, fmt::format("triggers could not be made and will be tried again: {}", error.message));
    return {};
}

// It may have filled since the pass began. What follows sees all that was not named, but of writers who are still under way.
Status PipelineReconciler::open_full_feed(Session& session, Pass& pass) {
    if (!pass.feed.kept) return {};
    Result<FeedRow> feed = read_feed(session, pass.uid);
    if (!feed) return feed.error();
    pass.feed = *std::move(feed);
    if (!pass.feed.full || pass.capture_fingerprint.empty()) return {};
    const auto in_turn = [&](void (*step)(Transaction&, std::int64_t)) {
        return guarded([&] {
            Transaction tx = fenced_transaction(session, pass.lease(), pass.context);
            step(tx, pass.uid);
            tx.commit();
        });
    };
    if (const Status shut = in_turn(shut_feed); !shut) return shut;
    if (const Status opened = open_feed(session, pass.uid); !opened) return opened;
    return in_turn(note_opened);
}

// Somebody waits for this run, which sees whatever the feed has named and nobody took up: no change feed is consumed meanwhile,
// and none may be for long. A feed that cannot be emptied keeps what it has; the run heals it all the same.
void PipelineReconciler::take_over_feed(Session& session, Pass& pass) {
    if (!pass.feed.kept) return;
    const Status taken = guarded([&] {
        Transaction tx = fenced_transaction(session, pass.lease(), pass.context);
        take_over_changes(tx, pass.uid, pass.feed.run_id);
        tx.commit();
    });
    if (!taken)
        spdlog::warn("pipeline \"{}\": its change feed keeps what it has named: {}", pass.declared.name, taken.error().message);
}

// Drift of this slice that is not the feed's to heal already.
Status PipelineReconciler::leave_to_feed(Pass& pass, Transaction& tx, Observed& seen) const {
    std::vector<DriftItem>& items = seen.slice.items;
    if (settings_.once || !pass.feed.kept || pass.capture_fingerprint.empty()) return {};
    // What is named and never taken up is not the feed's to heal.
    const bool moves = !feeds_.trouble(pass.uid, clock_.steady_now());
    Result<std::vector<bool>> known = known_to_feed(tx, pass.source, pass.revision, pass.feed.run_id, items, moves);
    if (!known) return known.error();
    std::vector<DriftItem> rest;
    std::vector<Key> missing;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!(*known)[i]) {
            rest.push_back(std::move(items[i]));
        } else if (items[i].cls == DriftClass::missing) {
            missing.push_back(std::move(items[i].key));
        }
    }
    items = std::move(rest);
    // What search finds now and would not find in the next revision keeps that from taking over.
    if (const Revision* served = pass.served(); served != nullptr && served->number != pass.revision.number)
        seen.still_to_come = served_among(tx, pass.source, *served, pass.revision, missing);
    return {};
}

// A row that went unnamed, by TRUNCATE for instance, while the feed's first heal of it was on the way: the document comes to be
// when this sweep has passed, and nobody would look for it. So a deletion by its key waits for that heal. Of a deletion that is
// named Feed::plan does the same.
void PipelineReconciler::take_back_too_late(Transaction& tx, const Pass& pass, const std::vector<Key>& keys) const {
    if (keys.empty() || pass.declared.prune == "Never") return;
    PlannedBatch gone{BatchKind::prune, DriftClass::orphaned, pass.declared.priority * 100, {}};
    for (const Key& key : keys) {
        gone.keys.push_back({"0"});
        gone.keys.back().insert(gone.keys.back().end(), key.begin(), key.end());
    }
    insert_batches(tx, pass.uid, pass.run->revision, pass.run->generation, pass.context.epoch, pass.feed.run_id,
                   pass.context.span.traceparent(), {std::move(gone)});
}

}  // namespace homeostat
