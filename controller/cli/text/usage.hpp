// What is said of a command line that cannot be read: what is wrong, the nearest name, where to look. One thread.
#pragma once

#include <span>
#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace homeostat {

// `app` as the parse left it.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error, std::span<const std::string> arguments);

}  // namespace homeostat
