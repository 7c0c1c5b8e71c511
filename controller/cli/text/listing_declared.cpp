// Pipelines, providers and target views as `get` lists them.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/text/object_text.hpp"
#include "controller/cli/text/truth.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

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

std::string lag_text(const std::optional<Millis>& lag) {
    return lag ? duration_text(std::chrono::duration<double>(*lag).count()) : "-";
}

std::vector<Cell> pipeline_cells(const PipelineLine& p, bool wide, WallTime now) {
    const std::string source = p.source_documents ? std::to_string(*p.source_documents) : "?";
    const bool going = p.kstatus == "Terminating";
    const std::string ready = going ? "False" : p.ready;
    std::vector<Cell> row{p.name,
                          Cell(ready, condition_tint(ready)),
                          going         ? Cell("Terminating", Tint::warning)
                          : p.suspended ? Cell("Suspended", Tint::warning)
                                        : Cell(p.reason),
                          p.phase.empty() ? "-" : p.phase,
                          fmt::format("{}/{}", p.documents, source),
                          Cell(std::to_string(p.drift), p.drift > 0 ? Tint::warning : Tint::plain),
                          lag_text(p.lag),
                          Cell(std::to_string(p.dead_letters), p.dead_letters > 0 ? Tint::bad : Tint::plain),
                          p.last_converged ? age_text(*p.last_converged, now) : "never"};
    if (wide) row.insert(row.end(), {std::to_string(p.chunks), p.source, p.target, p.provider, p.message});
    return row;
}

Result<Listing> list_pipelines_wished(Session& session, const ListingWish& wish) {
    Result<std::vector<PipelineSpec>> specs = list_pipelines(session);
    if (!specs) return specs.error();
    if (auto good = keep_named(*specs, wish.names, "pipeline"); !good) return good.error();
    std::vector<PipelineLine> lines;
    if (wish.cells) {
        Result<std::vector<PipelineLine>> all = list_pipeline_lines(session);
        if (!all) return all.error();
        lines = *std::move(all);
    }
    Listing out;
    out.headers = {"NAME", "READY", "REASON", "PHASE", "DOCUMENTS", "DRIFT", "LAG", "DEAD", "CONVERGED"};
    out.ages = {6, 8};
    if (wish.wide) out.headers.insert(out.headers.end(), {"CHUNKS", "SOURCE", "TARGET", "PROVIDER", "MESSAGE"});
    out.nothing = "no pipelines are declared; see homeostat apply --help";
    const WallTime now = SystemClock().now();
    for (const PipelineSpec& p : *specs) {
        // A manifest of one that is being deleted would declare it anew.
        if (p.deleting && !wish.cells) continue;
        Listed row{.kind = "pipeline", .name = p.name, .labels = p.labels, .cells = {}, .node = {}};
        const auto line = std::find_if(lines.begin(), lines.end(), [&](const PipelineLine& l) { return l.uid == p.uid; });
        if (wish.cells && line == lines.end()) continue;  // it went while we looked
        if (wish.cells) row.cells = pipeline_cells(*line, wish.wide, now);
        if (wish.nodes) {
            const Result<PipelineStatus> status = read_true_status(session, p);
            if (!status) return status.error();
            row.node = object_node(p, &*status);
        }
        out.rows.push_back(std::move(row));
    }
    return out;
}

std::vector<Cell> provider_cells(const ProviderSpec& p, const std::vector<ProviderHealth>& health, bool wide) {
    const auto found = std::find_if(health.begin(), health.end(), [&](const ProviderHealth& h) { return h.uid == p.uid; });
    const bool seen = found != health.end();
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
    return row;
}

Result<Listing> list_providers_wished(Session& session, const ListingWish& wish) {
    Result<std::vector<ProviderSpec>> providers = list_providers(session);
    if (!providers) return providers.error();
    if (auto good = keep_named(*providers, wish.names, "provider"); !good) return good.error();
    const Result<std::vector<ProviderHealth>> health = list_provider_health(session);
    if (!health) return health.error();
    Listing out;
    out.headers = {"NAME", "KIND", "MODEL", "DIMENSIONS", "HEALTHY", "ENDPOINT"};
    if (wish.wide) out.headers.insert(out.headers.end(), {"BATCH", "IN FLIGHT", "RANK", "MESSAGE"});
    out.nothing = "no providers are declared; see homeostat apply --help";
    for (const ProviderSpec& p : *providers) {
        out.rows.push_back({.kind = "provider",
                            .name = p.name,
                            .labels = p.labels,
                            .cells = provider_cells(p, *health, wish.wide),
                            .node = wish.nodes ? object_node(p) : YamlNode()});
    }
    return out;
}

std::vector<Cell> target_view_cells(const TargetViewSpec& v, const TargetViewStatus& status, bool wide) {
    const Condition unknown{.type = "Ready", .status = "Unknown", .reason = "NotObserved", .message = ""};
    const bool seen = !status.conditions.empty() && status.conditions.front().type == "Ready";
    const Condition& ready = seen ? status.conditions.front() : unknown;
    const auto count = [](std::int64_t n) { return Cell(std::to_string(n), n > 0 ? Tint::warning : Tint::plain); };
    std::vector<Cell> row{v.name,
                          Cell(ready.status, condition_tint(ready.status)),
                          v.suspend ? Cell("Suspended", Tint::warning) : Cell(ready.reason),
                          status.rows ? std::to_string(*status.rows) : "?",
                          std::to_string(status.pipelines),
                          count(status.refused),
                          count(status.names_taken),
                          count(status.held)};
    if (wide) row.insert(row.end(), {v.relation, v.on_removal, ready.message});
    return row;
}

Result<Listing> list_target_views_wished(Session& session, const ListingWish& wish) {
    Result<std::vector<TargetViewSpec>> views = list_target_views(session);
    if (!views) return views.error();
    if (auto good = keep_named(*views, wish.names, "target view"); !good) return good.error();
    Listing out;
    out.headers = {"NAME", "READY", "REASON", "ROWS", "PIPELINES", "REFUSED", "TAKEN", "HELD"};
    if (wish.wide) out.headers.insert(out.headers.end(), {"RELATION", "ON REMOVAL", "MESSAGE"});
    out.nothing = "no target views are declared; see homeostat apply --help";
    for (const TargetViewSpec& v : *views) {
        if (v.deleting && !wish.cells) continue;  // as with pipelines
        const Result<TargetViewStatus> status = read_target_view_status(session, v.uid);
        if (!status) return status.error();
        out.rows.push_back({.kind = "targetview",
                            .name = v.name,
                            .labels = v.labels,
                            .cells = target_view_cells(v, *status, wish.wide),
                            .node = wish.nodes ? object_node(v, &*status) : YamlNode()});
    }
    return out;
}

}  // namespace

Result<Listing> list_declared(Session& session, ResourceKind kind, const ListingWish& wish) {
    switch (kind) {
        case ResourceKind::provider: return list_providers_wished(session, wish);
        case ResourceKind::target_view: return list_target_views_wished(session, wish);
        case ResourceKind::pipeline: break;
    }
    return list_pipelines_wished(session, wish);
}

Result<Listing> list_objects(Session& session, const AnyKind& kind, const ListingWish& wish) {
    if (const auto* declared = std::get_if<ResourceKind>(&kind)) return list_declared(session, *declared, wish);
    return list_observed(session, std::get<ListingKind>(kind), wish);
}

}  // namespace homeostat
