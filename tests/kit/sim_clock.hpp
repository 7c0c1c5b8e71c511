// A clock that a test moves by hand. Threads that wait on it wake when their deadline has been reached by advance(), and at once
// when they are asked to stop. wait_for_waiters() lets a test advance only after the code under test has gone to sleep, so that
// no test sleeps or guesses. Safe from any thread.
#pragma once

#include <cstddef>

#include "core/clock.hpp"
#include "core/sync.hpp"

namespace homeostat::kit {

class SimulatedClock final : public Clock {
public:
    // Begins at 2026-01-01 00:00:00 UTC, and one hour into the steady clock, so that subtracting a little is still positive.
    SimulatedClock();

    WallTime now() const override EXCLUDES(mutex_);
    SteadyTime steady_now() const override EXCLUDES(mutex_);
    bool wait_until(SteadyTime deadline, std::stop_token stop) override EXCLUDES(mutex_);

    void advance(Duration d) EXCLUDES(mutex_);
    // Moves the wall clock alone, as an operator or NTP would.
    void jump_wall(Duration d) EXCLUDES(mutex_);
    // Blocks until at least `n` threads are waiting on this clock (real time is bounded by the test's own timeout).
    void wait_for_waiters(std::size_t n) EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    CondVar moved_;
    CondVar waiting_changed_;
    WallTime wall_ GUARDED_BY(mutex_);
    SteadyTime steady_ GUARDED_BY(mutex_);
    std::size_t waiters_ GUARDED_BY(mutex_) = 0;
};

}  // namespace homeostat::kit
