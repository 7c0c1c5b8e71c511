// What a lane shows of itself: to snapshots, to conditions.
#pragma once

#include <cstdint>
#include <string>

#include "core/clock.hpp"
#include "reconcilers/gateway/breaker.hpp"

namespace homeostat {

struct LaneSnapshot {
    std::string provider;
    std::string model;
    BreakerState breaker = BreakerState::closed;
    std::string reason;
    std::string message;
    Duration retry_in{};   // of breaker or gate; 0 = now
    int limit = 0;         // requests at a time, now
    int ceiling = 0;       // as declared
    int in_flight = 0;
    int waiting = 0;
    std::uint32_t max_texts = 0;
    std::uint64_t max_tokens = 0;
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
    std::uint64_t throttled = 0;
    std::uint64_t retries = 0;
    double mean_seconds = 0;  // of answers, lately
};

// Why a provider is not well, in the words of the condition ProviderHealthy.
struct ProviderTrouble {
    std::string reason;
    std::string message;
};

}  // namespace homeostat
