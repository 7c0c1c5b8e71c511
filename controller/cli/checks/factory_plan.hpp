// The plan as the factory sees it; one of the parts of `homeostat factory`.
#pragma once

#include <string>

#include "controller/cli/text/context.hpp"

namespace homeostat {

// Prints it for one pipeline, or for all where `name` is empty. Exit code 1 where a plan breaks `deadline` ("" = none) or
// `budget` (negative = none).
int show_factory_plan(CliContext& context, Session& session, const std::string& name, const std::string& deadline, double budget,
                      bool json);

}  // namespace homeostat
