// Programs beside the measurement: started, stopped, and what they have cost so far as /proc tells it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kit/cluster.hpp"

namespace homeostat::bench {

// Ends the measurement where something did not go as it should.
void check(bool ok, std::string_view what);

// A program that ends with this object; its first line of output is kept where it is waited for.
class Child {
public:
    Child(const std::vector<std::string>& command, bool wait_for_line);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child();
    void signal(int number) const;
    int pid() const noexcept { return pid_; }

    std::string line;

private:
    int pid_ = -1;
};

// Waits until the statement answers `wanted`.
void until(kit::Database& db, const std::string& sql, const std::string& wanted,
           std::chrono::milliseconds pause = std::chrono::milliseconds(20), std::chrono::seconds limit = std::chrono::minutes(3));

// User and system time of one process, in seconds.
double cpu_seconds(int pid);
// The same of the cluster: all children of its postmaster, those that have ended too.
double cpu_seconds(const kit::Cluster& cluster);
// A line of /proc/PID/status such as VmRSS, in MiB.
double memory_mib(int pid, std::string_view line);
std::vector<int> children_of(int parent);
int postmaster(const kit::Cluster& cluster);

}  // namespace homeostat::bench
