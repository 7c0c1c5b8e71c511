// Time as everybody below main sees it. Only this interface is asked for the time, so that a test owns it.
// All calls are safe from any thread.
#pragma once

#include <chrono>
#include <stop_token>

namespace homeostat {

using WallTime = std::chrono::system_clock::time_point;
using Duration = std::chrono::nanoseconds;

// A point on a clock that never jumps and keeps running while the machine is suspended (CLOCK_BOOTTIME on Linux), because
// a lease expires on the server whether or not we were awake.
struct SteadyClock {
    using rep = std::chrono::nanoseconds::rep;
    using period = std::chrono::nanoseconds::period;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<SteadyClock>;
    static constexpr bool is_steady = true;
};
using SteadyTime = SteadyClock::time_point;

class Clock {
public:
    virtual ~Clock() = default;

    virtual WallTime now() const = 0;
    virtual SteadyTime steady_now() const = 0;

    // Blocks until `deadline` has passed (returns true) or `stop` is requested (returns false).
    virtual bool wait_until(SteadyTime deadline, std::stop_token stop) = 0;
    bool wait_for(Duration d, std::stop_token stop) { return wait_until(steady_now() + d, std::move(stop)); }
};

class SystemClock final : public Clock {
public:
    WallTime now() const override;
    SteadyTime steady_now() const override;
    bool wait_until(SteadyTime deadline, std::stop_token stop) override;
};

}  // namespace homeostat
