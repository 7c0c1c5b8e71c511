#include "core/clock.hpp"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

TEST(SystemClock, WaitEndsAtTheDeadlineAndNotBefore) {
    SystemClock clock;
    const SteadyTime deadline = clock.steady_now() + 5ms;
    EXPECT_TRUE(clock.wait_until(deadline, {}));
    EXPECT_GE(clock.steady_now(), deadline);
}

TEST(SystemClock, AskedToStopWaitsNoLonger) {
    SystemClock clock;
    std::stop_source stop;
    auto waiting = std::async(std::launch::async, [&] { return clock.wait_for(1h, stop.get_token()); });
    stop.request_stop();
    EXPECT_FALSE(waiting.get());
}

TEST(SystemClock, StopWinsOverADeadlineThatHasPassed) {
    SystemClock clock;
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(clock.wait_until(clock.steady_now() - 1s, stop.get_token()));
}

TEST(SimulatedClock, WakesTheWaiterWhenItsTimeHasCome) {
    kit::SimulatedClock clock;
    const SteadyTime begin = clock.steady_now();
    auto waiting = std::async(std::launch::async, [&] { return clock.wait_until(begin + 10min, {}); });
    clock.wait_for_waiters(1);
    clock.advance(9min);
    EXPECT_EQ(waiting.wait_for(0s), std::future_status::timeout);
    clock.advance(1min);
    EXPECT_TRUE(waiting.get());
    EXPECT_EQ(clock.steady_now(), begin + 10min);
}

TEST(SimulatedClock, StopEndsTheWait) {
    kit::SimulatedClock clock;
    std::stop_source stop;
    auto waiting = std::async(std::launch::async, [&] { return clock.wait_for(1h, stop.get_token()); });
    clock.wait_for_waiters(1);
    stop.request_stop();
    EXPECT_FALSE(waiting.get());
}

TEST(SimulatedClock, WallJumpsLeaveSteadyTimeAlone) {
    kit::SimulatedClock clock;
    const SteadyTime steady = clock.steady_now();
    const WallTime wall = clock.now();
    clock.jump_wall(-1h);
    EXPECT_EQ(clock.steady_now(), steady);
    EXPECT_EQ(clock.now(), wall - 1h);
}

}  // namespace
}  // namespace homeostat
