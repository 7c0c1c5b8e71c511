// The verbs of the command line. Each file of this folder that is one defines its configure function: it declares the
// verb's options and returns what runs it, after settings are loaded.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "controller/cli/cli.hpp"
#include "controller/cli/text/command.hpp"

namespace homeostat {

using VerbBody = std::function<int()>;

struct Verb {
    std::string_view name;
    std::string_view sentence;
    VerbBody (*configure)(Command& command, CliContext& context);
};

// In the order of --help. A verb of yours goes into verbs.cpp.
std::span<const Verb> verb_table();

VerbBody configure_run(Command& command, CliContext& context);
VerbBody configure_apply(Command& command, CliContext& context);
VerbBody configure_get(Command& command, CliContext& context);
VerbBody configure_describe(Command& command, CliContext& context);
VerbBody configure_delete(Command& command, CliContext& context);
VerbBody configure_suspend(Command& command, CliContext& context);
VerbBody configure_resume(Command& command, CliContext& context);
VerbBody configure_reconcile(Command& command, CliContext& context);
VerbBody configure_approve(Command& command, CliContext& context);
VerbBody configure_wait(Command& command, CliContext& context);
VerbBody configure_status(Command& command, CliContext& context);
VerbBody configure_diff(Command& command, CliContext& context);
VerbBody configure_plan(Command& command, CliContext& context);
VerbBody configure_validate(Command& command, CliContext& context);
VerbBody configure_watch(Command& command, CliContext& context);
VerbBody configure_explain(Command& command, CliContext& context);
VerbBody configure_trace(Command& command, CliContext& context);
VerbBody configure_dead_letters(Command& command, CliContext& context);
VerbBody configure_revisions(Command& command, CliContext& context);
VerbBody configure_erase(Command& command, CliContext& context);
VerbBody configure_checkpoint(Command& command, CliContext& context);
VerbBody configure_rollback(Command& command, CliContext& context);
VerbBody configure_adopt(Command& command, CliContext& context);
VerbBody configure_import(Command& command, CliContext& context);
VerbBody configure_capture(Command& command, CliContext& context);
VerbBody configure_grants(Command& command, CliContext& context);
VerbBody configure_factory(Command& command, CliContext& context);
VerbBody configure_audit(Command& command, CliContext& context);
VerbBody configure_search(Command& command, CliContext& context);
VerbBody configure_doctor(Command& command, CliContext& context);
VerbBody configure_config(Command& command, CliContext& context);
VerbBody configure_migrate(Command& command, CliContext& context);
VerbBody configure_completion(Command& command, CliContext& context);
VerbBody configure_man(Command& command, CliContext& context);
VerbBody configure_version(Command& command, CliContext& context);

}  // namespace homeostat
