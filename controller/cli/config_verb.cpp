#include <fmt/core.h>

#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

struct Options {
    bool explain = false;
    bool markdown = false;
    std::string what;
    std::string output = "table";
};

int print_table(CliContext& context, bool explain) {
    TextTable table(explain ? std::vector<std::string>{"SETTING", "VALUE", "FROM", "DEFAULT", "IT MUST BE", "WHAT IT IS"}
                            : std::vector<std::string>{"SETTING", "VALUE", "FROM"});
    for (std::size_t i = 0; i < setting_table().size(); ++i) {
        const Setting& s = setting_table()[i];
        const SettingValue& v = context.config.values[i];
        const Tint tint = v.origin == "default" ? Tint::faint : Tint::plain;
        if (explain) {
            table.add({s.name, Cell(v.text, tint), Cell(v.origin, tint), s.fallback, bounds_text(s), s.sentence});
        } else if (v.origin != "default") {
            table.add({s.name, v.text, v.origin});
        }
    }
    if (table.empty()) {
        context.streams.out << "every setting has its default; --explain shows them all\n";
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return kExitOk;
}

// The table event -> strategy, as it is in force.
int print_strategies(CliContext& context, bool json) {
    constexpr std::string_view kPrefix = "strategy.";
    TextTable table({"EVENT", "STRATEGY", "FROM", "IT MAY BE", "WHAT IT MEANS"});
    YamlNode list = YamlNode::list();
    for (std::size_t i = 0; i < setting_table().size(); ++i) {
        const Setting& s = setting_table()[i];
        if (!s.name.starts_with(kPrefix)) continue;
        const SettingValue& v = context.config.values[i];
        const std::string event(s.name.substr(kPrefix.size()));
        table.add({event, Cell(v.text, v.origin == "default" ? Tint::plain : Tint::warning), Cell(v.origin, Tint::faint),
                   bounds_text(s), s.sentence});
        YamlNode node = YamlNode::map();
        node.add("event", YamlNode::text(event));
        node.add("strategy", YamlNode::text(v.text));
        node.add("from", YamlNode::text(v.origin));
        list.items.push_back(std::move(node));
    }
    if (json) {
        context.streams.out << write_json(list) << '\n';
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return kExitOk;
}

int run(CliContext& context, const Options& o) {
    if (o.what == "strategies") return print_strategies(context, o.output == "json");
    if (o.markdown) {
        context.streams.out << settings_markdown();
        return kExitOk;
    }
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    switch (*form) {
        case OutputForm::json: context.streams.out << write_json(explain_config(context.config)) << '\n'; return kExitOk;
        case OutputForm::yaml: context.streams.out << write_yaml(explain_config(context.config)); return kExitOk;
        default: return print_table(context, o.explain);
    }
}

}  // namespace

VerbBody configure_config(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(
        {.names = "what", .value = "strategies", .help = "strategies: what happens on which event", .one_of = {"strategies"}},
        o->what);
    command.flag("--explain", o->explain, "Every setting, with default, bounds and a sentence; else only those that were given");
    command.flag("--markdown", o->markdown, "The page docs/settings.md");
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
