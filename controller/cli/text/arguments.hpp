// Arguments that many verbs take: the pipeline they are about, durations. One thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controller/cli/text/command.hpp"
#include "core/error.hpp"

namespace homeostat {

// NAME of a pipeline, which may be written as answers print it: pipeline/NAME.
OptionText pipeline_word(std::string_view help, bool required = false);

// `text` as it stands after `flag`: "" is nothing.
Result<std::optional<std::chrono::milliseconds>> read_duration(std::string_view flag, const std::string& text);

}  // namespace homeostat
