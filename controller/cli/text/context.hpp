// What a verb is given to work with: streams, settings, a session; and the exit codes. One thread.
#pragma once

#include <istream>
#include <memory>
#include <ostream>
#include <utility>

#include "controller/config/config.hpp"
#include "store/pg/session.hpp"

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

}  // namespace homeostat
