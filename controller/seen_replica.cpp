#include "controller/seen_replica.hpp"

#include <nlohmann/json.hpp>

namespace homeostat {

namespace {

using Json = nlohmann::ordered_json;

template <class T>
T at(const Json& json, const char* pointer, const T& fallback) {
    return json.value(Json::json_pointer(pointer), fallback);
}

SeenProvider provider_of(const Json& p, const std::vector<ProviderSpec>& declared) {
    SeenProvider s;
    s.name = p.value("provider", "");
    s.model = p.value("model", "");
    s.breaker = p.value("breaker", "closed");
    s.message = p.value("message", "");
    s.limit = p.value("limit", 0);
    s.ceiling = p.value("ceiling", 0);
    s.waiting = p.value("waiting", 0);
    s.requests = p.value("requests", std::uint64_t{0});
    s.failures = p.value("failures", std::uint64_t{0});
    s.throttled = p.value("throttled", std::uint64_t{0});
    s.mean_seconds = p.value("meanSeconds", 0.0);
    s.max_texts = p.value("maxTexts", 0U);
    for (const ProviderSpec& d : declared) {
        if (d.name == s.name) s.declared_texts = d.max_batch;
    }
    return s;
}

SeenReplica row_of(const ReplicaLine& line) {
    SeenReplica r;
    r.id = line.id;
    r.schema_version = line.schema_version;
    r.silent_for = line.silent_for;
    return r;
}

SeenReplica snapshot_of(const ReplicaLine& line, const std::vector<ProviderSpec>& declared) {
    const Json json = snapshot_json(line);
    SeenReplica r = row_of(line);
    r.reported = !json.empty();
    SeenFactory& f = r.factory;
    f.slots = at(json, "/capabilities/slotsPerProvider", 0);
    f.free_slots = at(json, "/capabilities/freeSlots", 0);
    f.recommended_batch = at(json, "/capabilities/recommendedBatch", 0);
    f.memory_level = at(json, "/capabilities/memory/level", std::string("normal"));
    f.memory_budget = at(json, "/capabilities/memory/budget", std::uint64_t{0});
    f.cache_bytes = at(json, "/cache/bytes", std::uint64_t{0});
    f.cache_hits = at(json, "/cache/hits", std::uint64_t{0});
    f.cache_misses = at(json, "/cache/misses", std::uint64_t{0});
    f.cache_evictions = at(json, "/cache/evictions", std::uint64_t{0});
    if (json.contains("at") && json.contains("heardAt"))
        r.clock_ahead = std::chrono::milliseconds(json["at"].get<std::int64_t>() - json["heardAt"].get<std::int64_t>());
    for (const Json& p : json.value("pools", Json::array())) {
        if (p.value("name", "") == "write") r.write_connections = p.value("size", 0U);
    }
    for (const Json& p : json.value("providers", Json::array())) f.providers.push_back(provider_of(p, declared));
    for (const Json& p : json.value("leftToOthers", Json::array()))
        r.left_to_others.emplace_back(p.value("provider", ""), p.value("message", ""));
    return r;
}

}  // namespace

Json snapshot_json(const ReplicaLine& line) {
    Json json = line.snapshot.empty() ? Json::object() : Json::parse(line.snapshot, nullptr, false);
    return json.is_object() ? json : Json::object();
}

SeenReplica seen_replica(const ReplicaLine& line, const std::vector<ProviderSpec>& declared) {
    try {
        return snapshot_of(line, declared);
    } catch (const Json::exception&) {
        return row_of(line);  // of a version that writes it otherwise
    }
}

}  // namespace homeostat
