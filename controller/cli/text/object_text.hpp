// Objects as the documents that `get -o yaml` prints and `apply` reads: what is printed can be applied and changes nothing.
#pragma once

#include <optional>

#include "controller/config/config_yaml.hpp"
#include "core/resource.hpp"

namespace homeostat {

YamlNode spec_node(const PipelineSpec& pipeline);
YamlNode spec_node(const ProviderSpec& provider);
YamlNode spec_node(const TargetViewSpec& view);
YamlNode status_node(const PipelineStatus& status);
YamlNode status_node(const TargetViewStatus& status);

// apiVersion, kind, metadata, spec, and status where it is given.
YamlNode object_node(const PipelineSpec& pipeline, const PipelineStatus* status = nullptr);
YamlNode object_node(const ProviderSpec& provider);
YamlNode object_node(const TargetViewSpec& view, const TargetViewStatus* status = nullptr);

}  // namespace homeostat
