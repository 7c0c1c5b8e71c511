// That this replica lives, for others to see, and which of the others do not (store/control/replicas.hpp).
//
// The session that it is known by is its own and carries what may wait for nothing: renewals, heartbeats, rescue. Belongs to one
// thread at a time: the keeper, and whoever stops it, afterwards.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "core/telemetry.hpp"
#include "store/control/replicas.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct LivenessSettings {
    std::string replica;
    std::chrono::milliseconds patience{15'000};  // with one that says nothing and cannot be looked for
};

class Liveness {
public:
    Liveness(ConnectOptions options, LivenessSettings settings, const Clock& clock, Registry& metrics);

    // Connected and registered.
    Result<Session*> session();
    // Whether the session is there, as far as has been heard; costs nothing.
    bool alive() noexcept { return session_ && session_->alive(); }
    // Frees what replicas that died left behind. How many died or are silent: their leases may be free.
    Result<int> look();
    // Since when the session stands; it is made again where it broke.
    SteadyTime since() const noexcept { return since_; }
    // Returns claims that nobody keeps alive.
    Status rescue_expired();
    // This replica ends; nobody needs to look for it.
    Status leave();

private:
    struct Missed {
        ServerSession server;
        SteadyTime since;
    };
    bool died(const ReplicaSight& sight, SteadyTime now);
    void count_returned(int batches);

    const ConnectOptions options_;
    const LivenessSettings settings_;
    const Clock& clock_;
    Counter& rescued_;
    const ProcessMark mark_;
    std::unique_ptr<Session> session_;
    SteadyTime since_{};
    std::map<std::string, Missed> missed_;  // whose session is gone, by replica
};

}  // namespace homeostat
