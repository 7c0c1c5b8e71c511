#include <fmt/core.h>

#include <CLI/App.hpp>

#include "controller/cli/verbs.hpp"
#include "store/migrator.hpp"

namespace homeostat {

std::string_view version_text() { return HOMEOSTAT_VERSION; }

std::string version_line() { return fmt::format("homeostat {}, schema {}", version_text(), newest_migration()); }

VerbBody configure_version(CLI::App& /*app*/, CliContext& context) {
    return [&context] {
        context.streams.out << version_line() << '\n';
        return kExitOk;
    };
}

}  // namespace homeostat
