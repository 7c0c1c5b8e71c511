// `homeostat doctor`: whether homeostat can work here, and what to do where it cannot.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "controller/cli/checks/doctor_checks.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

Checks examine(CliContext& context) {
    const Settings& settings = context.settings();
    const Result<Session*> session = context.session();
    if (!session) {
        return {{CheckHealth::fail, "connection", session.error().message,
                 "give --database URL or HOMEOSTAT_DATABASE_URL, and see that the server runs and lets this role in"}};
    }
    Checks out;
    const auto add = [&](Checks more) { std::move(more.begin(), more.end(), std::back_inserter(out)); };
    add(check_server(**session, settings));
    add(check_standby(**session, connect_options(settings), settings));
    bool readable = true;
    add(check_locks(**session, readable));
    if (!readable) return out;
    out.push_back(check_schema(**session));
    const bool schema = out.back().health == CheckHealth::ok;
    if (schema) {
        add(check_rights(**session));
        add(check_owners(**session));
        add(check_reader_logins(**session));
        add(check_sources(**session));
        add(check_providers(**session, settings));
        add(check_chunkers(**session, settings));
        add(check_sandbox(**session));
        add(check_pools(**session));
    }
    out.push_back(check_notifications(connect_options(settings)));
    out.push_back(check_memory(settings, schema && uses_local_model(**session)));
    return out;
}

Tint tint(CheckHealth h) { return h == CheckHealth::ok ? Tint::good : h == CheckHealth::warn ? Tint::warning : Tint::bad; }

void print(CliContext& context, const Checks& checks) {
    TextTable table({"", "SUBJECT", "FOUND"});
    for (const Check& c : checks) {
        table.add({Cell(to_string(c.health), tint(c.health)), c.subject, c.said});
        if (!c.fix.empty()) table.add({"", "", "fix: " + c.fix});
    }
    table.print(context.streams.out, context.streams.colour);
}

YamlNode checks_node(const Checks& checks) {
    YamlNode list = YamlNode::list();
    for (const Check& c : checks) {
        YamlNode node = YamlNode::map();
        node.add("health", YamlNode::text(std::string(to_string(c.health))));
        node.add("subject", YamlNode::text(c.subject));
        node.add("found", YamlNode::text(c.said));
        if (!c.fix.empty()) node.add("fix", YamlNode::text(c.fix));
        list.items.push_back(std::move(node));
    }
    return list;
}

int run(CliContext& context, const std::string& output) {
    const auto form = output_form(output);
    if (!form) return context.fail(form.error());
    const Checks checks = examine(context);
    if (*form == OutputForm::json) {
        context.streams.out << write_json(checks_node(checks)) << '\n';
    } else if (*form == OutputForm::yaml) {
        context.streams.out << write_yaml(checks_node(checks));
    } else {
        print(context, checks);
    }
    CheckHealth worst = CheckHealth::ok;
    for (const Check& c : checks) worst = std::max(worst, c.health);
    return worst == CheckHealth::ok ? kExitOk : worst == CheckHealth::warn ? kExitDifferences : kExitFailed;
}

}  // namespace

VerbBody configure_doctor(Command& command, CliContext& context) {
    auto output = std::make_shared<std::string>("table");
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, *output);
    command.footer(
        "Every provider is asked to embed one short text, which a paid one bills.\n"
        "Example: homeostat doctor --database postgres://homeostat@db/app\n"
        "Exit codes: 0 all is well, 1 warnings, 2 something fails.");
    return [&context, output] { return run(context, *output); };
}

}  // namespace homeostat
