// The kinds of objects as people type them: pipeline, pipelines, pl; provider, providers, pv. Pure.
#pragma once

#include <string_view>

#include "store/resources.hpp"

namespace homeostat {

Result<ResourceKind> read_kind(std::string_view word);
std::string_view kind_word(ResourceKind kind);  // pipeline, provider

}  // namespace homeostat
