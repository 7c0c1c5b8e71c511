// The part of the executor that takes batches up: in the usual course, one at a time while the database only just takes writes
// again, and those under suspicion alone.
#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/factory/factory.hpp"
#include "store/control/blocked_pipeline.hpp"
#include "store/control/replicas.hpp"

namespace homeostat {

namespace {

constexpr Duration kMoment = std::chrono::milliseconds(50);
constexpr std::size_t kOwed = 10'000;

const std::vector<double> kSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};

// What the allocator keeps for later counts against the limit like anything else.
void give_back_free_memory() {
#ifdef __GLIBC__
    ::malloc_trim(0);
#endif
}

}  // namespace

Result<int> Factory::claim(const Context& context) {
    if (!writable(context))
        return Error{.cls = ErrorClass::db_resource, .message = parts_.gate.reason(), .origin = Origin::theirs};
    give_back_owed(context);
    const SteadyTime started = parts_.clock.steady_now();
    Result<bool> trial = in_trial(started, context);
    if (!trial) return trial.error();
    if (*trial) return claim_suspect(started, context);
    Room room = this->room();
    if (parts_.gate.state() == WriteGate::State::trial) room.limit = room.idle ? std::min(room.limit, 1) : 0;
    {
        const Lock lock(mutex_);
        more_ = room.limit <= 0 || !room.blocked.empty();
    }
    if (room.limit <= 0) return 0;
    const std::uint64_t resident = resident_bytes();
    parts_.memory.observe_resident(resident, settings_.memory_limit);
    Gauge& peak = parts_.telemetry.metrics.gauge("homeostat_memory_resident_peak_bytes",
                                                 "The most memory that the process was seen to have in use.");
    peak.set(std::max(peak.value(), static_cast<double>(resident)));
    if (parts_.memory.state().level == MemoryLevel::stopped) {
        give_back_free_memory();
        if (!room.idle) return 0;
        room.limit = 1;  // alone, or nothing would ever change
    }
    if (!room.blocked.empty()) {
        // Full as it was a moment ago, when there was nothing for anybody else.
        const Lock lock(mutex_);
        if (room.blocked == nothing_beside_ && started - nothing_at_ < kMoment) return 0;
    }
    const std::vector<std::string> full = room.blocked;
    add_blocked(room.blocked);
    Result<int> claimed = take_up(room.limit, false, room.blocked, context);
    if (!claimed) return claimed;
    parts_.telemetry.metrics.histogram("homeostat_claim_duration_seconds", "Time to claim batches.", kSeconds)
        .observe(std::chrono::duration<double>(parts_.clock.steady_now() - started).count());
    const Lock lock(mutex_);
    more_ = more_ || *claimed >= room.limit;
    if (*claimed == 0) {
        nothing_beside_ = full;
        nothing_at_ = started;
        if (room.idle) trials_.unclaimed(started);
    }
    return claimed;
}

void Factory::add_blocked(std::vector<std::string>& blocked) const {
    if (settings_.once) return;
    budgets_.add_blocked(blocked);
    for (const DeclaredProvider& p : parts_.gateway.blocked()) blocked.push_back(declaration_key(p));
    for (const std::int64_t uid : parts_.chunkers.left(parts_.clock.steady_now())) blocked.push_back(blocked_pipeline(uid));
}

Result<int> Factory::take_up(int limit, bool suspects, const std::vector<std::string>& blocked, const Context& context) {
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    Result<std::vector<Batch>> batches =
        claim_batches(**session, settings_.replica, limit, settings_.claim_ttl, suspects, blocked, settings_.parallel_from);
    if (!batches) {
        note_failure(batches.error());
        return batches.error();
    }
    if (!batches->empty()) HOMEOSTAT_REACH("claim.after_commit");
    for (Batch& b : *batches) start(enter(std::move(b)));
    return static_cast<int>(batches->size());
}

// Whether it is the turn of batches under suspicion.
Result<bool> Factory::in_trial(SteadyTime now, const Context& context) {
    {
        const Lock lock(mutex_);
        if (draining_) return false;
        if (trials_.exclusive()) return true;
        if (!trials_.look_due(now)) return false;
    }
    std::vector<std::string> blocked;
    add_blocked(blocked);
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    Result<bool> wait = suspects_wait(**session, blocked);
    if (!wait || !*wait) return wait;
    const Lock lock(mutex_);
    trials_.begin(now);
    return true;
}

// Nothing else is claimed or reserved from the beginning of a turn, so that what then runs is all there is.
Result<int> Factory::claim_suspect(SteadyTime now, const Context& context) {
    {
        const Lock lock(mutex_);
        if (draining_ || trials_.next(now, running_.empty() && reserved_.empty()) != TrialTurns::Step::take) return 0;
    }
    std::vector<std::string> blocked;
    add_blocked(blocked);
    Result<int> claimed = take_up(1, true, blocked, context);
    const Lock lock(mutex_);
    trials_.taken(now, claimed && *claimed > 0);
    return claimed;
}

// Whether anything may be claimed: the database takes writes, or nothing is known to the contrary.
bool Factory::writable(const Context& context) {
    const SteadyTime now = parts_.clock.steady_now();
    if (parts_.gate.probe_due(now)) {
        Result<Pool::Lease> session = parts_.writes.acquire(context);
        const Status probed = session ? probe_writes(**session) : Status(session.error());
        // Whoever may not make a temporary table has written a row by then.
        const bool written = probed.ok() || probed.error().code == "42501";
        parts_.gate.probed(written, parts_.clock.steady_now());
        if (!written) spdlog::debug("the database does not take writes yet: {}", probed.error().message);
    }
    return parts_.gate.state() != WriteGate::State::closed;
}

void Factory::note_failure(const Error& error) {
    if (!parts_.gate.failed(error, parts_.clock.steady_now())) return;
    spdlog::warn("the database does not take writes ({}); nothing is embedded until it does", error.message);
    paused_.set(1);
}

void Factory::note_stored() {
    if (!parts_.gate.stored()) return;
    spdlog::info("the database takes writes again");
    paused_.set(0);
}

// Where a claim could not be given back, nobody would take the batch up until it expires.
void Factory::owe(const Batch& batch, bool counts_attempt, std::chrono::milliseconds delay, const std::string& message) {
    Batch name;
    name.id = batch.id;
    name.uid = batch.uid;
    name.run_id = batch.run_id;
    name.token = batch.token;
    name.budgeted = batch.budgeted;
    name.paid = batch.paid;
    const Lock lock(mutex_);
    if (owed_.size() < kOwed) owed_.push_back({std::move(name), counts_attempt, delay, message});
}

void Factory::give_back_owed(const Context& context) {
    std::vector<Owed> owed;
    {
        const Lock lock(mutex_);
        owed.swap(owed_);
    }
    if (owed.empty()) return;
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    std::size_t done = 0;
    while (session && done < owed.size()) {
        const Owed& o = owed[done];
        const Status released = release_batch(**session, o.batch, o.counts_attempt, o.delay, o.message);
        if (!released) {
            note_failure(released.error());
            break;
        }
        ++done;
    }
    const Lock lock(mutex_);
    owed_.insert(owed_.end(), owed.begin() + static_cast<std::ptrdiff_t>(done), owed.end());
}

std::shared_ptr<Factory::Running> Factory::enter(Batch batch) {
    auto running = std::make_shared<Running>();
    running->batch = std::move(batch);
    running->started = parts_.clock.steady_now();
    const Lock lock(mutex_);
    running_[running->batch.id] = running;
    return running;
}

}  // namespace homeostat
