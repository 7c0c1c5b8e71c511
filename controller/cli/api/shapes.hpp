// Parts of answers that more than one path gives, so that they look alike everywhere.
#pragma once

#include "controller/cli/api/call.hpp"
#include "controller/config/config_yaml.hpp"
#include "store/control/providers.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

// A pipeline as the fleet shows it: counts, urgency, cause.
ApiJson line_json(const PipelineLine& line);
ApiJson json_of(const YamlNode& node);
// The parts of a list of a replica's snapshot whose member `name` is `value`.
ApiJson parts_of(const ApiJson& snapshot, const char* list, const char* name, const std::string& value);

}  // namespace homeostat
