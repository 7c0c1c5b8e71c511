// The real binary as a child process: started, signalled, waited for, and what it said.
//
// A child never outlives its Process, nor the thread that started it, nor this test run. Output (both streams) goes to a file, so
// that a child can never block on a test that does not read. Objects belong to one thread at a time; failures throw
// std::runtime_error.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat::kit {

// Over this process's own, of which variables named HOMEOSTAT_... are left out; an empty value unsets.
using Environment = std::map<std::string, std::string>;
using Arguments = std::vector<std::string>;

struct Exit {
    int code = -1;  // where it ended by itself
    int signal = 0;  // where a signal ended it
    bool killed() const noexcept { return signal == 9; }
};

class Process {
public:
    Process(const std::string& program, const Arguments& arguments, const Environment& environment = {});
    ~Process();
    Process(Process&& other) noexcept;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void signal(int number);
    // Nothing where it still runs after `timeout`.
    std::optional<Exit> wait(std::chrono::milliseconds timeout);
    bool running() { return !wait(std::chrono::milliseconds(0)); }
    std::string output() const;
    int pid() const noexcept { return pid_; }

private:
    int pid_ = -1;
    int pidfd_ = -1;
    std::string output_file_;
    std::optional<Exit> exit_;
};

// `homeostat` on one database, with settings that suit tests: no fixed port, quick polls, short leases and claims.
class Program {
public:
    explicit Program(const std::string& database_url, Environment more = {});

    Process start(const Arguments& arguments, const Environment& more = {}) const;

    struct Outcome {
        Exit exit;
        std::string output;
    };
    // Runs to its end; a child that hangs is killed after two minutes and reported.
    Outcome run(const Arguments& arguments, const Environment& more = {}) const;
    Outcome run_once(const Environment& more = {}) const { return run({"run", "--once"}, more); }

private:
    Environment environment_;
};

// Asks `condition` again and again until it is true; false after `timeout`.
template <class F>
bool eventually(F condition, std::chrono::milliseconds timeout = std::chrono::seconds(30));

// A pause of one poll, for eventually().
void pause_briefly();

template <class F>
bool eventually(F condition, std::chrono::milliseconds timeout) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        pause_briefly();
    }
    return true;
}

}  // namespace homeostat::kit
