// The brakes on deletion: a pure decision from what two observations saw and what was already removed within the hour.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace homeostat {

struct PruneInput {
    std::string policy = "Auto";                // Never, Confirm, Auto
    std::int64_t confirmed = 0;                 // candidates that two complete observations agree on
    std::int64_t documents = 0;                 // document rows of the revision
    std::int64_t source_rows = 0;               // of the observation just completed
    std::optional<std::int64_t> previous_source_rows;  // of the complete observation before the candidates appeared
    std::int64_t pruned_in_window = 0;          // within the hour
    double max_ratio = 0.10;
    std::int64_t max_rows = 10'000;
    std::int64_t floor = 10;                    // always let go within the hour, so that small tables are not stuck
    bool approved = false;                      // a person has approved this very plan
};

struct PruneDecision {
    std::int64_t allowed = 0;
    bool blocked = false;       // something confirmed is held back and waits for a person (or for the hour to pass)
    std::string reason;         // CamelCase, for the condition
    std::string message;
};

PruneDecision decide_prune(const PruneInput& input);

}  // namespace homeostat
