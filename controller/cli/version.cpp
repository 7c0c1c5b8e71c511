#include <CLI/App.hpp>

#include "controller/cli/verbs.hpp"
#include "store/migrator.hpp"

namespace homeostat {

std::string_view version_text() { return HOMEOSTAT_VERSION; }

VerbBody configure_version(CLI::App& /*app*/, CliContext& context) {
    return [&context] {
        context.streams.out << "homeostat " << version_text() << ", schema " << newest_migration() << '\n';
        return kExitOk;
    };
}

}  // namespace homeostat
