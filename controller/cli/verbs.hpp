// The verbs of the command line. Each file of this folder that is one defines its configure function: it adds options to the
// verb's part of the parser and returns what runs it, after settings are loaded.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "controller/cli/cli.hpp"

namespace CLI {
class App;
}

namespace homeostat {

using VerbBody = std::function<int()>;

struct Verb {
    std::string_view name;
    std::string_view sentence;
    VerbBody (*configure)(CLI::App& app, CliContext& context);
};

// In the order of --help. A verb of yours goes into verbs.cpp.
std::span<const Verb> verb_table();

VerbBody configure_run(CLI::App& app, CliContext& context);
VerbBody configure_apply(CLI::App& app, CliContext& context);
VerbBody configure_get(CLI::App& app, CliContext& context);
VerbBody configure_describe(CLI::App& app, CliContext& context);
VerbBody configure_delete(CLI::App& app, CliContext& context);
VerbBody configure_suspend(CLI::App& app, CliContext& context);
VerbBody configure_resume(CLI::App& app, CliContext& context);
VerbBody configure_reconcile(CLI::App& app, CliContext& context);
VerbBody configure_approve(CLI::App& app, CliContext& context);
VerbBody configure_wait(CLI::App& app, CliContext& context);
VerbBody configure_status(CLI::App& app, CliContext& context);
VerbBody configure_diff(CLI::App& app, CliContext& context);
VerbBody configure_plan(CLI::App& app, CliContext& context);
VerbBody configure_validate(CLI::App& app, CliContext& context);
VerbBody configure_watch(CLI::App& app, CliContext& context);
VerbBody configure_explain(CLI::App& app, CliContext& context);
VerbBody configure_dead_letters(CLI::App& app, CliContext& context);
VerbBody configure_capture(CLI::App& app, CliContext& context);
VerbBody configure_factory(CLI::App& app, CliContext& context);
VerbBody configure_search(CLI::App& app, CliContext& context);
VerbBody configure_doctor(CLI::App& app, CliContext& context);
VerbBody configure_config(CLI::App& app, CliContext& context);
VerbBody configure_migrate(CLI::App& app, CliContext& context);
VerbBody configure_completion(CLI::App& app, CliContext& context);
VerbBody configure_man(CLI::App& app, CliContext& context);
VerbBody configure_version(CLI::App& app, CliContext& context);

}  // namespace homeostat
