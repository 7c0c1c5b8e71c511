// Locks of other sessions that are in a pass's way: nobody waits long for us, and who holds them is told.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/feed/capture_functions.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

constexpr Duration kHoldOff = std::chrono::seconds(60);

}  // namespace

PipelineReconciler::LockOf PipelineReconciler::of_triggers(const Pass& pass, InTheWay who) {
    LockOf of{{pass.declared.source, change_table(pass.uid)}, who};
    for (const CaptureBase& base : pass.declared.capture_from) of.relations.push_back(base.table);
    if (!pass.left_over.empty()) of.relations.push_back(pass.left_over);
    return of;
}

Result<PipelineReconciler::LockOf> PipelineReconciler::of_data(Session& session, const Pass& pass) {
    Result<std::vector<Revision>> revisions = read_revisions(session, pass.uid);
    if (!revisions) return revisions.error();
    LockOf of{{pass.declared.target}, InTheWay::everybody, true};
    for (const Revision& r : *revisions)
        of.relations.insert(of.relations.end(), {r.tables.document, r.tables.chunk, r.tables.journal});
    return of;
}

// Whoever waits for a lock has others wait behind him: a tenth of a second once a minute. In between, only where nobody holds it.
PipelineReconciler::LockTurn PipelineReconciler::turn_to_lock(Session& session, const Pass& pass, const LockOf& of) {
    std::string message;
    {
        const Lock lock(mutex_);
        const auto it = held_off_.find({pass.uid, of.ours});
        if (settings_.once || it == held_off_.end() || clock_.steady_now() >= it->second.first) return {"", kShortLock};
        message = it->second.second;
    }
    const Result<std::optional<std::string>> holder = lock_holder(session, of.relations, of.who);
    if (holder && !*holder) return {"", kBriefLock};
    return {message, kBriefLock};
}

// Says who holds it.
std::string PipelineReconciler::hold_off(Session& session, const Pass& pass, const LockOf& of, std::string_view what) {
    const Result<std::optional<std::string>> holder = lock_holder(session, of.relations, of.who);
    std::string message = fmt::format("{}: they wait for {}; tried again as soon as nobody holds it", what,
                                      holder && *holder ? **holder : "a lock that somebody held a moment ago");
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    auto& held = held_off_[{pass.uid, of.ours}];
    if (now >= held.first) held.first = now + kHoldOff;
    held.second = message;
    return message;
}

Error PipelineReconciler::lock_held(std::string message, std::string_view code) {
    return Error{
        .cls = ErrorClass::db_transient, .message = std::move(message), .origin = Origin::theirs, .code = std::string(code)};
}

// What could not be altered a moment ago is not asked for again while somebody holds it.
Status PipelineReconciler::turn_to_alter(const Pass& pass) {
    {
        const Lock lock(mutex_);
        if (!held_off_.contains({pass.uid, true})) return {};
    }
    Result<Pool::Lease> session = reads_.acquire(pass.context);
    if (!session) return session.error();
    Result<LockOf> of = of_data(**session, pass);
    if (!of) return of.error();
    const LockTurn turn = turn_to_lock(**session, pass, *of);
    if (turn.waits.empty()) return {};
    return lock_held(turn.waits, kLockHeld);
}

// Told, and looked at again soon: nothing is wrong with the pipeline, and what is served and fed goes on.
Result<ReconcileOutcome> PipelineReconciler::wait_for_lock(Pass& pass, const Error& error) {
    if (const Status told = say_who_holds_it(pass, error); !told) return told.error();
    const auto& had = pass.status.conditions;
    const bool known = std::any_of(had.begin(), had.end(), [](const Condition& c) { return c.reason == kWaitingForLock; });
    if (!known) spdlog::info("pipeline \"{}\": {}", pass.declared.name, pass.lock_wait);
    if (const Status recorded = record_progress(pass); !recorded) return recorded.error();
    return ReconcileOutcome{.end = PassEnd::waiting, .again_in = kHeldLook};
}

Status PipelineReconciler::say_who_holds_it(Pass& pass, const Error& error) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    if (error.code == kLockHeld) {
        Result<LockOf> of = of_data(**session, pass);
        if (!of) return of.error();
        pass.lock_wait = hold_off(**session, pass, *of,
                                  pass.declared.deleting ? "its vectors could not be removed yet"
                                                         : "tables and views of ours could not be altered yet");
        return {};
    }
    if (pass.declared.deleting) {
        pass.lock_wait =
            hold_off(**session, pass, of_triggers(pass, InTheWay::everybody), "its triggers could not be removed yet");
        return {};
    }
    const LockOf of = of_triggers(pass, InTheWay::owners);
    const Result<std::optional<std::string>> holder = lock_holder(**session, of.relations, of.who);
    if (holder && *holder) {
        pass.lock_wait = fmt::format("the source could not be read yet: it waits for {}", **holder);
        return {};
    }
    const Result<LockOf> data = of_data(**session, pass);
    const Result<std::optional<std::string>> other =
        data ? lock_holder(**session, data->relations, InTheWay::owners) : std::optional<std::string>();
    pass.lock_wait = other && *other ? fmt::format("tables of ours could not be read or written yet: they wait for {}", **other)
                                     : fmt::format("a lock was waited for in vain: {}", error.message);
    return {};
}

}  // namespace homeostat
