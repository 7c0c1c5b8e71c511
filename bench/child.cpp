#include "bench/child.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace homeostat::bench {

namespace {

// What follows the name of the program, which may hold anything: state, parent, …
std::vector<std::string> stat_of(pid_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string text;
    std::getline(file, text);
    std::istringstream rest(text.substr(std::min(text.size(), text.rfind(')') + 1)));
    std::vector<std::string> fields;
    for (std::string field; rest >> field;) fields.push_back(field);
    return fields;
}

}  // namespace

void check(bool ok, std::string_view what) {
    if (ok) return;
    fmt::print(stderr, "bench: {} failed\n", what);
    std::exit(1);
}

Child::Child(const std::vector<std::string>& command, bool wait_for_line) {
    int out[2];
    check(::pipe(out) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (wait_for_line) ::dup2(out[1], STDOUT_FILENO);
        std::vector<char*> arguments;
        for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
        arguments.push_back(nullptr);
        ::execv(arguments[0], arguments.data());
        std::_Exit(127);
    }
    ::close(out[1]);
    FILE* lines = ::fdopen(out[0], "r");
    std::array<char, 256> text{};
    if (wait_for_line) check(std::fgets(text.data(), text.size(), lines) != nullptr, command[0]);
    line = text.data();
    std::fclose(lines);
}

Child::~Child() {
    signal(SIGCONT);
    signal(SIGTERM);
    ::waitpid(pid_, nullptr, 0);
}

void Child::signal(int number) const { ::kill(pid_, number); }

void until(kit::Database& db, const std::string& sql, const std::string& wanted, std::chrono::milliseconds pause,
           std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (db.value(sql) != wanted) {
        check(std::chrono::steady_clock::now() < end, sql);
        std::this_thread::sleep_for(pause);
    }
}

double cpu_seconds(int pid) {
    const std::vector<std::string> fields = stat_of(pid);
    if (fields.size() < 13) return 0;
    return static_cast<double>(std::stoll(fields[11]) + std::stoll(fields[12])) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double cpu_seconds(const kit::Cluster& cluster) {
    const std::vector<std::string> fields = stat_of(postmaster(cluster));
    if (fields.size() < 15) return 0;
    double sum =
        static_cast<double>(std::stoll(fields[13]) + std::stoll(fields[14])) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    for (const pid_t child : children_of(postmaster(cluster))) sum += cpu_seconds(child);
    return sum;
}

double memory_mib(int pid, std::string_view line) {
    std::ifstream file(fmt::format("/proc/{}/status", pid));
    for (std::string text; std::getline(file, text);) {
        if (text.starts_with(line)) return std::stod(text.substr(line.size() + 1)) / 1024;
    }
    return 0;
}

std::vector<int> children_of(int parent) {
    std::vector<int> out;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const pid_t pid = std::atoi(entry.path().filename().c_str());
        if (pid == 0) continue;
        const std::vector<std::string> fields = stat_of(pid);
        if (fields.size() > 1 && fields[1] == std::to_string(parent)) out.push_back(pid);
    }
    return out;
}

int postmaster(const kit::Cluster& cluster) {
    pid_t pid = 0;
    std::ifstream(cluster.folder() + "/data/postmaster.pid") >> pid;
    return pid;
}

}  // namespace homeostat::bench
