// What a sweep that nobody waits for may take of its source: rows a second, and a share of the time. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "core/clock.hpp"

namespace homeostat {

struct SweepBudget {
    std::int64_t rows_per_second = 0;  // source rows compared; 0 = as many as come
    double share = 0.5;                // of the time a sweep takes, in which it observes; above 0, at most 1
};

// Whether a run begun by this trigger takes its time: no person and no new declaration waits for its end.
bool nobody_waits(std::string_view trigger);

// How long the next slice waits after one that took `took` and compared `rows`: as the stricter of the two limits says.
std::chrono::milliseconds pause_after(Duration took, std::int64_t rows, const SweepBudget& budget);

// Of `limit` source rows, those that one slice may compare: about a second's worth, so that a slow sweep is an even one.
std::int64_t slice_within(std::int64_t limit, const SweepBudget& budget);

}  // namespace homeostat
