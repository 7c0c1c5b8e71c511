// How far a pipeline is, reckoned from what the database says of its run: the arithmetic of `watch`, without its drawing. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "core/clock.hpp"
#include "core/resource.hpp"
#include "store/control/resources.hpp"
#include "store/control/runs.hpp"

namespace homeostat {

struct Look {
    PipelineLine line;
    PipelineStatus status;
    std::optional<std::int64_t> declared;  // count of documents, where it is limited
    double estimated_rows = 0;             // of the source, by the planner; 0 = not known
    std::optional<Run> run;
    RunProgress progress;
    double price = 0;                      // of a million tokens; 0 = none is declared
    std::string currency;
};

struct Progress {
    double share = 0;                     // of the documents that are as they should be, 0 to 1
    std::int64_t done = 0;                // healed in this run
    std::int64_t total = 0;               // documents the run is expected to look at
    bool total_is_estimate = false;
    double rate = 0;                      // documents a second; 0 = not known yet
    std::optional<double> seconds_left;
};

// One pipeline over time: keeps the last looks, from which the rate follows.
class ProgressMeter {
public:
    Progress update(const Look& look, SteadyTime now);

private:
    struct Sample {
        SteadyTime at;
        std::int64_t done;
    };
    std::int64_t run_id_ = 0;
    double share_ = 0;  // of the run; it never goes back
    std::deque<Sample> samples_;
};

// "9,100,000 tokens (1.82 USD)", as far as a run has paid; "" where it has paid nothing.
std::string paid_text(const Look& look);
// "[#######---]", of `width` characters without the brackets.
std::string bar_text(double share, std::size_t width);
// "missing 12, stale 3", or "" where nothing drifts.
std::string drift_text(const DriftCounts& drift);

}  // namespace homeostat
