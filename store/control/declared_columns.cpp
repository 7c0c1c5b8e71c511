#include "store/control/declared_columns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace homeostat {

namespace {

// The SQL type of a member, where its column does not say another.
template <class Value>
constexpr std::string_view usual_type() {
    if constexpr (std::is_same_v<Value, bool>) return "boolean";
    if constexpr (std::is_same_v<Value, std::int32_t> || std::is_same_v<Value, std::uint32_t>) return "int";
    if constexpr (std::is_same_v<Value, std::int64_t> || std::is_same_v<Value, std::uint64_t>) return "bigint";
    if constexpr (std::is_same_v<Value, double>) return "numeric";
    if constexpr (std::is_same_v<Value, Millis>) return "interval";
    if constexpr (std::is_same_v<Value, StringMap> || std::is_same_v<Value, std::vector<CaptureBase>>) return "jsonb";
    return "text";
}

template <class Value>
struct Inner {
    using type = Value;
};
template <class Value>
struct Inner<std::optional<Value>> {
    using type = Value;
};

template <class Spec, class Value>
constexpr DeclaredColumn<Spec> column(std::string_view name, Value Spec::* member, std::string_view type = {}) {
    return {name, type.empty() ? usual_type<typename Inner<Value>::type>() : type, member};
}

constexpr std::array kPipeline{
    column("labels", &PipelineSpec::labels),
    column("source", &PipelineSpec::source),
    column("key", &PipelineSpec::key),
    column("content", &PipelineSpec::content),
    column("template", &PipelineSpec::content_template),
    column("metadata", &PipelineSpec::metadata),
    column("version_column", &PipelineSpec::version_column),
    column("documents", &PipelineSpec::documents),
    column("provider", &PipelineSpec::provider),
    column("model", &PipelineSpec::model),
    column("dimensions", &PipelineSpec::dimensions),
    column("chunker", &PipelineSpec::chunker),
    column("chunk_size", &PipelineSpec::chunk_size),
    column("chunk_overlap", &PipelineSpec::chunk_overlap),
    column("chunk_unit", &PipelineSpec::chunk_unit),
    column("chunk_context", &PipelineSpec::chunk_context),
    column("target", &PipelineSpec::target),
    column("vector_type", &PipelineSpec::vector_type),
    column("index_method", &PipelineSpec::index_method),
    column("distance", &PipelineSpec::distance),
    column("index_type", &PipelineSpec::index_type),
    column("index_dimensions", &PipelineSpec::index_dimensions),
    column("index_m", &PipelineSpec::index_m),
    column("index_ef_construction", &PipelineSpec::index_ef_construction),
    column("index_lists", &PipelineSpec::index_lists),
    column("mode", &PipelineSpec::mode),
    column("management", &PipelineSpec::management),
    column("drift_policy", &PipelineSpec::drift_policy),
    column("priority", &PipelineSpec::priority),
    column("completeness", &PipelineSpec::completeness),
    column("max_staleness", &PipelineSpec::max_staleness),
    column("drift_interval", &PipelineSpec::drift_interval),
    column("deep_interval", &PipelineSpec::deep_interval),
    column("prune", &PipelineSpec::prune),
    column("max_prune_ratio", &PipelineSpec::max_prune_ratio),
    column("max_prune_rows", &PipelineSpec::max_prune_rows),
    column("deletion_policy", &PipelineSpec::deletion_policy),
    column("depends_on", &PipelineSpec::depends_on),
    column("backpressure", &PipelineSpec::backpressure),
    column("capture", &PipelineSpec::capture),
    column("capture_from", &PipelineSpec::capture_from),
    column("sweep_interval", &PipelineSpec::sweep_interval),
    column("row_security", &PipelineSpec::row_security),
    column("erase_on_delete", &PipelineSpec::erase_on_delete),
    column("currency", &PipelineSpec::currency),
    column("max_tokens_per_run", &PipelineSpec::max_tokens_per_run),
    column("max_tokens_per_day", &PipelineSpec::max_tokens_per_day),
    column("max_cost_per_run", &PipelineSpec::max_cost_per_run),
    column("max_cost_per_day", &PipelineSpec::max_cost_per_day),
    column("approve_above", &PipelineSpec::approve_above),
    column("verify_sample", &PipelineSpec::verify_sample),
    column("verify_tolerance", &PipelineSpec::verify_tolerance, "double precision"),
};

constexpr std::array kProvider{
    column("labels", &ProviderSpec::labels),
    column("kind", &ProviderSpec::kind),
    column("endpoint", &ProviderSpec::endpoint),
    column("model", &ProviderSpec::model),
    column("dimensions", &ProviderSpec::dimensions),
    column("credential", &ProviderSpec::credential),
    column("organization", &ProviderSpec::organization),
    column("headers", &ProviderSpec::headers),
    column("document_prefix", &ProviderSpec::document_prefix),
    column("query_prefix", &ProviderSpec::query_prefix),
    column("request", &ProviderSpec::request, "jsonb"),
    column("query_request", &ProviderSpec::query_request, "jsonb"),
    column("answers_as", &ProviderSpec::answers_as),
    column("encoding", &ProviderSpec::encoding),
    column("send_dimensions", &ProviderSpec::send_dimensions),
    column("ca_file", &ProviderSpec::ca_file),
    column("client_certificate", &ProviderSpec::client_certificate),
    column("client_key", &ProviderSpec::client_key),
    column("proxy", &ProviderSpec::proxy),
    column("max_batch", &ProviderSpec::max_batch),
    column("max_text_tokens", &ProviderSpec::max_text_tokens),
    column("too_long", &ProviderSpec::too_long),
    column("max_in_flight", &ProviderSpec::max_in_flight),
    column("breaker_failures", &ProviderSpec::breaker_failures),
    column("breaker_share", &ProviderSpec::breaker_share, "double precision"),
    column("breaker_pause", &ProviderSpec::breaker_pause),
    column("breaker_pause_cap", &ProviderSpec::breaker_pause_cap),
    column("requests_per_minute", &ProviderSpec::requests_per_minute),
    column("tokens_per_minute", &ProviderSpec::tokens_per_minute),
    column("timeout", &ProviderSpec::timeout),
    column("price_per_million_tokens", &ProviderSpec::price_per_million_tokens),
    column("currency", &ProviderSpec::currency),
    column("max_tokens_per_run", &ProviderSpec::max_tokens_per_run),
    column("max_tokens_per_day", &ProviderSpec::max_tokens_per_day),
    column("max_cost_per_run", &ProviderSpec::max_cost_per_run),
    column("max_cost_per_day", &ProviderSpec::max_cost_per_day),
    column("rank", &ProviderSpec::rank),
    column("pool", &ProviderSpec::pool),
    column("canary_tolerance", &ProviderSpec::canary_tolerance, "double precision"),
    column("command", &ProviderSpec::command, "text[]"),
    column("environment", &ProviderSpec::environment, "text[]"),
    column("memory_limit_mb", &ProviderSpec::memory_limit_mb),
};

constexpr std::array kTargetView{
    column("labels", &TargetViewSpec::labels),         column("relation", &TargetViewSpec::relation),
    column("on_removal", &TargetViewSpec::on_removal), column("max_removal_ratio", &TargetViewSpec::max_removal_ratio),
    column("interval", &TargetViewSpec::interval),
};

template <class Columns>
constexpr bool each_once(const Columns& columns) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
        for (std::size_t k = i + 1; k < columns.size(); ++k) {
            if (columns[i].name == columns[k].name || columns[i].member == columns[k].member) return false;
        }
    }
    return true;
}
static_assert(each_once(kPipeline) && each_once(kProvider) && each_once(kTargetView), "a column is declared twice");

template <class Columns>
constexpr bool known_types(const Columns& columns) {
    constexpr std::array known{"text", "text[]", "boolean", "int", "bigint", "numeric", "double precision", "interval", "jsonb"};
    return std::all_of(columns.begin(), columns.end(), [&](const auto& c) {
        return std::any_of(known.begin(), known.end(), [&](std::string_view type) { return type == c.type; });
    });
}
static_assert(known_types(kPipeline) && known_types(kProvider) && known_types(kTargetView), "a column has no known type");

void read(RowReader& row, std::string_view, std::string& to) { to = row.text(); }
void read(RowReader& row, std::string_view, std::optional<std::string>& to) { to = row.maybe(); }
void read(RowReader& row, std::string_view, bool& to) { to = row.boolean(); }
void read(RowReader& row, std::string_view, double& to) { to = row.real(); }
void read(RowReader& row, std::string_view, std::optional<double>& to) { to = row.maybe_real(); }
void read(RowReader& row, std::string_view, Millis& to) { to = row.millis(); }
void read(RowReader& row, std::string_view, std::optional<Millis>& to) { to = row.maybe_millis(); }
void read(RowReader& row, std::string_view, StringMap& to) { to = row.map(); }
void read(RowReader& row, std::string_view, std::vector<CaptureBase>& to) { to = row.bases(); }
void read(RowReader& row, std::string_view type, std::vector<std::string>& to) {
    to = type == "text[]" ? row.words() : row.names();
}
template <class I>
    requires std::is_integral_v<I>
void read(RowReader& row, std::string_view, I& to) {
    to = row.integer<I>();
}
template <class I>
    requires std::is_integral_v<I>
void read(RowReader& row, std::string_view, std::optional<I>& to) {
    to = row.maybe_integer<I>();
}

}  // namespace

std::span<const DeclaredColumn<PipelineSpec>> pipeline_columns() { return kPipeline; }
std::span<const DeclaredColumn<ProviderSpec>> provider_columns() { return kProvider; }
std::span<const DeclaredColumn<TargetViewSpec>> target_view_columns() { return kTargetView; }

template <class Spec>
std::string selected(std::span<const DeclaredColumn<Spec>> columns) {
    std::string out = "uid, name, generation";
    for (const auto& c : columns) {
        const std::string_view name = c.name;
        out += c.type == "interval" ? fmt::format(", round(extract(epoch FROM {}) * 1000)::bigint", name)
                                    : fmt::format(", {}", name);
    }
    return out;
}

template <class Spec>
Spec read_columns(RowReader& row, std::span<const DeclaredColumn<Spec>> columns) {
    Spec spec;
    spec.uid = row.integer();
    spec.name = row.text();
    spec.generation = row.integer();
    for (const auto& c : columns) {
        std::visit([&](auto member) { read(row, c.type, spec.*member); }, c.member);
    }
    return spec;
}

template std::string selected(std::span<const DeclaredColumn<PipelineSpec>>);
template std::string selected(std::span<const DeclaredColumn<ProviderSpec>>);
template std::string selected(std::span<const DeclaredColumn<TargetViewSpec>>);
template PipelineSpec read_columns(RowReader&, std::span<const DeclaredColumn<PipelineSpec>>);
template ProviderSpec read_columns(RowReader&, std::span<const DeclaredColumn<ProviderSpec>>);
template TargetViewSpec read_columns(RowReader&, std::span<const DeclaredColumn<TargetViewSpec>>);

}  // namespace homeostat
