// The way of one document through one batch, as its trace has it: when each step was and how long it took. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "store/control/kept_traces.hpp"

namespace homeostat {

struct TimelineStep {
    std::string name;  // edited, noticed, planned, claimed, read, embedded, written, served
    std::optional<WallTime> at;  // none where it is not known, or was not come to
    std::optional<std::chrono::microseconds> took;
    std::string note;
};

// All eight, in this order. `committed`: when the source row as it is now was committed, where that is known; it counts where it
// was before the document was noticed.
std::vector<TimelineStep> timeline_of(const std::vector<KeptSpan>& spans, const DocumentBatch& batch,
                                      std::optional<WallTime> committed);

}  // namespace homeostat
