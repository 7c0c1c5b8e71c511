// Which pipelines this replica plans: follower or owner of each, over store/leases.
//
// Ownership is trusted only until a local deadline counted from the start of the request that got or renewed it, and ending
// before the lease does on the server; every write checks the epoch again in its own transaction. Losing a lease is normal.
//
// What is known is under a lock, which is never held across a statement. renew() runs on its caller's own session, so that no
// load elsewhere can delay it; own() and leave() are safe from any thread and have a connection between them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "store/control/leases.hpp"
#include "store/pg/pool.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ElectionSettings {
    std::string replica;
    std::chrono::milliseconds ttl{15'000};
    std::chrono::milliseconds margin{2'000};  // given up locally this long before the server would
};

struct Renewal {
    std::vector<std::string> lost;
    std::vector<std::string> freed;  // another replica had it and has it no more
};

class Election {
public:
    Election(ConnectOptions options, ElectionSettings settings, const Clock& clock, Registry& metrics);

    // The epoch under which we own this resource, acquiring it where it is free; nothing where another replica has it, or had it
    // at the last renewal.
    Result<std::optional<std::int64_t>> own(const std::string& resource) EXCLUDES(mutex_);
    // Renews everything held in one statement, and asks in another which of those that others had are free. What was lost is
    // forgotten. One caller at a time.
    Result<Renewal> renew(Session& session) EXCLUDES(mutex_);
    // What it was for is gone: it is let go and forgotten.
    Status leave(const std::string& resource) EXCLUDES(mutex_);
    // Lets everything go, so that a successor need not wait for the leases to expire.
    Status resign() EXCLUDES(mutex_);
    std::size_t held() const EXCLUDES(mutex_);
    // Pipelines that are ours now, with their epochs; asks nobody.
    std::map<std::int64_t, std::int64_t> owned() const EXCLUDES(mutex_);

private:
    struct Held {
        std::int64_t epoch = 0;
        SteadyTime trusted_until;
    };
    std::optional<std::optional<std::int64_t>> known(const std::string& resource, SteadyTime now) const EXCLUDES(mutex_);
    void note(const std::string& resource, const std::optional<Lease>& lease, SteadyTime asked) EXCLUDES(mutex_);
    Result<std::vector<std::string>> renew_held(Session& session) EXCLUDES(mutex_);
    // As upstream names it: of each lease that this replica has had, whether it has it.
    void tell(const std::string& resource, bool master) REQUIRES(mutex_);
    Result<std::vector<std::string>> look_at_foreign(Session& session) EXCLUDES(mutex_);

    const ElectionSettings settings_;
    const Clock& clock_;
    Registry& metrics_;
    Gauge& held_gauge_;
    Counter& transitions_;
    Counter& slow_;
    Pool asks_;
    mutable Mutex mutex_;
    std::map<std::string, Held> held_ GUARDED_BY(mutex_);
    // What others hold, and until when that is taken for granted: a standby of a thousand pipelines does not ask for each.
    std::map<std::string, SteadyTime> foreign_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
