// A run as `describe` shows it: what it was for, how it ended, what it has healed and cost. One thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "controller/cli/text/context.hpp"
#include "controller/cli/text/output.hpp"

namespace homeostat {

// The numbers of runs, where these words name some: `run 12 13`, `run/12`. None where they name something else.
std::optional<std::vector<std::string>> named_runs(const std::vector<std::string>& words);

// Prints them, and says which is not there; the exit code.
int describe_runs(CliContext& context, const std::vector<std::string>& runs, OutputForm form);

}  // namespace homeostat
