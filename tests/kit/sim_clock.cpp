#include "tests/kit/sim_clock.hpp"

namespace homeostat::kit {

SimulatedClock::SimulatedClock()
    : wall_(std::chrono::sys_days(std::chrono::year(2026) / 1 / 1)), steady_(std::chrono::hours(1)) {}

WallTime SimulatedClock::now() const {
    const Lock lock(mutex_);
    return wall_;
}

SteadyTime SimulatedClock::steady_now() const {
    const Lock lock(mutex_);
    return steady_;
}

bool SimulatedClock::wait_until(SteadyTime deadline, std::stop_token stop) {
    const Lock lock(mutex_);
    ++waiters_;
    waiting_changed_.notify_all();
    bool stopped = stop.stop_requested();
    while (!stopped && steady_ < deadline) stopped = !moved_.wait(mutex_, stop);
    --waiters_;
    return !stopped;
}

void SimulatedClock::advance(Duration d) {
    const Lock lock(mutex_);
    steady_ += d;
    wall_ += std::chrono::duration_cast<WallTime::duration>(d);
    moved_.notify_all();
}

void SimulatedClock::jump_wall(Duration d) {
    const Lock lock(mutex_);
    wall_ += std::chrono::duration_cast<WallTime::duration>(d);
}

void SimulatedClock::wait_for_waiters(std::size_t n) {
    const Lock lock(mutex_);
    while (waiters_ < n) waiting_changed_.wait(mutex_, std::stop_token());
}

}  // namespace homeostat::kit
