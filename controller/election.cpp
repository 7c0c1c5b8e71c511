#include "controller/election.hpp"

#include <spdlog/spdlog.h>

namespace homeostat {

Election::Election(ConnectOptions options, ElectionSettings settings, const Clock& clock, Registry& metrics)
    : options_(std::move(options)),
      settings_(std::move(settings)),
      clock_(clock),
      held_gauge_(metrics.gauge("homeostat_leases_held", "Pipelines this replica plans.")),
      transitions_(metrics.counter("homeostat_lease_transitions_total", "Leases gained or lost.")) {}

Result<Session*> Election::session() {
    if (session_ && session_->usable()) return session_.get();
    Result<std::unique_ptr<Session>> fresh = Session::connect(options_);
    if (!fresh) return fresh.error();
    session_ = *std::move(fresh);
    return session_.get();
}

Result<std::optional<std::int64_t>> Election::own(const std::string& resource) {
    const Lock lock(mutex_);
    const SteadyTime started = clock_.steady_now();
    if (const auto it = held_.find(resource); it != held_.end() && started < it->second.trusted_until)
        return std::optional(it->second.epoch);
    if (const auto it = foreign_.find(resource); it != foreign_.end() && started < it->second)
        return std::optional<std::int64_t>();
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    Result<std::optional<Lease>> lease = acquire_lease(**connection, resource, settings_.replica, settings_.ttl);
    if (!lease) return lease.error();
    if (!*lease) {
        if (held_.erase(resource) > 0) transitions_.add();
        foreign_[resource] = started + settings_.ttl;
        held_gauge_.set(static_cast<double>(held_.size()));
        return std::optional<std::int64_t>();
    }
    foreign_.erase(resource);
    const auto [it, fresh] = held_.insert_or_assign(resource, Held{(*lease)->epoch, started + settings_.ttl - settings_.margin});
    if (fresh) transitions_.add();
    held_gauge_.set(static_cast<double>(held_.size()));
    return std::optional(it->second.epoch);
}

Result<Renewal> Election::renew() {
    const Lock lock(mutex_);
    Renewal renewal;
    if (held_.empty() && foreign_.empty()) return renewal;
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    Result<std::vector<std::string>> lost = renew_held(**connection);
    if (!lost) return lost.error();
    renewal.lost = *std::move(lost);
    // What was lost is told whatever becomes of this: it is forgotten already.
    Result<std::vector<std::string>> freed = look_at_foreign(**connection);
    if (freed) renewal.freed = *std::move(freed);
    return renewal;
}

Result<std::vector<std::string>> Election::renew_held(Session& session) {
    std::vector<std::string> lost;
    if (held_.empty()) return lost;
    const SteadyTime started = clock_.steady_now();
    Result<std::vector<Lease>> leases = renew_leases(session, settings_.replica, settings_.ttl);
    if (!leases) return leases.error();
    std::map<std::string, Held> still;
    for (const Lease& lease : *leases) still[lease.resource] = {lease.epoch, started + settings_.ttl - settings_.margin};
    for (const auto& [resource, held] : held_) {
        const auto it = still.find(resource);
        if (it != still.end() && it->second.epoch == held.epoch) continue;
        spdlog::info("lease {} was lost; another replica may plan it", resource);
        transitions_.add();
        lost.push_back(resource);
    }
    held_ = std::move(still);
    held_gauge_.set(static_cast<double>(held_.size()));
    return lost;
}

Result<std::vector<std::string>> Election::look_at_foreign(Session& session) {
    std::vector<std::string> freed;
    if (foreign_.empty()) return freed;
    std::vector<std::string> names;
    for (const auto& [resource, until] : foreign_) names.push_back(resource);
    const SteadyTime started = clock_.steady_now();
    Result<std::vector<std::string>> live = foreign_leases(session, settings_.replica, names);
    if (!live) return live.error();
    std::map<std::string, SteadyTime> still;
    for (const std::string& resource : *live) still[resource] = started + settings_.ttl;
    for (const std::string& resource : names) {
        if (!still.contains(resource)) freed.push_back(resource);
    }
    foreign_ = std::move(still);
    return freed;
}

Status Election::leave(const std::string& resource) {
    const Lock lock(mutex_);
    held_.erase(resource);
    foreign_.erase(resource);
    held_gauge_.set(static_cast<double>(held_.size()));
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    return remove_lease(**connection, resource, settings_.replica);
}

Status Election::resign() {
    const Lock lock(mutex_);
    if (held_.empty()) return {};
    held_.clear();
    held_gauge_.set(0);
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    return release_leases(**connection, settings_.replica);
}

std::size_t Election::held() const {
    const Lock lock(mutex_);
    return held_.size();
}

}  // namespace homeostat
