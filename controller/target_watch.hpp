// The thread that looks at target views: each whenever its interval has passed, on the replica that holds its lease. It has a
// thread of its own because the relation is the user's, and may be slow to read.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <stop_token>

#include "controller/controller.hpp"
#include "controller/election.hpp"
#include "core/clock.hpp"
#include "reconcilers/gateway/fault_log.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct TargetWatchSettings {
    std::chrono::milliseconds poll{1'000};
    std::chrono::milliseconds renew{5'000};
    std::chrono::milliseconds pass_timeout{120'000};
    bool once = false;
};

class TargetWatch {
public:
    // All outlive the watch. In once mode `listed` is called when every target view has settled, or with the error that
    // prevents it for good.
    TargetWatch(Election& election, Reconciler& reconciler, FaultLog& faults, Pool& reads, const Clock& clock,
                TargetWatchSettings settings, std::function<void(const Result<RunSummaryCounts>&)> listed);

    // Until stopped; in once mode until settled.
    void watch(const std::stop_token& stop);

private:
    Status look(const std::stop_token& stop);
    void tell(const std::string& who, const Error& error, const std::string& line);
    void visit(std::int64_t uid, const std::string& name, const std::stop_token& stop);

    Election& election_;
    Reconciler& reconciler_;
    FaultLog& faults_;
    Pool& reads_;
    const Clock& clock_;
    const TargetWatchSettings settings_;
    const std::function<void(const Result<RunSummaryCounts>&)> listed_;
    // Of the one thread.
    std::map<std::int64_t, SteadyTime> due_;
    std::set<std::int64_t> unsettled_;
    std::map<std::int64_t, int> failures_;
    RunSummaryCounts counts_;
    SteadyTime started_{};
};

}  // namespace homeostat
