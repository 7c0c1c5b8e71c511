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

// A document's key as it was typed: values in the order of its columns, or COLUMN=VALUE for each of them.
Result<std::vector<std::string>> read_document_key(const std::vector<std::string>& given,
                                                   const std::vector<std::string>& columns);

}  // namespace homeostat
