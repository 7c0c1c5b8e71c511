// What one call of the pipeline reconciler has read; internal to its source files.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/conditions.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/plan_hold.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/leases.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/suspension.hpp"
#include "store/feed/feed.hpp"

namespace homeostat {

struct PipelineReconciler::Pass {
    std::int64_t uid = 0;
    Context context;
    bool joined = false;  // the trace of a run that was under way when it began
    Span anew;            // of a run that takes the place of that one, in a trace of its own
    PipelineSpec declared;
    PipelineSpec spec;          // the declared one, with what decides vectors as the revision under work has it
    ProviderSpec provider;           // who embeds: the declared one, or that of the pinned revision
    ProviderSpec declared_provider;
    SourceShape source;
    VectorExtension vectors;
    std::vector<Revision> revisions;
    Revision revision;          // under work: the newest
    LoopState state;
    PipelineStatus status;
    std::optional<Run> run;
    OpenBatches open;
    PruneDecision prune;
    PointRequests points;
    std::optional<Suspension> suspension;  // where it is suspended
    std::int64_t stored_dead_letters = 0;
    std::int64_t unconfirmed = 0;  // deletions that only one observation has seen
    std::optional<Totals> counted;  // and told, of what is served, by this pass: nothing of this run is under way since
    std::int64_t shed = 0;         // documents that wait for memory
    std::string waiting_for;       // a pipeline that this one depends on and that is not ready
    std::string lock_wait;         // what waits for a lock that somebody holds, and who that is
    std::string trigger;
    FeedRow feed;
    bool mended = false;       // its source could not be used, and can be now
    bool renewed = false;      // it failed, and there is a new reason to ask its provider
    bool served_gone = false;  // what was served is not there any more
    std::string capture_fingerprint;  // of triggers that are all in place; "" where they are not
    FeedSeen feed_seen;
    bool unnamed = false;  // until now all was, and from now on something is not: what changed with that is looked for at once
    std::string source_facts;  // as the catalog has them, of a source that nothing names changes of; "" where not asked for
    bool altered = false;      // they are others than those of its last sweep
    std::string left_over;  // a relation that is watched no more and whose triggers somebody's lock keeps
    SteadyTime loaded{};  // ours, when the server's clock was read
    std::optional<ProviderTrouble> provider_trouble;
    Holds holds;
    std::optional<Error> distrusted;  // why it was suspended: a run of it was found wrong
    Condemned condemned;  // what becomes of the run that this pass has found wrong
    std::optional<Error> unprovided;  // why nobody makes the vectors of the pinned revision any more
    std::string not_followed;  // why edits do not reach what is served while the next revision is built; "" where they do

    explicit Pass(std::int64_t id, const Context& c) : uid(id), context(c) {}

    // Searches lose what the served revision has and the next one has not: the brakes on deletion hold that too, and it waits for
    // an approval as deletions do. `floor` as settings have it. pipeline_finish.cpp
    Status look_what_is_lost(Session& session, std::int64_t floor);
    // What names changes, where we may make it; the feed is trusted no further than that reaches.
    Result<CaptureState> put_capture_in_place(Transaction& tx, const CapturePlan& plan, bool may);
    bool held_back = false;  // by them

    // Whether the revision under work takes over; what is counted may be counted anew.
    bool take_over(Transaction& tx, Totals& stored);

    // What a transaction that may come to nothing changes of it.
    struct Known {
        PipelineStatus status;
        LoopState state;
        Revision revision;
        std::vector<Revision> revisions;
        FeedSeen feed_seen;
    };
    Known known() const { return {status, state, revision, revisions, feed_seen}; }
    void know(const Known& k) {
        status = k.status;
        state = k.state;
        revision = k.revision;
        revisions = k.revisions;
        feed_seen = k.feed_seen;
    }
    // That the revision under work is served now, and no other one.
    void note_served() {
        revision.state = "served";
        for (Revision& r : revisions) {
            if (r.number == revision.number || r.state == "served") r.state = r.number == revision.number ? "served" : "retired";
        }
    }

    // A run that takes the place of one that was under way is a trace of its own, from here on.
    void begin_trace(const Tracer& tracer) {
        if (!joined) return;
        anew = tracer.start("reconcile");
        anew.link(context.span);
        anew.set("homeostat.pipeline.uid", uid);
        context = context.under(anew);
    }

    const Revision* served() const {
        for (const Revision& r : revisions) {
            if (r.state == "served") return &r;
        }
        return nullptr;
    }
    // What decides the vectors that are wanted, and the revision that has them; null where it is still to be made.
    RevisionSettings wanted() const { return wanted_settings(declared, provider, revisions); }
    const Revision* holding() const { return revision_holding(revisions, wanted()); }
    // What is served, where anything is, has the vectors that are asked for.
    bool serves_wanted() const { return served() == nullptr || holding() == served(); }
    // The revision that is pinned, whatever is declared; null where none is.
    const Revision* pinned() const { return pinned_revision(declared, revisions); }
    // One is, and another is served or worked on; or none is any more, and that is not told.
    bool pin_is_due() const {
        if (pinned() == nullptr) return is(kRevisionPinned);
        return !is(kRevisionPinned) || holding() != served() || beside();
    }
    // Under work to take over from what is served.
    bool next_to_serve() const { return revision.state != "served" && served() != nullptr; }
    // What is searched is not what is worked on: the next one is built beside it.
    bool beside() const {
        return served() != nullptr &&
               std::any_of(revisions.begin(), revisions.end(), [](const Revision& r) { return r.state == "building"; });
    }
    // Whether the condition of that type was told to be True.
    bool is(std::string_view type) const {
        return std::any_of(status.conditions.begin(), status.conditions.end(),
                           [&](const Condition& c) { return c.type == type && c.status == "True"; });
    }
    // Whether the last sweep found edits that the feed had not named.
    bool passed_by() const {
        return std::any_of(status.conditions.begin(), status.conditions.end(),
                           [](const Condition& c) { return c.type == "ChangeFeed" && c.reason == "Bypassed"; });
    }
    // For a pass that has not ended yet.
    bool asked() const { return declared.reconcile_requested && declared.reconcile_requested != state.last_handled_reconcile; }
    // Asked for by whoever has refused documents tried again.
    bool retries_refused() const { return asked() && declared.reconcile_requested->starts_with(kRetriesRefused); }
    // Since the last run that ended.
    bool refreshed() const { return state.source_mark && state.source_mark != state.observed_mark; }
    // For deletions that are held back.
    bool approved() const { return declared.approval && status.blocked_prunes > 0 && *declared.approval == status.blocked_plan; }
    bool heals() const { return declared.management == "Manage" && declared.drift_policy == "Enforce"; }
    std::string lease() const { return pipeline_lease(uid); }
    // The time by the server: what is stored, and compared with what is stored, is by no other clock. `steady` is ours, now.
    WallTime now(SteadyTime steady) const { return state.at + std::chrono::duration_cast<WallTime::duration>(steady - loaded); }
};

inline constexpr std::chrono::milliseconds kHeldLook{2'000};  // from a look at whether a lock is still held to the next

// An exclusive transaction of a pass: its lease held at our epoch for as long as it lasts.
Transaction fenced_transaction(Session& session, const std::string& lease, const Context& context);

}  // namespace homeostat
