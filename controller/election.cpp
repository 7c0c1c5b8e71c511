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
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    Result<std::optional<Lease>> lease = acquire_lease(**connection, resource, settings_.replica, settings_.ttl);
    if (!lease) return lease.error();
    if (!*lease) {
        if (held_.erase(resource) > 0) transitions_.add();
        held_gauge_.set(static_cast<double>(held_.size()));
        return std::optional<std::int64_t>();
    }
    const auto [it, fresh] = held_.insert_or_assign(resource, Held{(*lease)->epoch, started + settings_.ttl - settings_.margin});
    if (fresh) transitions_.add();
    held_gauge_.set(static_cast<double>(held_.size()));
    return std::optional(it->second.epoch);
}

Result<std::vector<std::string>> Election::renew() {
    const Lock lock(mutex_);
    if (held_.empty()) return std::vector<std::string>();
    Result<Session*> connection = session();
    if (!connection) return connection.error();
    const SteadyTime started = clock_.steady_now();
    Result<std::vector<Lease>> leases = renew_leases(**connection, settings_.replica, settings_.ttl);
    if (!leases) return leases.error();
    std::map<std::string, Held> still;
    for (const Lease& lease : *leases) still[lease.resource] = {lease.epoch, started + settings_.ttl - settings_.margin};
    std::vector<std::string> lost;
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

Status Election::leave(const std::string& resource) {
    const Lock lock(mutex_);
    held_.erase(resource);
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
