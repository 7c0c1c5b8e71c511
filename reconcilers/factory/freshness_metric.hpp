// From a change to search: how long what the change feed named took until it was served. Any thread.
#pragma once

#include <optional>

#include "core/telemetry.hpp"
#include "reconcilers/factory/targets.hpp"

namespace homeostat {

// Of a batch that has been committed: for how long the oldest of its changes had been named when it committed, in seconds;
// nothing of one that no feed has planned.
void observe_freshness(Registry& metrics, const TargetInfo& target, const std::optional<double>& seconds);

}  // namespace homeostat
