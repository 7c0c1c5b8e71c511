// `homeostat diff`: what applying manifests would change, field by field, and what that would cost. The database itself computes
// the rows that a declaration would make, in a transaction that is rolled back.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/checks/measured_time.hpp"
#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/manifest/manifest.hpp"
#include "controller/cli/manifest/manifest_schema.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_values.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "store/control/declared_rows.hpp"

namespace homeostat {

namespace {

struct Options {
    std::vector<std::string> files;
    std::string output = "table";
    bool recursive = false;
};

struct FieldChange {
    std::string field;
    std::optional<std::string> before;
    std::optional<std::string> after;
};

struct ObjectChange {
    ResourceKind kind = ResourceKind::pipeline;
    std::string name;
    bool created = false;
    std::vector<FieldChange> fields;
    std::optional<PipelineSpec> pipeline;  // as it would be
    std::optional<Observation> cost;
    std::string unknown;  // why the cost is not known
};

// As in a manifest: 5m rather than 300000ms, and 0.1 rather than 0.10, which is the same number.
std::optional<std::string> shown(const std::optional<std::string>& value, const std::string& type) {
    if (!value) return value;
    if (type == "number" && value->find('.') != std::string::npos) {
        const std::size_t end = value->find_last_not_of('0');
        return value->substr(0, (*value)[end] == '.' ? end : end + 1);
    }
    if (type != "duration") return value;
    const auto length = parse_duration(*value);
    return length ? duration_text(*length) : *value;
}

std::vector<FieldChange> changes_of(ResourceKind kind, const std::optional<DeclaredValues>& before, const DeclaredValues& after,
                                    const DeclaredObject& object) {
    const std::vector<ManifestField> fields = manifest_fields(kind);
    std::vector<FieldChange> out;
    for (std::size_t i = 0; i < after.size(); ++i) {
        const auto& [column, value] = after[i];
        const auto field = std::find_if(fields.begin(), fields.end(), [&](const ManifestField& f) { return f.column == column; });
        const std::string name = field == fields.end() ? column : field->name;
        const std::string type = field == fields.end() ? "" : field->type;
        if (before) {
            FieldChange change{name, shown((*before)[i].second, type), shown(value, type)};
            if (change.before != change.after) out.push_back(std::move(change));
            continue;
        }
        // Of a new object only what its manifest says.
        const bool given = std::any_of(object.columns.begin(), object.columns.end(),
                                       [&](const auto& c) { return c.first == column && c.second; });
        if (given) out.push_back({name, std::nullopt, shown(value, type)});
    }
    return out;
}

Result<std::vector<ObjectChange>> changes(Session& session, const std::vector<Manifest>& manifests) {
    return guarded([&]() -> Result<std::vector<ObjectChange>> {
        std::vector<ObjectChange> out;
        Transaction tx = session.begin();  // never committed
        for (const Manifest& m : manifests) {
            const auto before = read_declared(tx, m.object.kind, m.object.name);
            if (!before) return before.error();
            if (auto applied = apply_object(tx, m.object); !applied) {
                return applied.error().cls == ErrorClass::invalid ? applied.error().with_prefix(m.origin) : applied.error();
            }
            const auto after = read_declared(tx, m.object.kind, m.object.name);
            if (!after) return after.error();
            if (!*after) return internal_error(fmt::format("{} is not there after it was declared", m.object.name));
            ObjectChange change{.kind = m.object.kind,
                                .name = m.object.name,
                                .created = !before->has_value(),
                                .fields = changes_of(m.object.kind, *before, **after, m.object),
                                .pipeline = {},
                                .cost = {},
                                .unknown = {}};
            if (!change.created && change.fields.empty()) continue;
            if (m.object.kind == ResourceKind::pipeline) {
                auto spec = find_pipeline(tx, m.object.name);
                if (!spec) return spec.error();
                change.pipeline = *std::move(spec);
            }
            out.push_back(std::move(change));
        }
        return out;
    });
}

void reckon(CliContext& context, Session& session, std::vector<ObjectChange>& all) {
    const Settings& settings = context.settings();
    for (ObjectChange& change : all) {
        if (!change.pipeline) continue;
        const std::string& name = change.pipeline->provider;
        const bool changing = std::any_of(
            all.begin(), all.end(), [&](const ObjectChange& c) { return c.kind == ResourceKind::provider && c.name == name; });
        const auto provider = find_provider(session, name);
        if (changing || !provider) {
            change.unknown = fmt::format("provider \"{}\" would change too; apply that first to learn it", name);
            continue;
        }
        ObserveSettings wish;
        wish.deep = false;
        wish.slice = settings.sweep_slice;
        wish.prune_floor = settings.prune_floor;
        auto seen = observe_pipeline(session, *change.pipeline, *provider, wish);
        if (seen) {
            measure_time(settings, *provider, *seen);
            change.cost = *std::move(seen);
        } else {
            change.unknown = context.sentence_of(seen.error());
        }
    }
}

std::string cost_text(const Observation& o) {
    const PlanEstimate& e = o.plan;
    const std::int64_t gone = o.count(Finding::orphaned) + o.count(Finding::excess);
    const std::string removed = gone > 0 ? fmt::format("; {} to be removed", counted(gone, "document")) : "";
    if (e.documents == 0) return "nothing to embed" + removed;
    return fmt::format("{} to embed, about {}, {}, {}; {}{}", counted(e.documents, "document"), counted(e.chunks, "chunk"),
                       counted(e.tokens, "token"), counted(e.requests, "request"),
                       e.minutes < 1.0 / 60 ? std::string("under a second") : duration_text(e.minutes * 60), removed);
}

void print(CliContext& context, const std::vector<ObjectChange>& all) {
    std::ostream& out = context.streams.out;
    for (const ObjectChange& c : all) {
        out << fmt::format("{}/{} would be {}\n", kind_word(c.kind), printable(c.name), c.created ? "created" : "configured");
        for (const FieldChange& f : c.fields) {
            const std::string after = f.after.value_or("(not set)");
            out << printable(c.created ? fmt::format("  {}: {}", f.field, after)
                                       : fmt::format("  {}: {} -> {}", f.field, f.before.value_or("(not set)"), after))
                << '\n';
        }
        if (c.cost) out << fmt::format("  Cost: {}\n", cost_text(*c.cost));
        if (!c.unknown.empty()) out << printable(fmt::format("  Cost: not known: {}", c.unknown)) << '\n';
    }
}

YamlNode node_of(const ObjectChange& c) {
    YamlNode node = YamlNode::map();
    node.add("object", YamlNode::text(fmt::format("{}/{}", kind_word(c.kind), c.name)));
    node.add("change", YamlNode::text(c.created ? "created" : "configured"));
    YamlNode fields = YamlNode::list();
    for (const FieldChange& f : c.fields) {
        YamlNode one = YamlNode::map();
        one.add("field", YamlNode::text(f.field));
        one.add("before", f.before ? YamlNode::text(*f.before) : YamlNode());
        one.add("after", f.after ? YamlNode::text(*f.after) : YamlNode());
        fields.items.push_back(std::move(one));
    }
    node.add("fields", std::move(fields));
    if (c.cost) {
        YamlNode& cost = node.child_map("cost");
        cost.add("documents", YamlNode::number(c.cost->plan.documents));
        cost.add("chunks", YamlNode::number(c.cost->plan.chunks));
        cost.add("tokens", YamlNode::number(c.cost->plan.tokens));
        cost.add("requests", YamlNode::number(c.cost->plan.requests));
        cost.add("minutes", YamlNode::real(c.cost->plan.minutes));
        cost.add("price", YamlNode::real(c.cost->plan.price));
        cost.add("removed", YamlNode::number(c.cost->count(Finding::orphaned) + c.cost->count(Finding::excess)));
    }
    return node;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto manifests = read_manifests(o.files, context.streams.in, o.recursive);
    if (!manifests) return context.fail(manifests.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    auto all = changes(**session, *manifests);
    if (!all) return context.fail(all.error());
    reckon(context, **session, *all);
    if (*form == OutputForm::json || *form == OutputForm::yaml) {
        YamlNode list = YamlNode::list();
        for (const ObjectChange& c : *all) list.items.push_back(node_of(c));
        context.streams.out << (*form == OutputForm::json ? write_json(list) + '\n' : write_yaml(list));
    } else {
        print(context, *all);
    }
    return all->empty() ? kExitOk : kExitDifferences;
}

}  // namespace

VerbBody configure_diff(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option({.names = "-f,--file,--filename",
                    .value = "FILE",
                    .help = "A manifest, a directory of manifests, or - for standard input; may be given several times",
                    .required = true},
                   o->files);
    command.flag("-R,--recursive", o->recursive, "Directories with those below them");
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Nothing is written. Example: homeostat diff -f docs.yaml\n"
        "Exit codes: 0 nothing would change, 1 differences, 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
