#include "controller/cli/text/arguments.hpp"

#include <algorithm>
#include <map>

#include "controller/cli/text/figures.hpp"

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

Result<std::vector<std::string>> read_document_key(const std::vector<std::string>& given,
                                                   const std::vector<std::string>& columns) {
    std::map<std::string, std::string, std::less<>> named;
    std::size_t words = 0;  // that name a column
    for (const std::string& word : given) {
        const std::size_t equals = word.find('=');
        const std::string column = word.substr(0, equals);
        if (equals == std::string::npos || std::find(columns.begin(), columns.end(), column) == columns.end()) break;
        ++words;
        named[column] = word.substr(equals + 1);
    }
    if (words == given.size() && given.size() == columns.size()) {
        // A column that is left out is not '': that may be another document.
        std::vector<std::string> out;
        for (const std::string& column : columns) {
            if (const auto it = named.find(column); it != named.end()) {
                out.push_back(it->second);
            } else {
                return invalid(
                    fmt::format("the key has no value for its column \"{}\", and one column is given twice; write "
                                "COLUMN=VALUE for each of {}",
                                column, key_text(columns)));
            }
        }
        return out;
    }
    if (given.size() == columns.size()) return given;
    return invalid(fmt::format("the key has {}: {}; {} given. Write the values in this order, or COLUMN=VALUE for each",
                               counted(static_cast<std::int64_t>(columns.size()), "column"), key_text(columns),
                               counted(static_cast<std::int64_t>(given.size()), "value")));
}

}  // namespace homeostat
