// Providers, and what the replicas can do and do: what `describe provider/NAME`, `factory` and `config strategies` show.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/cli/api/reads.hpp"
#include "controller/cli/api/shapes.hpp"
#include "controller/config/config_values.hpp"
#include "controller/seen_replica.hpp"
#include "reconcilers/factory/advice.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/migrator.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

namespace {

// Headers, credentials and environments are left out: who declares may have written into them what only the provider should read.
ApiJson provider_json(const ProviderSpec& p, const std::vector<ProviderHealth>& health) {
    ApiJson out{{"name", p.name},
                {"kind", p.kind},
                {"maxBatch", p.max_batch},
                {"maxInFlight", p.max_in_flight},
                {"pricePerMillionTokens", p.price_per_million_tokens},
                {"currency", p.currency}};
    if (p.endpoint) out["endpoint"] = redact_url(*p.endpoint);
    if (p.model) out["model"] = *p.model;
    if (p.dimensions) out["dimensions"] = *p.dimensions;
    if (p.pool) out["pool"] = *p.pool;
    if (p.requests_per_minute) out["requestsPerMinute"] = *p.requests_per_minute;
    if (p.tokens_per_minute) out["tokensPerMinute"] = *p.tokens_per_minute;
    if (p.max_tokens_per_day) out["maxTokensPerDay"] = *p.max_tokens_per_day;
    if (p.max_cost_per_day) out["maxCostPerDay"] = *p.max_cost_per_day;
    const auto found = std::ranges::find_if(health, [&](const ProviderHealth& h) { return h.uid == p.uid; });
    out["used"] = found != health.end();
    if (found != health.end()) {
        out["healthy"] = found->healthy;
        out["reason"] = found->reason;
        out["message"] = found->message;
    }
    return out;
}

ApiJson record_json(const ProviderRecord& r) {
    ApiJson out{{"model", r.model},
                {"healthy", r.healthy},
                {"breaker", r.breaker},
                {"reason", r.reason},
                {"message", r.message},
                {"opened", r.opened},
                {"heardSecondsAgo", static_cast<double>(r.heard_ago.count()) / 1000}};
    if (r.retry_in) out["retryInSeconds"] = static_cast<double>(r.retry_in->count()) / 1000;
    if (r.max_texts > 0) out["learntTexts"] = r.max_texts;
    if (r.max_tokens > 0) out["learntTokens"] = r.max_tokens;
    return out;
}

// Those that have shown themselves lately.
Result<std::vector<ReplicaLine>> live_replicas(ApiCall& call) {
    Result<std::vector<ReplicaLine>> lines = list_replicas(call.session());
    if (lines) std::erase_if(*lines, [](const ReplicaLine& l) { return l.silent_for > kReplicaSilent; });
    return lines;
}

ApiJson items_of(ApiJson list) { return ApiJson{{"items", std::move(list)}}; }

}  // namespace

ApiJson parts_of(const ApiJson& snapshot, const char* list, const char* name, const std::string& value) {
    ApiJson out = ApiJson::array();
    const auto found = snapshot.find(list);
    if (found == snapshot.end() || !found->is_array()) return out;
    for (const ApiJson& part : *found) {
        const auto member = part.is_object() ? part.find(name) : part.end();
        if (part.is_object() && member != part.end() && member->is_string() && member->get<std::string>() == value)
            out.push_back(part);
    }
    return out;
}

Result<ApiJson> read_providers(ApiCall& call) {
    const auto providers = list_providers(call.session());
    if (!providers) return providers.error();
    const auto health = list_provider_health(call.session());
    if (!health) return health.error();
    const auto records = list_provider_records(call.session());
    if (!records) return records.error();
    ApiJson items = ApiJson::array();
    for (const ProviderSpec& p : *providers) {
        ApiJson item = provider_json(p, *health);
        item["breakers"] = ApiJson::array();
        for (const ProviderRecord& r : *records) {
            if (r.uid == p.uid) item["breakers"].push_back(record_json(r));
        }
        items.push_back(std::move(item));
    }
    return items_of(std::move(items));
}

Result<ApiJson> read_one_provider(ApiCall& call) {
    const auto provider = find_provider(call.session(), call.name());
    if (!provider) return provider.error();
    const auto health = list_provider_health(call.session());
    if (!health) return health.error();
    const auto records = list_provider_records(call.session());
    if (!records) return records.error();
    const auto replicas = live_replicas(call);
    if (!replicas) return replicas.error();
    ApiJson out = provider_json(*provider, *health);
    out["breakers"] = ApiJson::array();
    for (const ProviderRecord& r : *records) {
        if (r.uid == provider->uid) out["breakers"].push_back(record_json(r));
    }
    out["replicas"] = ApiJson::array();
    for (const ReplicaLine& line : *replicas) {
        const ApiJson snapshot = snapshot_json(line);
        out["replicas"].push_back({{"replica", line.id},
                                   {"channels", parts_of(snapshot, "providers", "provider", provider->name)},
                                   {"calls", parts_of(snapshot, "calls", "provider", provider->name)}});
    }
    return out;
}

Result<ApiJson> read_capabilities(ApiCall& call) {
    const auto replicas = live_replicas(call);
    if (!replicas) return replicas.error();
    ApiJson items = ApiJson::array();
    for (const ReplicaLine& line : *replicas) {
        const ApiJson s = snapshot_json(line);
        items.push_back({{"replica", line.id},
                         {"version", line.version},
                         {"capabilities", s.value("capabilities", ApiJson::object())},
                         {"providers", s.value("providers", ApiJson::array())},
                         {"chunkers", s.value("chunkers", ApiJson::array())}});
    }
    return items_of(std::move(items));
}

Result<ApiJson> read_snapshots(ApiCall& call) {
    const auto replicas = list_replicas(call.session());
    if (!replicas) return replicas.error();
    ApiJson items = ApiJson::array();
    for (const ReplicaLine& line : *replicas) {
        items.push_back({{"replica", line.id},
                         {"version", line.version},
                         {"schemaVersion", line.schema_version},
                         {"silentForSeconds", static_cast<double>(line.silent_for.count()) / 1000},
                         {"snapshot", snapshot_json(line)}});
    }
    return items_of(std::move(items));
}

Result<ApiJson> read_differences(ApiCall& call) {
    const auto replicas = list_replicas(call.session());
    if (!replicas) return replicas.error();
    const auto declared = list_providers(call.session());
    if (!declared) return declared.error();
    std::vector<SeenReplica> seen;
    for (const ReplicaLine& l : *replicas) seen.push_back(seen_replica(l, *declared));
    ApiJson items = ApiJson::array();
    const Settings& settings = call.world.config.settings;
    for (const Conflict& c : synchronise(seen, *declared, newest_migration(), settings.database_write_connections)) {
        items.push_back({{"where", c.where},
                         {"assumed", c.assumed},
                         {"found", c.found},
                         {"adjustment", c.adjustment},
                         {"byPerson", c.by_person}});
    }
    return items_of(std::move(items));
}

Result<ApiJson> read_advice(ApiCall& call) {
    const auto replicas = live_replicas(call);
    if (!replicas) return replicas.error();
    const auto declared = list_providers(call.session());
    if (!declared) return declared.error();
    ApiJson items = ApiJson::array();
    for (const ReplicaLine& l : *replicas) {
        for (const Advice& a : advise(seen_replica(l, *declared).factory))
            items.push_back({{"replica", l.id}, {"about", a.about}, {"advice", a.advice}, {"why", a.why}});
    }
    return items_of(std::move(items));
}

Result<ApiJson> read_strategies(ApiCall& call) {
    constexpr std::string_view kPrefix = "strategy.";
    ApiJson items = ApiJson::array();
    for (std::size_t i = 0; i < setting_table().size(); ++i) {
        const Setting& s = setting_table()[i];
        if (!s.name.starts_with(kPrefix)) continue;
        const SettingValue& v = call.world.config.values[i];
        items.push_back({{"event", s.name.substr(kPrefix.size())},
                         {"strategy", v.text},
                         {"from", v.origin},
                         {"mayBe", bounds_text(s)},
                         {"meaning", s.sentence}});
    }
    return items_of(std::move(items));
}

}  // namespace homeostat
