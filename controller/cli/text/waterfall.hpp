// A kept trace as a picture of 80 columns: its spans as a tree, each with how long it took and a bar over the time of the whole.
// Of many alike below one span a few are drawn and the others are one line, and so are statements but those that took a while,
// unless all are asked for. Pure.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "store/control/kept_traces.hpp"

namespace homeostat {

// 850 us, 12.3 ms, 3.21 s, 4 min 05 s: ten letters at most.
std::string span_length(std::chrono::microseconds length);
// 2026-01-31T12:00:00.123Z
std::string exact_time(WallTime time);

void draw_waterfall(std::ostream& out, const std::vector<KeptSpan>& spans, bool all);

}  // namespace homeostat
