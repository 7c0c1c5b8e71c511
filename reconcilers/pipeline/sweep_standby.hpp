// The standby on which sweeps observe (database.observe_url), so that the primary is spared it.
//
// Nothing is read there that the primary could not have shown when it was asked for: each reading waits until the standby has
// replayed all that the primary had by then. Where it does not come to that, or fails there, there is no reading, and the caller
// asks the primary; why is one line of the log for as long as it lasts. Safe from any thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/sync.hpp"
#include "reconcilers/gateway/fault_log.hpp"
#include "store/pg/pool.hpp"
#include "store/pg/standby.hpp"

namespace homeostat {

class SweepStandby {
public:
    // `standby`: sessions of it (standby_options). All outlive this.
    SweepStandby(Pool& standby, Pool& primary, FaultLog& faults, const Clock& clock, std::chrono::milliseconds max_lag)
        : standby_(standby), primary_(primary), faults_(faults), clock_(clock), max_lag_(max_lag) {}

    // Calls `read` with a transaction of one snapshot on the standby. True: it has read, and what it read counts. False: it has
    // not, or what it read must be forgotten.
    bool read(std::int64_t uid, const std::string& pipeline, const Context& context,
              const std::function<Status(Transaction&)>& read) EXCLUDES(mutex_);

private:
    bool held_off(std::int64_t uid) const EXCLUDES(mutex_);
    Result<StandbyFacts> catch_up(Session& standby, const Context& context) EXCLUDES(mutex_);
    void failed(std::int64_t uid, const std::string& pipeline, const Error& error, bool reading, SteadyTime since)
        EXCLUDES(mutex_);

    Pool& standby_;
    Pool& primary_;
    FaultLog& faults_;
    const Clock& clock_;
    const std::chrono::milliseconds max_lag_;
    mutable Mutex mutex_;
    CondVar stopped_;  // never notified: waited for until a time, or a stop
    SteadyTime not_before_ GUARDED_BY(mutex_){};
    std::map<std::int64_t, SteadyTime> not_before_of_ GUARDED_BY(mutex_);  // pipelines whose sources cannot be read there
};

}  // namespace homeostat
