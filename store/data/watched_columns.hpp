// Which columns of its source a document is made of.
#pragma once

#include <string>
#include <vector>

#include "core/resource.hpp"

namespace homeostat {

// By name, as declared: those of its text, of the context of its chunks, of its metadata and of its version; not those of its
// key.
std::vector<std::string> watched_columns(const PipelineSpec& spec);

}  // namespace homeostat
