// The kinds of objects as people type them: pipeline, pipelines, pl; provider, providers, pv; targetview, targetviews, tv. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "store/resources.hpp"

namespace homeostat {

Result<ResourceKind> read_kind(std::string_view word);
std::string_view kind_word(ResourceKind kind);  // pipeline, provider, targetview

// NAME, or KIND/NAME as answers print it.
struct NamedObject {
    std::optional<ResourceKind> kind;
    std::string name;
};
NamedObject read_object_name(std::string_view text);

}  // namespace homeostat
