#include "controller/cli/text/run_text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "controller/cli/text/listing.hpp"

namespace homeostat {

namespace {

constexpr int kUnlimited = 1'000'000;

bool is_number(std::string_view word) {
    return !word.empty() && word.size() <= 18 && word.find_first_not_of("0123456789") == std::string_view::npos;
}

void print_run(CliContext& context, const Listed& run) {
    YamlNode node = run.node;
    std::erase_if(node.fields, [](const auto& field) {
        return field.first == "apiVersion" || field.first == "kind" || field.first == "metadata";
    });
    std::ostream& out = context.streams.out;
    out << fmt::format("Run {}\n", run.name);
    const std::string text = write_yaml(node);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        out << "  " << printable(text.substr(at, end - at)) << '\n';
        at = end + 1;
    }
}

}  // namespace

std::optional<std::vector<std::string>> named_runs(const std::vector<std::string>& words) {
    std::vector<std::string> out;
    const AnyKind run = ListingKind::run;
    const bool kind_first = !words.empty() && find_kind(words.front()) == run;
    for (std::size_t i = kind_first ? 1 : 0; i < words.size(); ++i) {
        const std::size_t slash = words[i].find('/');
        const bool said = slash != std::string::npos && find_kind(words[i].substr(0, slash)) == run;
        if (!said && !kind_first) return std::nullopt;
        out.push_back(said ? words[i].substr(slash + 1) : words[i]);
    }
    return out;
}

int describe_runs(CliContext& context, const std::vector<std::string>& runs, OutputForm form) {
    if (runs.empty())
        return context.fail(invalid("say which run, by its number; homeostat get runs PIPELINE lists those of a pipeline"));
    auto session = context.session();
    if (!session) return context.fail(session.error());
    int code = kExitOk;
    bool first = true;
    for (const std::string& number : runs) {
        if (!is_number(number)) {
            code = context.fail(invalid(fmt::format("\"{}\" is not the number of a run; homeostat get runs lists them", number)));
            continue;
        }
        Result<Listing> found =
            list_observed(**session, ListingKind::run, {.names = {number}, .cells = false, .nodes = true, .limit = kUnlimited});
        if (!found && found.error().cls != ErrorClass::not_found) return context.fail(found.error());
        std::vector<Listed> rows = found ? std::move(found->rows) : std::vector<Listed>();
        std::erase_if(rows, [&](const Listed& row) { return row.name != number; });
        if (rows.empty()) {
            code = context.fail(not_found(
                fmt::format("there is no run {}, or none that is kept still or shown to this role; homeostat get runs lists "
                            "those that are",
                            number)));
            continue;
        }
        if (!first && form != OutputForm::json) context.streams.out << (form == OutputForm::yaml ? "---\n" : "\n");
        first = false;
        if (form == OutputForm::json) {
            context.streams.out << write_json(rows.front().node) << '\n';
        } else if (form == OutputForm::yaml) {
            context.streams.out << write_yaml(rows.front().node);
        } else {
            print_run(context, rows.front());
        }
    }
    return code;
}

}  // namespace homeostat
