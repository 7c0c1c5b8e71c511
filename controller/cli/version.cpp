#include <fmt/core.h>

#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_yaml.hpp"
#include "store/control/migrator.hpp"

namespace homeostat {

std::string_view version_text() { return HOMEOSTAT_VERSION; }

std::string version_line() { return fmt::format("homeostat {}, schema {}", version_text(), newest_migration()); }

VerbBody configure_version(Command& command, CliContext& context) {
    auto output = std::make_shared<std::string>("table");
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, *output);
    return [&context, output] {
        const auto form = output_form(*output);
        if (!form) return context.fail(form.error());
        YamlNode node = YamlNode::map();
        node.add("version", YamlNode::text(std::string(version_text())));
        node.add("schema", YamlNode::number(newest_migration()));
        if (*form == OutputForm::json) {
            context.streams.out << write_json(node) << '\n';
        } else if (*form == OutputForm::yaml) {
            context.streams.out << write_yaml(node);
        } else {
            context.streams.out << version_line() << '\n';
        }
        return kExitOk;
    };
}

}  // namespace homeostat
