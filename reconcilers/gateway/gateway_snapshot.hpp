// What a gateway shows of itself, to snapshots.
#pragma once

#include <string>
#include <vector>

#include "core/clock.hpp"
#include "reconcilers/gateway/lane_snapshot.hpp"
#include "reconcilers/gateway/left_to_others.hpp"

namespace homeostat {

// One request as it went, for people who look.
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
    std::vector<LeftToOthers::Line> left;  // to other replicas
    std::vector<CallLine> calls;  // newest last
    std::vector<SelectionLine> selections;
};

}  // namespace homeostat
