#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "controller/cli/figures.hpp"
#include "controller/cli/kinds.hpp"
#include "controller/cli/object_text.hpp"
#include "controller/cli/output.hpp"
#include "controller/cli/truth.hpp"
#include "controller/cli/verbs.hpp"
#include "store/target_views.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string kind = "pipelines";
    std::vector<std::string> names;
    std::string output = "table";
};

// Keeps those that were named, in the order of their names; an unknown name is an error with the nearest one.
template <class T>
Status keep_named(std::vector<T>& all, const std::vector<std::string>& names, std::string_view kind) {
    if (names.empty()) return {};
    std::vector<std::string_view> known;
    for (const T& t : all) known.push_back(t.name);
    for (const std::string& name : names) {
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            return not_found(fmt::format("{} \"{}\" does not exist{}", kind, name, did_you_mean(name, known)));
        }
    }
    std::erase_if(all, [&](const T& t) { return std::find(names.begin(), names.end(), t.name) == names.end(); });
    return {};
}

void print_objects(CliContext& context, std::vector<YamlNode> objects, OutputForm form, bool single) {
    std::ostream& out = context.streams.out;
    if (form == OutputForm::yaml) {
        for (std::size_t i = 0; i < objects.size(); ++i) out << (i == 0 ? "" : "---\n") << write_yaml(objects[i]);
        return;
    }
    if (single) {
        out << write_json(objects.front()) << '\n';
        return;
    }
    YamlNode list = YamlNode::map();
    list.add("apiVersion", YamlNode::text("homeostat.dev/v1"));
    list.add("kind", YamlNode::text("List"));
    list.add("items", YamlNode::list());
    list.fields.back().second.items = std::move(objects);
    out << write_json(list) << '\n';
}

std::string lag_text(const std::optional<Millis>& lag) {
    return lag ? duration_text(std::chrono::duration<double>(*lag).count()) : "-";
}

int pipelines_table(CliContext& context, Session& session, const Options& o, bool wide) {
    auto lines = list_pipeline_lines(session);
    if (!lines) return context.fail(lines.error());
    if (auto good = keep_named(*lines, o.names, "pipeline"); !good) return context.fail(good.error());
    std::vector<std::string> headers{"NAME", "READY", "REASON", "PHASE", "DOCUMENTS", "DRIFT", "LAG", "DEAD", "CONVERGED"};
    if (wide) headers.insert(headers.end(), {"CHUNKS", "SOURCE", "TARGET", "PROVIDER", "MESSAGE"});
    TextTable table(headers);
    const WallTime now = SystemClock().now();
    for (const PipelineLine& p : *lines) {
        const std::string source = p.source_documents ? std::to_string(*p.source_documents) : "?";
        std::vector<Cell> row{p.name,
                              Cell(p.ready, condition_tint(p.ready)),
                              p.suspended ? Cell("Suspended", Tint::warning) : Cell(p.reason),
                              p.phase.empty() ? "-" : p.phase,
                              fmt::format("{}/{}", p.documents, source),
                              Cell(std::to_string(p.drift), p.drift > 0 ? Tint::warning : Tint::plain),
                              lag_text(p.lag),
                              Cell(std::to_string(p.dead_letters), p.dead_letters > 0 ? Tint::bad : Tint::plain),
                              p.last_converged ? age_text(*p.last_converged, now) : "never"};
        if (wide) row.insert(row.end(), {std::to_string(p.chunks), p.source, p.target, p.provider, p.message});
        table.add(std::move(row));
    }
    if (table.empty()) {
        context.streams.err << "homeostat: no pipelines are declared; see homeostat apply --help\n";
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return kExitOk;
}

int pipelines_objects(CliContext& context, Session& session, const Options& o, OutputForm form) {
    auto pipelines = list_pipelines(session);
    if (!pipelines) return context.fail(pipelines.error());
    if (auto good = keep_named(*pipelines, o.names, "pipeline"); !good) return context.fail(good.error());
    std::vector<YamlNode> objects;
    for (const PipelineSpec& p : *pipelines) {
        if (p.deleting) continue;  // a manifest of it would declare it anew
        const auto status = read_true_status(session, p);
        if (!status) return context.fail(status.error());
        objects.push_back(object_node(p, &*status));
    }
    const bool single = o.names.size() == 1 && objects.size() == 1;
    print_objects(context, std::move(objects), form, single);
    return kExitOk;
}

int providers_table(CliContext& context, Session& session, const std::vector<ProviderSpec>& providers, bool wide) {
    const auto health = list_provider_health(session);
    if (!health) return context.fail(health.error());
    std::vector<std::string> headers{"NAME", "KIND", "MODEL", "DIMENSIONS", "HEALTHY", "ENDPOINT"};
    if (wide) headers.insert(headers.end(), {"BATCH", "IN FLIGHT", "RANK", "MESSAGE"});
    TextTable table(headers);
    for (const ProviderSpec& p : providers) {
        const auto found = std::find_if(health->begin(), health->end(), [&](const ProviderHealth& h) { return h.uid == p.uid; });
        const bool seen = found != health->end();
        const std::string healthy = !seen ? "Unknown" : found->healthy ? "True" : "False";
        std::vector<Cell> row{p.name,
                              p.kind,
                              p.model.value_or("-"),
                              p.dimensions ? std::to_string(*p.dimensions) : "-",
                              Cell(healthy, condition_tint(healthy)),
                              p.endpoint.value_or("-")};
        if (wide) {
            row.insert(row.end(), {std::to_string(p.max_batch), std::to_string(p.max_in_flight), std::to_string(p.rank),
                                   seen ? found->message : std::string()});
        }
        table.add(std::move(row));
    }
    table.print(context.streams.out, context.streams.colour);
    return kExitOk;
}

int target_views_table(CliContext& context, Session& session, const std::vector<TargetViewSpec>& views, bool wide) {
    std::vector<std::string> headers{"NAME", "READY", "REASON", "ROWS", "PIPELINES", "REFUSED", "TAKEN", "HELD"};
    if (wide) headers.insert(headers.end(), {"RELATION", "ON REMOVAL", "MESSAGE"});
    TextTable table(headers);
    for (const TargetViewSpec& v : views) {
        const auto status = read_target_view_status(session, v.uid);
        if (!status) return context.fail(status.error());
        const Condition unknown{.type = "Ready", .status = "Unknown", .reason = "NotObserved", .message = ""};
        const bool seen = !status->conditions.empty() && status->conditions.front().type == "Ready";
        const Condition& ready = seen ? status->conditions.front() : unknown;
        const auto count = [](std::int64_t n) { return Cell(std::to_string(n), n > 0 ? Tint::warning : Tint::plain); };
        std::vector<Cell> row{v.name,
                              Cell(ready.status, condition_tint(ready.status)),
                              v.suspend ? Cell("Suspended", Tint::warning) : Cell(ready.reason),
                              status->rows ? std::to_string(*status->rows) : "?",
                              std::to_string(status->pipelines),
                              count(status->refused),
                              count(status->names_taken),
                              count(status->held)};
        if (wide) row.insert(row.end(), {v.relation, v.on_removal, ready.message});
        table.add(std::move(row));
    }
    if (table.empty()) {
        context.streams.err << "homeostat: no target views are declared; see homeostat apply --help\n";
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return kExitOk;
}

int get_target_views(CliContext& context, Session& session, const Options& o, OutputForm form) {
    auto views = list_target_views(session);
    if (!views) return context.fail(views.error());
    if (auto good = keep_named(*views, o.names, "target view"); !good) return context.fail(good.error());
    if (form == OutputForm::table || form == OutputForm::wide)
        return target_views_table(context, session, *views, form == OutputForm::wide);
    std::vector<YamlNode> objects;
    for (const TargetViewSpec& v : *views) {
        if (v.deleting) continue;  // a manifest of it would declare it anew
        const auto status = read_target_view_status(session, v.uid);
        if (!status) return context.fail(status.error());
        objects.push_back(object_node(v, &*status));
    }
    const bool single = o.names.size() == 1 && objects.size() == 1;
    print_objects(context, std::move(objects), form, single);
    return kExitOk;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto kind = read_kind(o.kind);
    if (!kind) return context.fail(kind.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const bool table = *form == OutputForm::table || *form == OutputForm::wide;
    if (*kind == ResourceKind::pipeline) {
        if (table) return pipelines_table(context, **session, o, *form == OutputForm::wide);
        return pipelines_objects(context, **session, o, *form);
    }
    if (*kind == ResourceKind::target_view) return get_target_views(context, **session, o, *form);
    auto providers = list_providers(**session);
    if (!providers) return context.fail(providers.error());
    if (auto good = keep_named(*providers, o.names, "provider"); !good) return context.fail(good.error());
    if (table) return providers_table(context, **session, *providers, *form == OutputForm::wide);
    std::vector<YamlNode> objects;
    for (const ProviderSpec& p : *providers) objects.push_back(object_node(p));
    print_objects(context, std::move(objects), *form, o.names.size() == 1);
    return kExitOk;
}

}  // namespace

VerbBody configure_get(CLI::App& app, CliContext& context) {
    auto o = std::make_shared<Options>();
    app.add_option("kind", o->kind, "pipelines (the default), providers or targetviews")->type_name("KIND");
    app.add_option("names", o->names, "Only these")->type_name("NAME");
    app.add_option("-o,--output", o->output, "table, wide, json or yaml; the last two can be applied again")->type_name("FORM");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
