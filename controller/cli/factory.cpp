// `homeostat factory`: what the replicas can do and do, what a plan would ask of them, where they and the declarations differ,
// and what to change.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "controller/cli/checks/factory_plan.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/seen_replica.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/migrator.hpp"
#include "store/control/providers.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
    std::string pipeline;
    std::string output = "table";
    std::string deadline;
    double budget = -1;
    bool all = false;
    Command capabilities;
    Command plan;
    Command sync;
    Command snapshot;
    Command advice;
};

std::vector<ReplicaLine> live(const std::vector<ReplicaLine>& lines, bool all) {
    std::vector<ReplicaLine> out;
    for (const ReplicaLine& l : lines) {
        if (all || l.silent_for <= kReplicaSilent) out.push_back(l);
    }
    return out;
}

// One line a provider that the replica has asked.
void add_rows(TextTable& table, const SeenReplica& replica) {
    const SeenFactory& f = replica.factory;
    const std::vector<Cell> head{replica.id, std::to_string(f.slots), std::to_string(f.free_slots),
                                 std::to_string(f.recommended_batch), replica.reported ? f.memory_level : "unknown"};
    if (f.providers.empty()) {
        std::vector<Cell> row = head;
        for (const char* none : {replica.reported ? "none asked yet" : "not known", "", "", "", ""}) row.emplace_back(none);
        table.add(row);
    }
    for (const SeenProvider& p : f.providers) {
        std::vector<Cell> row = head;
        row.emplace_back(p.name);
        row.emplace_back(p.model);
        row.emplace_back(p.breaker, p.breaker == "closed" ? Tint::good : Tint::bad);
        row.emplace_back(fmt::format("{} of {}", p.limit, p.ceiling));
        row.emplace_back(fmt::format("{} texts", p.max_texts));
        table.add(row);
    }
}

std::string text_of(const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

double number_of(const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_number() ? it->get<double>() : 0;
}

// One line a program that the replica may cut documents with.
void add_chunkers(TextTable& table, const ReplicaLine& replica, const Json& chunkers) {
    for (const Json& c : chunkers) {
        if (!c.is_object()) continue;
        const std::string state = text_of(c, "state");
        const std::string reason = text_of(c, "reason");
        table.add({replica.id, "program:" + text_of(c, "name"), text_of(c, "command"),
                   Cell(reason.empty() ? state : state + ": " + reason, reason.empty() ? Tint::good : Tint::bad),
                   fmt::format("{:.0f}", number_of(c, "requests")), fmt::format("{:.0f}", number_of(c, "failures")),
                   fmt::format("{:.0f} ms", number_of(c, "meanSeconds") * 1'000)});
    }
}

int show_capabilities(CliContext& context, const std::vector<ReplicaLine>& lines, bool json) {
    Json list = Json::array();
    TextTable programs({"REPLICA", "CHUNKER", "PROGRAM", "HEALTH", "REQUESTS", "FAILED", "EACH"});
    TextTable table({"REPLICA", "SLOTS", "FREE", "BATCH", "MEMORY", "PROVIDER", "MODEL", "HEALTH", "AT A TIME", "A REQUEST"});
    for (const ReplicaLine& line : lines) {
        const Json s = snapshot_json(line);
        list.push_back({{"replica", line.id},
                        {"version", line.version},
                        {"capabilities", s.value("capabilities", Json::object())},
                        {"providers", s.value("providers", Json::array())},
                        {"chunkers", s.value("chunkers", Json::array())}});
        add_chunkers(programs, line, list.back()["chunkers"]);
        add_rows(table, seen_replica(line, {}));
    }
    if (json) {
        context.streams.out << list.dump(2) << '\n';
    } else {
        table.print(context.streams.out, context.streams.colour);
        if (!programs.empty()) {
            context.streams.out << '\n';
            programs.print(context.streams.out, context.streams.colour);
        }
    }
    return kExitOk;
}

int show_snapshots(CliContext& context, const std::vector<ReplicaLine>& lines) {
    Json list = Json::array();
    for (const ReplicaLine& line : lines) {
        list.push_back({{"replica", line.id},
                        {"version", line.version},
                        {"schemaVersion", line.schema_version},
                        {"silentForSeconds", static_cast<double>(line.silent_for.count()) / 1000},
                        {"snapshot", snapshot_json(line)}});
    }
    context.streams.out << list.dump(2) << '\n';
    return kExitOk;
}

int show_sync(CliContext& context, const std::vector<ReplicaLine>& lines, const std::vector<ProviderSpec>& declared, bool json) {
    std::vector<SeenReplica> seen;
    for (const ReplicaLine& l : lines) seen.push_back(seen_replica(l, declared));
    const auto conflicts = synchronise(seen, declared, newest_migration(), context.settings().database_write_connections);
    if (json) {
        Json list = Json::array();
        for (const Conflict& c : conflicts) {
            list.push_back({{"where", c.where},
                            {"assumed", c.assumed},
                            {"found", c.found},
                            {"adjustment", c.adjustment},
                            {"byPerson", c.by_person}});
        }
        context.streams.out << list.dump(2) << '\n';
    } else if (conflicts.empty()) {
        context.streams.out << "what is declared and what the replicas have agree\n";
    } else {
        TextTable table({"WHERE", "ASSUMED", "FOUND", "WHAT IS DONE"});
        for (const Conflict& c : conflicts)
            table.add({c.where, c.assumed, Cell(c.found, c.by_person ? Tint::bad : Tint::warning), c.adjustment});
        table.print(context.streams.out, context.streams.colour);
    }
    return conflicts.empty() ? kExitOk : kExitDifferences;
}

int show_advice(CliContext& context, const std::vector<ReplicaLine>& lines, const std::vector<ProviderSpec>& declared,
                bool json) {
    Json list = Json::array();
    TextTable table({"REPLICA", "ABOUT", "ADVICE", "WHY"});
    for (const ReplicaLine& l : lines) {
        for (const Advice& a : advise(seen_replica(l, declared).factory)) {
            table.add({l.id, a.about, a.advice, Cell(a.why, Tint::faint)});
            list.push_back({{"replica", l.id}, {"about", a.about}, {"advice", a.advice}, {"why", a.why}});
        }
    }
    if (json) {
        context.streams.out << list.dump(2) << '\n';
    } else if (table.empty()) {
        context.streams.out << (lines.empty() ? "no replica is running, so there is nothing to judge by\n"
                                              : "nothing to change\n");
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return kExitOk;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const bool json = *form == OutputForm::json || *form == OutputForm::yaml;
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (o.plan.given()) return show_factory_plan(context, **session, o.pipeline, o.deadline, o.budget, json);
    const auto replicas = list_replicas(**session);
    if (!replicas) return context.fail(replicas.error());
    const auto providers = list_providers(**session);
    if (!providers) return context.fail(providers.error());
    const std::vector<ReplicaLine> lines = live(*replicas, o.all || o.sync.given());
    if (o.capabilities.given()) return show_capabilities(context, lines, json);
    if (o.snapshot.given()) return show_snapshots(context, lines);
    if (o.sync.given()) return show_sync(context, lines, *providers, json);
    return show_advice(context, lines, *providers, json);
}

}  // namespace

VerbBody configure_factory(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    o->capabilities =
        command.subcommand("capabilities", "What each replica can do now: slots, memory, providers and their health.");
    o->plan = command.subcommand("plan", "What healing would ask of the factory, against a deadline and a budget.");
    o->plan.option(pipeline_word("One pipeline; without it, all of them"), o->pipeline);
    o->plan.option(
        {.names = "--deadline", .value = "DURATION", .help = "Warn, and exit 1, where it would take longer, such as 30m"},
        o->deadline);
    o->plan.option({.names = "--budget", .value = "PRICE", .help = "Warn, and exit 1, where it would cost more"}, o->budget);
    o->sync = command.subcommand("sync", "Where what is declared and what the replicas have differ, and what is done about it.");
    o->snapshot = command.subcommand("snapshot", "All that each replica last wrote of itself, as JSON.");
    o->advice = command.subcommand("advice", "What to change, and why, from what the replicas have seen.");
    for (Command sub : {o->capabilities, o->plan, o->sync, o->snapshot, o->advice}) {
        sub.option({.names = "-o,--output", .value = "FORM", .help = "table or json"}, o->output);
    }
    for (Command sub : {o->capabilities, o->snapshot, o->advice}) sub.flag("--all", o->all, "Also replicas that are silent");
    command.footer(
        "Replicas write what they know of themselves every claim.heartbeat.\n"
        "Exit codes: 0 done, 1 conflicts (sync) or over deadline or budget (plan), 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
