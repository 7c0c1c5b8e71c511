// Arguments that many verbs take: the pipeline they are about, durations. One thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace homeostat {

// NAME of a pipeline, which may be written as answers print it: pipeline/NAME.
CLI::Option* add_pipeline(CLI::App& app, std::string& to, std::string_view description);

// `text` as it stands after `flag`: "" is nothing.
Result<std::optional<std::chrono::milliseconds>> read_duration(std::string_view flag, const std::string& text);

}  // namespace homeostat
