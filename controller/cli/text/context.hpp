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

class LockWatch;

class CliContext {
public:
    explicit CliContext(CliStreams s);
    ~CliContext();
    CliContext(const CliContext&) = delete;
    CliContext& operator=(const CliContext&) = delete;

    // Connects on first use. From then on it is said on `err` what the session waits for, where somebody's lock holds it up.
    Result<Session*> session();
    // Says what went wrong, a line each, and returns kExitFailed.
    int fail(const Error& error);
    // The same as text: where PostgreSQL refused, with what is missing and how to get it, for which it is asked.
    std::string sentence_of(const Error& error);
    const Settings& settings() const noexcept { return config.settings; }

    CliStreams streams;
    Config config;  // loaded before a verb runs
    std::string verb;  // as it was typed

private:
    std::unique_ptr<Session> session_;
    std::unique_ptr<LockWatch> watch_;
};

ConnectOptions connect_options(const Settings& settings);

}  // namespace homeostat
