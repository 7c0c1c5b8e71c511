// What to change and why, from what the factory has seen of itself. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace homeostat {

// One provider's model as a replica reports it.
struct SeenProvider {
    std::string name;
    std::string model;
    std::string breaker = "closed";
    std::string message;
    int limit = 0;
    int ceiling = 0;
    int waiting = 0;
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
    std::uint64_t throttled = 0;
    double mean_seconds = 0;
    std::uint32_t max_texts = 0;
    std::uint32_t declared_texts = 0;
};

struct SeenFactory {
    std::vector<SeenProvider> providers;
    std::string memory_level = "normal";
    std::uint64_t memory_budget = 0;
    std::uint64_t cache_bytes = 0;
    std::uint64_t cache_limit = 0;
    std::uint64_t cache_hits = 0;
    std::uint64_t cache_misses = 0;
    std::uint64_t cache_evictions = 0;
    int slots = 0;
    int free_slots = 0;
    int recommended_batch = 0;
};

struct Advice {
    std::string about;   // a setting, or provider "x"
    std::string advice;  // what to do
    std::string why;
};

// Nothing where all is well. In a fixed order: providers by name, then the process.
std::vector<Advice> advise(const SeenFactory& seen);

}  // namespace homeostat
