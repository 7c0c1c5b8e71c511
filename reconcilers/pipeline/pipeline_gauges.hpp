// The gauges of a pipeline, from its stored status.
#pragma once

#include <string>

#include "core/resource.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

void publish_gauges(Registry& metrics, const std::string& pipeline, const PipelineStatus& status);

}  // namespace homeostat
