// The command line: one program, one verb a file. A verb registers itself in the list of verbs.cpp; here is what it is given to
// work with. Exit codes: 0 done, 1 differences were found, 2 refused or failed. One thread.
#pragma once

#include <istream>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

#include "controller/config.hpp"
#include "store/session.hpp"

namespace homeostat {

inline constexpr int kExitOk = 0;
inline constexpr int kExitDifferences = 1;
inline constexpr int kExitFailed = 2;

struct CliStreams {
    std::istream& in;
    std::ostream& out;
    std::ostream& err;
    bool colour = false;
};

class CliContext {
public:
    explicit CliContext(CliStreams s) : streams(s) {}

    // Connects on first use.
    Result<Session*> session();
    // Says what went wrong, a line each, and returns kExitFailed.
    int fail(const Error& error) const;
    const Settings& settings() const noexcept { return config.settings; }

    CliStreams streams;
    Config config;  // loaded before a verb runs

private:
    std::unique_ptr<Session> session_;
};

ConnectOptions connect_options(const Settings& settings);
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
