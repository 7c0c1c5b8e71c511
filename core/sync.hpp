// Locks that Clang can check: thin annotated wrappers over std, because libstdc++ carries no annotations.
//
// Lock order in the whole process, outermost first (a thread may only take a lock further down):
//   Loop < WorkQueue < Feed < Factory < Targets < Gateway < Lane < Cache < MemoryBudget < Pool < Registry < Recorder
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#if defined(__clang__)
#define HOMEOSTAT_ANNOTATE(x) __attribute__((x))
#else
#define HOMEOSTAT_ANNOTATE(x)
#endif

#define GUARDED_BY(m) HOMEOSTAT_ANNOTATE(guarded_by(m))
#define REQUIRES(...) HOMEOSTAT_ANNOTATE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) HOMEOSTAT_ANNOTATE(locks_excluded(__VA_ARGS__))

namespace homeostat {

class HOMEOSTAT_ANNOTATE(capability("mutex")) Mutex {
public:
    void lock() HOMEOSTAT_ANNOTATE(acquire_capability()) { m_.lock(); }
    void unlock() HOMEOSTAT_ANNOTATE(release_capability()) { m_.unlock(); }

private:
    std::mutex m_;
};

class HOMEOSTAT_ANNOTATE(scoped_lockable) Lock {
public:
    explicit Lock(Mutex& m) HOMEOSTAT_ANNOTATE(acquire_capability(m)) : m_(m) { m_.lock(); }
    ~Lock() HOMEOSTAT_ANNOTATE(release_capability()) { m_.unlock(); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

private:
    Mutex& m_;
};

// Waits release and retake the mutex; every wait has a deadline or a stop token. The predicate is evaluated by the caller in a
// loop (`while (!ready) if (!cv.wait(...)) ...`), so that the analysis sees the lock held around it.
class CondVar {
public:
    void notify_one() noexcept { cv_.notify_one(); }
    void notify_all() noexcept { cv_.notify_all(); }

    // Returns when notified, spuriously, or when `stop` is requested; false once stop is requested.
    bool wait(Mutex& m, const std::stop_token& stop) REQUIRES(m) {
        if (stop.stop_requested()) return false;
        cv_.wait(m, stop, [woken = false]() mutable { return std::exchange(woken, true); });
        return !stop.stop_requested();
    }
    // As above; also returns when `deadline` (of a std clock) has passed.
    template <class Clock, class D>
    bool wait_until(Mutex& m, const std::stop_token& stop, std::chrono::time_point<Clock, D> deadline) REQUIRES(m) {
        if (stop.stop_requested()) return false;
        cv_.wait_until(m, stop, deadline, [woken = false]() mutable { return std::exchange(woken, true); });
        return !stop.stop_requested();
    }

private:
    std::condition_variable_any cv_;
};

}  // namespace homeostat
