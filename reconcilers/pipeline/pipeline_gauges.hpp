// The metrics of a pipeline: gauges from its stored status, and what its sweeps cost the source.
#pragma once

#include <cstdint>
#include <string>

#include "core/clock.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

void publish_gauges(Registry& metrics, const std::string& pipeline, const PipelineStatus& status);
// A slice of a sweep that was read and compared: how long that took, and how many rows of the source it had.
void publish_slice(Registry& metrics, const std::string& pipeline, Duration took, std::int64_t rows);
// Documents that wait because memory is short and the pipeline says so.
Counter& shed_documents(Registry& metrics, const std::string& pipeline);

}  // namespace homeostat
