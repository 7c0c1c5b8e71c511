// `homeostat status`: is all well, and if not, what is not and what to do, on one screen.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/text/remedy.hpp"
#include "controller/cli/text/revision_text.hpp"
#include "controller/cli/text/truth.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

// A pipeline that is not ready, a provider that fails, a controller that is not there.
struct Trouble {
    std::string what;
    std::string reason;
    std::string message;
    std::string remedy;
};

// A revision that is built beside the one that is served.
struct Fill {
    std::string pipeline;
    std::int32_t revision = 0;
    FillProgress progress;
};

struct Overview {
    std::size_t pipelines = 0;
    std::size_t ready = 0;
    std::size_t suspended = 0;
    std::size_t deleting = 0;
    std::int64_t documents = 0;
    std::int64_t drift = 0;
    std::int64_t dead_letters = 0;
    std::size_t alive = 0;
    std::vector<Trouble> troubles;
    std::vector<Fill> fills;
};

Status look_at_fills(Session& session, const PipelineLine& line, Overview& o) {
    if (line.kstatus == "Current") return {};
    const auto revisions = list_revision_lines(session, line.uid);
    if (!revisions) return revisions.error();
    for (const RevisionLine& r : *revisions) {
        if (r.fill) o.fills.push_back({line.name, r.number, *r.fill});
    }
    return {};
}

Status look_at_pipelines(Session& session, Overview& o) {
    const auto lines = list_pipeline_lines(session);
    if (!lines) return lines.error();
    const auto specs = list_pipelines(session);
    if (!specs) return specs.error();
    for (const PipelineLine& line : *lines) {
        if (line.kstatus == "Terminating") {
            ++o.deleting;
            // Where nothing is in the way it goes by itself.
            if (line.ready == "False" && line.reason == "TargetInUse")
                o.troubles.push_back({"pipeline/" + line.name, line.reason, line.message, "drop what is named there"});
            continue;
        }
        ++o.pipelines;
        o.ready += line.ready == "True" ? 1U : 0U;
        o.suspended += line.suspended ? 1U : 0U;
        o.documents += line.documents;
        o.drift += line.drift;
        o.dead_letters += line.dead_letters;
        if (const Status filled = look_at_fills(session, line, o); !filled) return filled;
        if (line.ready == "True" && line.drift == 0) continue;
        const auto spec = std::find_if(specs->begin(), specs->end(), [&](const PipelineSpec& p) { return p.uid == line.uid; });
        if (spec == specs->end()) continue;
        const auto status = read_true_status(session, *spec);
        if (!status) return status.error();
        const bool held = status->blocked_prunes > 0;
        if (line.ready == "True" && !held) continue;  // what is adrift is being healed
        const std::string reason = line.suspended ? "Suspended" : line.ready == "True" ? "PruneBlocked" : line.reason;
        o.troubles.push_back({"pipeline/" + line.name, reason,
                              line.ready == "True" ? counted(status->blocked_prunes, "deletion") + " held back" : line.message,
                              remedy_of(*spec, *status)});
    }
    return {};
}

Status look_at_target_views(Session& session, Overview& o) {
    const auto views = list_target_views(session);
    if (!views) return views.error();
    for (const TargetViewSpec& view : *views) {
        const auto status = read_target_view_status(session, view.uid);
        if (!status) return status.error();
        const auto ready = std::find_if(status->conditions.begin(), status->conditions.end(),
                                        [](const Condition& c) { return c.type == "Ready"; });
        if (view.deleting || (ready != status->conditions.end() && ready->status == "True")) continue;
        const bool seen = ready != status->conditions.end();
        o.troubles.push_back({"targetview/" + view.name,
                              view.suspend ? "Suspended"
                              : seen       ? ready->reason
                                           : "NotObserved",
                              seen ? ready->message : "", remedy_of(view, *status)});
    }
    return {};
}

Status look_at_providers(Session& session, Overview& o) {
    const auto health = list_provider_health(session);
    if (!health) return health.error();
    const auto providers = list_providers(session);
    if (!providers) return providers.error();
    for (const ProviderHealth& h : *health) {
        const auto p = std::find_if(providers->begin(), providers->end(), [&](const ProviderSpec& s) { return s.uid == h.uid; });
        if (h.healthy || p == providers->end()) continue;
        o.troubles.push_back({"provider/" + p->name, h.reason, h.message, "homeostat describe provider/" + p->name});
    }
    return {};
}

Status look_at_replicas(Session& session, Overview& o) {
    const auto rows = read_listing(session, ListingKind::replica, {}, 1'000);
    if (!rows) return rows.error();
    const auto columns = listing_columns(ListingKind::replica);
    const auto state = static_cast<std::size_t>(
        std::find_if(columns.begin(), columns.end(), [](const ListingColumn& c) { return c.name == "state"; }) - columns.begin());
    o.alive = static_cast<std::size_t>(
        std::count_if(rows->begin(), rows->end(), [&](const ListingRow& r) { return r[state] == "alive"; }));
    if (o.alive == 0 && o.pipelines > 0)
        o.troubles.insert(o.troubles.begin(),
                          {"controller", "NotRunning", "no controller has shown itself within 30 s", "homeostat run"});
    return {};
}

void print(CliContext& context, const Overview& o) {
    std::ostream& out = context.streams.out;
    const auto count = [](std::size_t n, std::string_view thing) { return counted(static_cast<std::int64_t>(n), thing); };
    out << fmt::format("{}, {} ready{}{}; {} embedded, {} adrift, {}; {} running\n", count(o.pipelines, "pipeline"), o.ready,
                       o.suspended > 0 ? fmt::format(", {} suspended", o.suspended) : std::string(),
                       o.deleting > 0 ? fmt::format(", {} more being deleted", o.deleting) : std::string(),
                       counted(o.documents, "document"), count_text(o.drift), counted(o.dead_letters, "dead letter"),
                       count(o.alive, "controller"));
    for (const Fill& f : o.fills)
        out << printable(fmt::format("pipeline/{}: revision {}: {}", f.pipeline, f.revision, progress_text(f.progress))) << '\n';
    TextTable table({"OBJECT", "REASON", "MESSAGE"});
    for (const Trouble& t : o.troubles) table.add({t.what, Cell(t.reason, Tint::warning), t.message});
    if (!table.empty()) table.print(out, context.streams.colour);
    for (const Trouble& t : o.troubles) {
        if (!t.remedy.empty()) out << printable(fmt::format("{}: {}", t.what, t.remedy)) << '\n';
    }
}

YamlNode node_of(const Overview& o) {
    YamlNode node = YamlNode::map();
    const auto number = [&](const char* name, auto n) { node.add(name, YamlNode::number(static_cast<std::int64_t>(n))); };
    number("pipelines", o.pipelines);
    number("ready", o.ready);
    number("suspended", o.suspended);
    number("deleting", o.deleting);
    number("documents", o.documents);
    number("drift", o.drift);
    number("deadLetters", o.dead_letters);
    number("controllers", o.alive);
    YamlNode fills = YamlNode::list();
    for (const Fill& f : o.fills) {
        YamlNode one = fill_node(f.progress);
        one.add("pipeline", YamlNode::text(f.pipeline));
        one.add("revision", YamlNode::number(f.revision));
        fills.items.push_back(std::move(one));
    }
    if (!o.fills.empty()) node.add("fills", std::move(fills));
    YamlNode troubles = YamlNode::list();
    for (const Trouble& t : o.troubles) {
        YamlNode one = YamlNode::map();
        one.add("object", YamlNode::text(t.what));
        one.add("reason", YamlNode::text(t.reason));
        one.add("message", YamlNode::text(t.message));
        one.add("remedy", YamlNode::text(t.remedy));
        troubles.items.push_back(std::move(one));
    }
    node.add("troubles", std::move(troubles));
    return node;
}

int run(CliContext& context, const std::string& output) {
    const auto form = output_form(output);
    if (!form) return context.fail(form.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    Overview o;
    for (const auto part : {look_at_pipelines, look_at_target_views, look_at_providers, look_at_replicas}) {
        if (const Status good = part(**session, o); !good) return context.fail(good.error());
    }
    if (*form == OutputForm::json) {
        context.streams.out << write_json(node_of(o)) << '\n';
    } else if (*form == OutputForm::yaml) {
        context.streams.out << write_yaml(node_of(o));
    } else {
        print(context, o);
    }
    return o.troubles.empty() ? kExitOk : kExitDifferences;
}

}  // namespace

VerbBody configure_status(Command& command, CliContext& context) {
    auto output = std::make_shared<std::string>("table");
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, *output);
    command.footer("Exit codes: 0 all is well, 1 something is not, 2 failed.");
    return [&context, output] { return run(context, *output); };
}

}  // namespace homeostat
