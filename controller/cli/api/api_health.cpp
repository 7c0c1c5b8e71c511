// How this process and those beside it are, part by part. It answers where the database does not, and says so.
#include <nlohmann/json.hpp>

#include "controller/cli/api/reads.hpp"
#include "controller/seen_replica.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/migrator.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

namespace {

ApiJson verdict(const Status& status) {
    ApiJson out{{"ok", status.ok()}};
    if (!status) out["message"] = status.error().message;
    return out;
}

// Gauges and counters of this process whose names begin so, by name and labels.
ApiJson figures_of(const Registry& metrics, std::string_view prefix) {
    ApiJson out = ApiJson::array();
    for (const MetricFamily& family : metrics.collect()) {
        if (!family.name.starts_with(prefix) || family.kind == MetricKind::histogram) continue;
        for (const MetricFamily::Sample& sample : family.samples) {
            ApiJson labels = ApiJson::object();
            for (const auto& [name, value] : sample.labels) labels[name] = value;
            out.push_back({{"name", family.name}, {"labels", std::move(labels)}, {"value", sample.value}});
        }
    }
    return out;
}

ApiJson replica_json(const ReplicaLine& line) {
    const ApiJson s = snapshot_json(line);
    const ApiJson capabilities = s.value("capabilities", ApiJson::object());
    return {{"replica", line.id},
            {"alive", line.silent_for <= kReplicaSilent},
            {"silentForSeconds", static_cast<double>(line.silent_for.count()) / 1000},
            {"memory", capabilities.value("memory", ApiJson::object())},
            {"slots", {{"all", capabilities.value("slotsPerProvider", 0)}, {"free", capabilities.value("freeSlots", 0)}}},
            {"breakers", s.value("providers", ApiJson::array())},
            {"cache", s.value("cache", ApiJson::object())},
            {"pools", s.value("pools", ApiJson::array())}};
}

Status add_shared(ApiJson& out, ApiCall& call) {
    const Result<int> schema = schema_version(call.session());
    if (!schema) return schema.error();
    out["database"]["schemaVersion"] = *schema;
    const auto replicas = list_replicas(call.session());
    if (!replicas) return replicas.error();
    out["replicas"] = ApiJson::array();
    for (const ReplicaLine& line : *replicas) {
        try {
            out["replicas"].push_back(replica_json(line));
        } catch (const ApiJson::exception&) {
            out["replicas"].push_back(
                {{"replica", line.id}, {"alive", line.silent_for <= kReplicaSilent}});  // of another version
        }
    }
    const auto leases = read_listing(call.session(), ListingKind::lease, {}, 1000);
    if (!leases) return leases.error();
    out["leases"] = ApiJson::array();
    for (const ListingRow& row : *leases) out["leases"].push_back(row_json(ListingKind::lease, row));
    return {};
}

}  // namespace

Result<ApiJson> read_health(ApiCall& call) {
    ApiJson out{{"version", call.world.version},
                {"replica", call.world.config.settings.replica_name},
                {"live", verdict(call.world.health->live())},
                {"ready", verdict(call.world.health->ready())},
                {"database", {{"reachable", call.connected()}}}};
    if (!call.connected()) out["database"]["message"] = call.why_not_connected;
    out["database"]["connections"] = figures_of(call.world.metrics, "homeostat_database_");
    out["writesPaused"] = figures_of(call.world.metrics, "homeostat_writes_paused");
    out["memory"] = figures_of(call.world.metrics, "homeostat_memory");
    out["caches"] = figures_of(call.world.metrics, "homeostat_cache");
    if (!call.connected()) return out;
    if (const Status good = add_shared(out, call); !good) {
        out["database"]["reachable"] = false;
        out["database"]["message"] = good.error().message;
    }
    return out;
}

}  // namespace homeostat
