// What the gateway shows to people who look. Plain values.
#pragma once

#include <string>
#include <vector>

#include "core/clock.hpp"
#include "reconcilers/factory/lane_snapshot.hpp"

namespace homeostat {

// One request as it went.
struct CallLine {
    WallTime at{};
    std::string provider;
    std::string model;
    std::size_t texts = 0;
    double seconds = 0;
    std::string outcome;  // ok, or the class of the error
};

struct SelectionLine {
    WallTime at{};
    std::string model;
    std::string chosen;
    std::string instead_of;  // the declared provider, where it was not chosen
};

struct GatewaySnapshot {
    std::vector<LaneSnapshot> lanes;
    std::vector<CallLine> calls;  // newest last
    std::vector<SelectionLine> selections;
};

}  // namespace homeostat
