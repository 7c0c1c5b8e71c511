// Waiting for what another process or thread does, where no event tells of it and no simulated clock rules it.
#pragma once

#include <chrono>
#include <thread>

namespace homeostat::kit {

// Asks until it is so, for ten seconds.
template <class F>
bool soon(F condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

}  // namespace homeostat::kit
