// What a lane shows of itself: to snapshots, to conditions.
#pragma once

#include <atomic>
#include <cstddef>
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
    std::size_t left_over = 0;  // of batches, that wait for company
    std::uint32_t max_texts = 0;
    std::uint64_t max_tokens = 0;
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
    std::uint64_t throttled = 0;
    std::uint64_t retries = 0;
    double mean_seconds = 0;  // of answers, lately
    // Of the breaker, since the process began: what it was told, what it did not let through, how often it opened.
    std::uint64_t succeeded = 0;
    std::uint64_t failed = 0;
    std::uint64_t rejected = 0;
    std::uint64_t opened = 0;
    // Texts that were looked up in caches, those that were found, and their tokens, as estimated.
    std::uint64_t looked_up = 0;
    std::uint64_t found = 0;
    std::uint64_t saved_tokens = 0;
};

// What the caches were worth to one model of a provider; counted by whoever asks, shown with its lane.
struct CacheUse {
    std::atomic<std::uint64_t> looked_up{0};
    std::atomic<std::uint64_t> found{0};
    std::atomic<std::uint64_t> tokens{0};
};

// Why a provider is not well, in the words of the condition ProviderHealthy.
struct ProviderTrouble {
    std::string reason;
    std::string message;
};

}  // namespace homeostat
