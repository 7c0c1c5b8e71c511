// The queue of keys to reconcile.
//
// A key is in it at most once and is never handed to two workers; adding it while it is worked on makes it come once more
// afterwards. Re-adding merges: the higher priority and the earlier time win. Keys that have waited long rise, a level a minute,
// so that low priorities cannot starve. Inside a priority it is first come, first served.
//
// Safe from any thread. The decision (try_next) is a function of the queue and a time, so tests own the clock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>

#include "core/clock.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

inline constexpr int kPriorityRequested = 100;
inline constexpr int kPrioritySpec = 0;
inline constexpr int kPriorityDrift = -100;

class WorkQueue {
public:
    struct Item {
        std::int64_t key = 0;
        int priority = 0;
    };

    // `name`: of the controller whose keys these are, in the metrics.
    WorkQueue(const Clock& clock, Registry& metrics, const std::string& name = "pipeline");

    void add(std::int64_t key, int priority = kPrioritySpec, Duration after = Duration::zero()) EXCLUDES(mutex_);
    // The same of a key whose work has failed: counted as a retry.
    void retry(std::int64_t key, int priority, Duration after) EXCLUDES(mutex_);
    // Waits until a key is ready; nothing once `stop` is requested. The key is the caller's until done().
    std::optional<Item> next(const std::stop_token& stop) EXCLUDES(mutex_);
    void done(std::int64_t key) EXCLUDES(mutex_);

    struct Look {
        std::optional<Item> item;
        std::optional<SteadyTime> earliest;  // of those not ready yet
    };
    Look try_next(SteadyTime now) EXCLUDES(mutex_);
    std::size_t depth() const EXCLUDES(mutex_);
    // How long what is worked on has been: to be called now and then.
    void tell_unfinished() EXCLUDES(mutex_);

private:
    struct Waiting {
        int priority = 0;
        SteadyTime ready;
        SteadyTime added;
        std::uint64_t order = 0;
    };
    Look look(SteadyTime now) REQUIRES(mutex_);
    void merge(std::int64_t key, int priority, SteadyTime ready, SteadyTime now) REQUIRES(mutex_);

    const Clock& clock_;
    Gauge& depth_;
    Counter& adds_;
    Counter& retries_;
    Histogram& waited_;
    Histogram& worked_;
    Gauge& unfinished_;
    Gauge& longest_;
    mutable Mutex mutex_;
    CondVar changed_;
    std::map<std::int64_t, Waiting> waiting_ GUARDED_BY(mutex_);
    std::map<std::int64_t, SteadyTime> processing_ GUARDED_BY(mutex_);  // since when
    std::map<std::int64_t, Waiting> dirty_ GUARDED_BY(mutex_);  // added while being processed
    std::uint64_t order_ GUARDED_BY(mutex_) = 0;
};

}  // namespace homeostat
