// Completion of command lines, and the manual page: both read off the parser, so that they know what it knows. One thread.
#pragma once

#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace homeostat {

// What may stand where the last of `words` is being typed, a line each. `names` gives the declared objects of a kind; it is asked
// only where one of them may stand.
using NamesOfKind = std::function<std::vector<std::string>(const std::string& kind)>;
void complete(const CLI::App& app, std::span<const std::string> words, const NamesOfKind& names, std::ostream& out);

// As troff.
void write_manual(const CLI::App& app, std::ostream& out);

}  // namespace homeostat
