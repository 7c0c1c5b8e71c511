// The command line: one program, one verb a file. A verb registers itself in the list of verbs.cpp; here is what it is given to
// work with. Exit codes: 0 done, 1 differences were found, 2 refused or failed. One thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "controller/cli/text/context.hpp"

namespace homeostat {

std::string_view version_text();
// What `version` and --version print: the program and the schema it brings.
std::string version_line();

// Whether answers are coloured where nothing else is said: on a terminal, unless NO_COLOR is set to something (no-color.org).
bool wants_colour(bool terminal);

// The word before what is to be completed, as the scripts of `completion` write it.
inline constexpr std::string_view kCompleteWord = "__complete";

int run_cli(int argc, char** argv);
// The same on the given streams and sources, whose flags and file the arguments add to. `arguments` without the program's name.
int run_cli(std::span<const std::string> arguments, CliStreams streams, ConfigSources sources);

}  // namespace homeostat
