// What is to be done about a pipeline or target view that is not ready, from the reason of its condition (docs/conditions.md): a
// sentence that begins with a command where there is one. Pure.
#pragma once

#include <string>

#include "core/resource.hpp"

namespace homeostat {

// Of all that is wrong, the first thing; "" where nothing is to be done.
std::string remedy_of(const PipelineSpec& pipeline, const PipelineStatus& status);
std::string remedy_of(const TargetViewSpec& view, const TargetViewStatus& status);

}  // namespace homeostat
