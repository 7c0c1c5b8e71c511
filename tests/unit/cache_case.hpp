// What the tests of the cache share: a cache of numbers, loads that a test holds back and lets go, and their count.
#pragma once

#include <atomic>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>
#include <thread>

#include "reconcilers/gateway/cache.hpp"
#include "tests/kit/io_thread.hpp"
#include "tests/kit/sim_clock.hpp"

namespace homeostat {

using IntCache = Cache<int>;
using IntValue = std::shared_ptr<const int>;

// A door that loads stand before until the test lets one through.
class Door {
public:
    explicit Door(boost::asio::any_io_executor io) : channel_(std::move(io), 1'000) {}
    void let_one_through() { channel_.try_send(boost::system::error_code{}); }
    boost::asio::awaitable<void> pass() { co_await channel_.async_receive(boost::asio::use_awaitable); }

private:
    boost::asio::experimental::concurrent_channel<void(boost::system::error_code)> channel_;
};

// Loads that were begun, at all and at the same time.
struct Loads {
    std::atomic<int> begun = 0;
    std::atomic<int> now = 0;
    std::atomic<int> most = 0;
};

inline boost::asio::awaitable<Result<int>> load(Loads& loads, Result<int> answer, Door* door = nullptr) {
    ++loads.begun;
    const int now = ++loads.now;
    for (int most = loads.most; most < now && !loads.most.compare_exchange_weak(most, now);) {
    }
    if (door != nullptr) co_await door->pass();
    --loads.now;
    co_return answer;
}

template <class F>
void until(F reached) {
    while (!reached()) std::this_thread::yield();  // bounded by the test's own time limit
}

struct CacheCase {
    explicit CacheCase(CacheSettings settings = {1 << 20, Duration::zero()})
        : cache("test", settings, [](const int&) { return sizeof(int); }, clock, metrics) {}

    double metric(std::string_view name) {
        for (const MetricFamily& f : metrics.collect()) {
            if (f.name == name) return f.samples.at(0).value;
        }
        return -1;
    }

    kit::SimulatedClock clock;
    Registry metrics;
    IntCache cache;
};

}  // namespace homeostat
