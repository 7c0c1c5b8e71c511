#include "controller/election.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace homeostat {

Election::Election(ConnectOptions options, ElectionSettings settings, const Clock& clock, Registry& metrics)
    : settings_(std::move(settings)),
      clock_(clock),
      metrics_(metrics),
      held_gauge_(metrics.gauge("homeostat_leases_held", "Pipelines this replica plans.")),
      transitions_(metrics.counter("homeostat_lease_transitions_total", "Leases gained or lost.")),
      slow_(metrics.counter("leader_election_slowpath_total",
                            "Leases of ours that had to be asked for again, as their renewal was late or refused.",
                            {{"name", "pipeline"}})),
      asks_(std::move(options), 1) {}

void Election::tell(const std::string& resource, bool master) {
    metrics_.gauge("leader_election_master_status", "Whether this replica holds the lease.", {{"name", resource}})
        .set(master ? 1 : 0);
}

std::optional<std::optional<std::int64_t>> Election::known(const std::string& resource, SteadyTime now) const {
    const Lock lock(mutex_);
    if (const auto it = held_.find(resource); it != held_.end() && now < it->second.trusted_until) return it->second.epoch;
    if (const auto it = foreign_.find(resource); it != foreign_.end() && now < it->second) return std::optional<std::int64_t>();
    return std::nullopt;
}

Result<std::optional<std::int64_t>> Election::own(const std::string& resource) {
    if (const auto answer = known(resource, clock_.steady_now())) return *answer;
    Result<Pool::Lease> session = asks_.acquire(Context{});
    if (!session) return session.error();
    // Another thread may have asked while this one waited.
    const SteadyTime asked = clock_.steady_now();
    if (const auto answer = known(resource, asked)) return *answer;
    Result<std::optional<Lease>> lease = acquire_lease(**session, resource, settings_.replica, settings_.ttl);
    if (!lease) return lease.error();
    note(resource, *lease, asked);
    return *lease ? std::optional((*lease)->epoch) : std::nullopt;
}

void Election::note(const std::string& resource, const std::optional<Lease>& lease, SteadyTime asked) {
    const Lock lock(mutex_);
    const auto it = held_.find(resource);
    if (!lease) {
        if (it != held_.end()) {
            held_.erase(it);
            transitions_.add();
            slow_.add();
            tell(resource, false);
        }
        foreign_[resource] = asked + settings_.ttl;
    } else {
        foreign_.erase(resource);
        (it == held_.end() ? transitions_ : slow_).add();
        tell(resource, true);
        // Of two answers that crossed, the newer epoch counts.
        if (it == held_.end() || it->second.epoch <= lease->epoch)
            held_[resource] = {lease->epoch, asked + settings_.ttl - settings_.margin};
    }
    held_gauge_.set(static_cast<double>(held_.size()));
}

Result<Renewal> Election::renew(Session& session) {
    Renewal renewal;
    Result<std::vector<std::string>> lost = renew_held(session);
    if (!lost) return lost.error();
    renewal.lost = *std::move(lost);
    // What was lost is told whatever becomes of this: it is forgotten already.
    Result<std::vector<std::string>> freed = look_at_foreign(session);
    if (freed) renewal.freed = *std::move(freed);
    return renewal;
}

// Leases that are acquired meanwhile are not spoken of in the answer, and stay as they are.
Result<std::vector<std::string>> Election::renew_held(Session& session) {
    std::map<std::string, Held> before;
    {
        const Lock lock(mutex_);
        before = held_;
    }
    std::vector<std::string> lost;
    if (before.empty()) return lost;
    const SteadyTime asked = clock_.steady_now();
    Result<std::vector<Lease>> leases = renew_leases(session, settings_.replica, settings_.ttl);
    if (!leases) return leases.error();
    std::map<std::string, std::int64_t> renewed;
    for (const Lease& lease : *leases) renewed[lease.resource] = lease.epoch;
    const Lock lock(mutex_);
    for (const auto& [resource, held] : before) {
        const auto now = held_.find(resource);
        if (now == held_.end() || now->second.epoch != held.epoch) continue;
        const auto it = renewed.find(resource);
        if (it != renewed.end() && it->second == held.epoch) {
            now->second.trusted_until = std::max(now->second.trusted_until, asked + settings_.ttl - settings_.margin);
            continue;
        }
        spdlog::info("lease {} was lost; another replica may plan it", resource);
        transitions_.add();
        slow_.add();
        tell(resource, false);
        lost.push_back(resource);
        held_.erase(now);
    }
    held_gauge_.set(static_cast<double>(held_.size()));
    return lost;
}

Result<std::vector<std::string>> Election::look_at_foreign(Session& session) {
    std::vector<std::string> names;
    {
        const Lock lock(mutex_);
        for (const auto& [resource, until] : foreign_) names.push_back(resource);
    }
    std::vector<std::string> freed;
    if (names.empty()) return freed;
    const SteadyTime asked = clock_.steady_now();
    Result<std::vector<std::string>> live = foreign_leases(session, settings_.replica, names);
    if (!live) return live.error();
    std::sort(live->begin(), live->end());
    const Lock lock(mutex_);
    for (const std::string& resource : names) {
        const auto it = foreign_.find(resource);
        if (it == foreign_.end()) continue;
        if (std::binary_search(live->begin(), live->end(), resource)) {
            it->second = asked + settings_.ttl;
        } else {
            foreign_.erase(it);
            freed.push_back(resource);
        }
    }
    return freed;
}

Status Election::leave(const std::string& resource) {
    {
        const Lock lock(mutex_);
        held_.erase(resource);
        foreign_.erase(resource);
        metrics_.forget("name", resource);
        held_gauge_.set(static_cast<double>(held_.size()));
    }
    Result<Pool::Lease> session = asks_.acquire(Context{});
    if (!session) return session.error();
    return remove_lease(**session, resource, settings_.replica);
}

Status Election::resign() {
    {
        const Lock lock(mutex_);
        if (held_.empty()) return {};
        for (const auto& [resource, held] : held_) tell(resource, false);
        held_.clear();
        held_gauge_.set(0);
    }
    Result<Pool::Lease> session = asks_.acquire(Context{});
    if (!session) return session.error();
    return release_leases(**session, settings_.replica);
}

std::map<std::int64_t, std::int64_t> Election::owned() const {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    std::map<std::int64_t, std::int64_t> epochs;
    for (const auto& [resource, held] : held_) {
        const auto uid = pipeline_of_lease(resource);
        if (uid && now < held.trusted_until) epochs[*uid] = held.epoch;
    }
    return epochs;
}

std::size_t Election::held() const {
    const Lock lock(mutex_);
    return held_.size();
}

}  // namespace homeostat
