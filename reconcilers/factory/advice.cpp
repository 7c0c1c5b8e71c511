#include "reconcilers/factory/advice.hpp"

#include <fmt/format.h>

namespace homeostat {

namespace {

constexpr std::uint64_t kEnoughRequests = 50;  // before shares are judged
constexpr double kManyThrottled = 0.05;
constexpr double kManyFailures = 0.05;
constexpr double kSlowSeconds = 5;
constexpr std::uint64_t kEnoughLookups = 1'000;

void about_provider(const SeenProvider& p, std::vector<Advice>& out) {
    const std::string about = fmt::format("provider \"{}\"", p.name);
    if (p.breaker == "open") {
        out.push_back({about, "see to the endpoint, its credential or the network; it is asked again by itself",
                       p.message.empty() ? "its breaker is open" : p.message});
    }
    const auto requests = static_cast<double>(p.requests);
    if (p.requests >= kEnoughRequests && static_cast<double>(p.throttled) > kManyThrottled * requests) {
        out.push_back({about, "declare requests_per_minute and tokens_per_minute as the provider grants them, or ask it for more",
                       fmt::format("{:.0f} % of {} requests were throttled", 100.0 * static_cast<double>(p.throttled) / requests,
                                   p.requests)});
    }
    if (p.requests >= kEnoughRequests && p.breaker != "open" && static_cast<double>(p.failures) > kManyFailures * requests) {
        out.push_back(
            {about, "put a second provider of the same model into its pool, or lower max_in_flight",
             fmt::format("{:.0f} % of {} requests failed", 100.0 * static_cast<double>(p.failures) / requests, p.requests)});
    }
    if (p.waiting > 0 && p.limit >= p.ceiling && p.throttled == 0) {
        out.push_back(
            {about, fmt::format("raise max_in_flight above {}", p.ceiling),
             fmt::format("{} requests wait while all {} are in flight, and it has not throttled", p.waiting, p.ceiling)});
    }
    if (p.mean_seconds > kSlowSeconds) {
        out.push_back({about, "lower max_batch, or raise timeout if its answers are that long",
                       fmt::format("an answer takes {:.1f} s", p.mean_seconds)});
    }
    if (p.max_texts > 0 && p.max_texts < p.declared_texts) {
        out.push_back({about, fmt::format("declare max_batch {}", p.max_texts),
                       fmt::format("it refuses more, and max_batch says {}", p.declared_texts)});
    }
}

}  // namespace

std::vector<Advice> advise(const SeenFactory& f) {
    std::vector<Advice> out;
    for (const SeenProvider& p : f.providers) about_provider(p, out);
    if (f.memory_level != "normal") {
        out.push_back({"memory.budget", "give the process more memory, or lower batch.in_flight or batch.bytes",
                       fmt::format("memory is {}: batches {}", f.memory_level,
                                   f.memory_level == "stopped" ? "are not begun" : "are smaller than they could be")});
    }
    const std::uint64_t lookups = f.cache_hits + f.cache_misses;
    const double hit_share = lookups == 0 ? 0 : static_cast<double>(f.cache_hits) / static_cast<double>(lookups);
    if (lookups >= kEnoughLookups && hit_share > 0.2 && f.cache_evictions > f.cache_hits / 2) {
        out.push_back({"cache.bytes", "raise it",
                       fmt::format("{:.0f} % of {} look-ups are hits, and {} entries had to go for want of room", 100 * hit_share,
                                   lookups, f.cache_evictions)});
    }
    if (lookups >= 100 * kEnoughLookups && hit_share < 0.001 && f.cache_bytes > 0) {
        out.push_back({"cache.bytes", "set it to 0", fmt::format("of {} look-ups hardly one was a hit", lookups)});
    }
    return out;
}

}  // namespace homeostat
