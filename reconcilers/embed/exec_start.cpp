#include "reconcilers/embed/exec_start.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::hours kLifetime{1};  // of one program, against what leaks

// Its arguments are whoever's who declares: without a limit it reads for him what this process may.
Status check_reading(const SandboxReport& report, const ExecRules& rules) {
    if (rules.reads_all() && geteuid() == 0) {
        return invalid(
            "no program is started that reads everything while homeostat is root; run homeostat as another user, or take / out "
            "of "
            "exec.read");
    }
    if (!report.landlock && !rules.reads_all()) {
        return invalid(
            "no program is started: without Landlock (Linux 5.13 or newer) what it reads cannot be limited; where it may read "
            "all that "
            "homeostat's user may, put / into exec.read of the settings");
    }
    return {};
}

// NAME=value of what is named, and of the two that most programs do not work without.
Result<std::vector<std::string>> environment_of(const ProviderSpec& provider, std::vector<std::string>& values) {
    std::vector<std::string> out;
    const auto named = [&](std::string_view name) {
        return std::find(provider.environment.begin(), provider.environment.end(), name) != provider.environment.end();
    };
    if (!named("PATH")) out.emplace_back("PATH=/usr/bin:/bin");
    if (!named("LANG")) out.emplace_back("LANG=C.UTF-8");
    for (const std::string& name : provider.environment) {
        const char* value = std::getenv(name.c_str());
        if (value == nullptr) {
            return invalid(
                fmt::format("environment names the variable {}, which is not set for homeostat; set it, or take it out", name));
        }
        out.push_back(name + "=" + value);
        values.emplace_back(value);
    }
    return out;
}

}  // namespace

Status check_command(const ProviderSpec& provider) {
    if (provider.command.empty() || !provider.command.front().starts_with('/')) {
        return invalid(
            "command must begin with the absolute path of a program, for instance {/usr/bin/python3,/opt/embed.py}; no shell is "
            "involved");
    }
    const auto holds_nul = [](const std::string& word) { return word.find('\0') != std::string::npos; };
    if (std::any_of(provider.command.begin(), provider.command.end(), holds_nul)) return invalid("command holds a zero byte");
    return {};
}

Result<ExecPoolSettings> exec_pool_settings(const ProviderSpec& provider, const ExecOptions& options) {
    if (auto fine = check_command(provider); !fine) return std::move(fine).error();
    const ExecRules& rules = options.rules;
    Result<std::string> program = rules.program(provider);
    if (!program) return std::move(program).error();
    if (auto fine = rules.variables(provider); !fine) return std::move(fine).error();
    ExecPoolSettings settings;
    auto environment = environment_of(provider, settings.secrets);
    if (!environment) return std::move(environment).error();
    settings.report = examine_sandbox(options.namespaces);
    if (!settings.report.filter) return invalid(settings.report.text());
    if (auto fine = check_reading(settings.report, rules); !fine) return std::move(fine).error();
    settings.sandbox.command = provider.command;
    settings.sandbox.program = *program;
    if (!rules.reads_all()) settings.sandbox.readable = rules.readable(*program);
    settings.sandbox.environment = *std::move(environment);
    settings.sandbox.memory_bytes = static_cast<std::uint64_t>(provider.memory_limit_mb) << 20U;
    settings.sandbox.lifetime = kLifetime + std::chrono::ceil<std::chrono::seconds>(provider.timeout);
    settings.name = provider.name;
    settings.most_children = std::max(provider.max_in_flight, 1U);
    settings.timeout = provider.timeout;
    settings.idle = options.idle;
    settings.quarantine = options.quarantine;
    return settings;
}

}  // namespace homeostat
