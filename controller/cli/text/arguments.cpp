#include "controller/cli/text/arguments.hpp"

#include <fmt/core.h>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/config/config_values.hpp"

namespace homeostat {

OptionText pipeline_word(std::string_view help, bool required) {
    const RewriteValue strip = [](std::string& text) -> std::string {
        const NamedObject named = read_object_name(text);
        if (named.kind && *named.kind != ResourceKind::pipeline)
            return fmt::format("\"{}\" is no pipeline, and this command is about pipelines", text);
        text = named.name;
        return {};
    };
    return {.names = "pipeline", .value = "PIPELINE", .help = help, .required = required, .rewrite = strip};
}

Result<std::optional<std::chrono::milliseconds>> read_duration(std::string_view flag, const std::string& text) {
    if (text.empty()) return std::optional<std::chrono::milliseconds>();
    const std::optional<std::chrono::milliseconds> length = parse_duration(text);
    if (!length) return invalid(fmt::format("{} {} is not a duration; write 30s, 10m, 2h or 1d", flag, text));
    return length;
}

}  // namespace homeostat
