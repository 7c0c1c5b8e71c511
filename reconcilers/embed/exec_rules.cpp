#include "reconcilers/embed/exec_rules.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace homeostat {

namespace {

namespace fs = std::filesystem;

// What a program is loaded from, and what runtimes look at to find out how large the machine is.
constexpr std::array<std::string_view, 20> kSystem{"/lib",
                                                   "/lib32",
                                                   "/lib64",
                                                   "/usr/lib",
                                                   "/usr/lib32",
                                                   "/usr/lib64",
                                                   "/usr/libexec",
                                                   "/usr/local/lib",
                                                   "/usr/share/zoneinfo",
                                                   "/usr/share/locale",
                                                   "/etc/ld.so.cache",
                                                   "/etc/localtime",
                                                   "/dev/null",
                                                   "/dev/zero",
                                                   "/dev/urandom",
                                                   "/proc/cpuinfo",
                                                   "/proc/meminfo",
                                                   "/proc/stat",
                                                   "/proc/self",
                                                   "/sys/devices/system"};

// Without their versions: python3.11 is python.
constexpr std::array<std::string_view, 28> kInterpreters{
    "sh",   "bash", "dash", "zsh",    "ksh", "mksh", "fish",   "csh",   "tcsh", "busybox", "toybox", "env",  "python", "pypy",
    "perl", "ruby", "node", "nodejs", "php", "lua",  "luajit", "tclsh", "java", "awk",     "gawk",   "mawk", "sed",    "guile"};

bool is_interpreter(const fs::path& program) {
    std::string name = program.filename().string();
    const std::size_t letters = name.find_last_not_of("0123456789.-");
    name.resize(letters == std::string::npos ? 0 : letters + 1);
    return std::find(kInterpreters.begin(), kInterpreters.end(), name) != kInterpreters.end();
}

bool is_below(const fs::path& path, const fs::path& folder) {
    const auto [end, ignored] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    return end == folder.end();
}

// "#!/usr/bin/python3 -u" of a script, which the kernel starts in its stead.
std::string interpreter_of(const std::string& program) {
    std::ifstream in(program, std::ios::binary);
    std::array<char, 256> head{};
    in.read(head.data(), head.size());
    std::string_view line(head.data(), static_cast<std::size_t>(in.gcount()));
    if (!line.starts_with("#!")) return {};
    line = line.substr(2, line.find('\n') == std::string_view::npos ? line.size() : line.find('\n') - 2);
    while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
    return std::string(line.substr(0, line.find_first_of(" \t\r")));
}

}  // namespace

bool ExecRules::reads_all() const { return std::find(read.begin(), read.end(), "/") != read.end(); }

Result<std::string> ExecRules::program(const ProviderSpec& provider) const {
    const std::string& command = provider.command.front();
    const auto refuse = [&](std::string_view why) {
        return invalid(
            fmt::format("command \"{}\" is not started: {}; whoever runs homeostat lists it in exec.allow of its settings, "
                        "if it is meant",
                        command, why));
    };
    // What is not allowed is not looked at: whether it is there is nobody's to find out.
    if (allow.empty()) return refuse("exec.allow allows no program");
    std::error_code failed;
    const fs::path real = fs::canonical(command, failed);
    bool by_folder = false;
    for (const std::string& entry : allow) {
        std::error_code missing;
        const fs::path allowed = fs::canonical(entry, missing);
        if (missing) continue;
        if (!failed && real == allowed) return real.string();
        by_folder = by_folder || (!failed && is_below(real, allowed));
    }
    // Listed, and not there yet: whoever starts it says so.
    if (failed && std::find(allow.begin(), allow.end(), command) != allow.end()) return command;
    if (!by_folder) return refuse("exec.allow names neither it nor a folder that it is in");
    if (is_interpreter(real)) return refuse("it runs whatever its arguments say, so its folder is not enough");
    return real.string();
}

Status ExecRules::variables(const ProviderSpec& provider) const {
    for (const std::string& name : provider.environment) {
        if (std::find(environment.begin(), environment.end(), name) != environment.end()) continue;
        return invalid(
            fmt::format("environment names the variable {}, which no program is given; whoever runs homeostat lists it in "
                        "exec.environment of its settings, if it is meant",
                        name));
    }
    return {};
}

std::vector<std::string> ExecRules::readable(const std::string& program) const {
    std::vector<std::string> out(kSystem.begin(), kSystem.end());
    out.push_back(program);
    if (const std::string interpreter = interpreter_of(program); !interpreter.empty()) out.push_back(interpreter);
    out.insert(out.end(), read.begin(), read.end());
    return out;
}

}  // namespace homeostat
