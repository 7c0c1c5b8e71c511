#include "core/clock.hpp"

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <mutex>

namespace homeostat {

WallTime SystemClock::now() const { return std::chrono::system_clock::now(); }

SteadyTime SystemClock::steady_now() const {
    timespec ts{};
    ::clock_gettime(CLOCK_BOOTTIME, &ts);
    return SteadyTime(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

bool SystemClock::wait_until(SteadyTime deadline, std::stop_token stop) {
    std::mutex m;
    std::condition_variable_any cv;
    std::unique_lock lock(m);
    // Waited in rounds: the condition variable sleeps on CLOCK_MONOTONIC, which stands still during suspend.
    while (!stop.stop_requested()) {
        const auto left = deadline - steady_now();
        if (left <= Duration::zero()) return true;
        cv.wait_for(lock, stop, std::min<Duration>(left, std::chrono::seconds(5)), [] { return false; });
    }
    return false;
}

}  // namespace homeostat
