#include "controller/liveness.hpp"
#include "reconcilers/gateway/plural.hpp"

#include <spdlog/spdlog.h>

namespace homeostat {

namespace {

// A session that broke without its process is made again and registered well within that.
constexpr Duration kMissing = std::chrono::milliseconds(900);

}  // namespace

Liveness::Liveness(ConnectOptions options, LivenessSettings settings, const Clock& clock, Registry& metrics)
    : options_(std::move(options)),
      settings_(std::move(settings)),
      clock_(clock),
      rescued_(
          metrics.counter("homeostat_rescued_batches_total", "Batches taken back from replicas that died or stopped answering.")),
      mark_(this_process()) {}

Result<Session*> Liveness::session() {
    if (session_ && session_->usable()) return session_.get();
    session_.reset();
    missed_.clear();  // what ended ours may have ended theirs
    Result<std::unique_ptr<Session>> fresh = Session::connect(options_);
    if (!fresh) return fresh.error();
    if (const Status registered = register_replica(**fresh, settings_.replica, mark_); !registered) return registered.error();
    session_ = *std::move(fresh);
    since_ = clock_.steady_now();
    return session_.get();
}

Result<int> Liveness::look() {
    if (session_ && !session_->alive()) session_.reset();
    Result<Session*> session = this->session();
    if (!session) return session.error();
    Result<std::vector<ReplicaSight>> others = look_at_replicas(**session, settings_.replica, settings_.patience);
    if (!others) {
        if (others.error().cls == ErrorClass::fenced) session_.reset();
        return others.error();
    }
    int gone = 0;
    bool silent = false;
    for (const ReplicaSight& other : *others) {
        if (other.silent) {
            silent = true;
            ++gone;
        }
        if (!died(other, clock_.steady_now())) continue;
        Result<int> back = rescue_from(**session, other);
        if (!back) return back.error();
        missed_.erase(other.id);
        ++gone;
        count_returned(*back);
        spdlog::info("replica {} has died; {} of it {} back in the queue", other.id, plural(*back, "batch", "batches"),
                     one_or_many(*back, "is", "are"));
    }
    if (silent) {
        if (const Status returned = rescue_expired(); !returned) return returned.error();
    }
    return gone;
}

bool Liveness::died(const ReplicaSight& sight, SteadyTime now) {
    if (!mark_.space.empty() && sight.mark.space == mark_.space) return process_ended(sight.mark);
    if (!sight.session_ended) {
        missed_.erase(sight.id);
        return false;
    }
    const auto [it, first] = missed_.try_emplace(sight.id, Missed{sight.server, now});
    if (!(it->second.server == sight.server)) it->second = {sight.server, now};
    return now - it->second.since >= kMissing;
}

Status Liveness::rescue_expired() {
    Result<Session*> session = this->session();
    if (!session) return session.error();
    Result<int> back = rescue_silent(**session, settings_.patience);
    if (!back) return back.error();
    count_returned(*back);
    if (*back > 0)
        spdlog::info("{} of a replica that stopped answering {} back in the queue", plural(*back, "batch", "batches"),
                     one_or_many(*back, "is", "are"));
    return {};
}

void Liveness::count_returned(int batches) { rescued_.add(batches); }

Status Liveness::leave() {
    Result<Session*> session = this->session();
    if (!session) return session.error();
    const Status retired = retire_replica(**session, settings_.replica, mark_);
    session_.reset();
    return retired;
}

}  // namespace homeostat
