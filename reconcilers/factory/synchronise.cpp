#include "reconcilers/factory/synchronise.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace homeostat {

namespace {

// A batch needs its connection for a small part of its time: with the default of either, none waits for long.
constexpr unsigned kBatchesAConnection = 8;

void look_at_replica(const SeenReplica& r, int schema_version, unsigned write_connections, std::vector<Conflict>& out) {
    const std::string where = fmt::format("replica {}", r.id);
    if (r.silent_for > kReplicaSilent) {
        out.push_back({where, "it works", fmt::format("silent for {} s", r.silent_for.count() / 1000),
                       "its batches and leases go to others; start it again, or forget it", false});
        return;
    }
    if (r.schema_version != schema_version) {
        out.push_back({where, fmt::format("schema {}", schema_version), fmt::format("made for schema {}", r.schema_version),
                       r.schema_version < schema_version ? "replace it by a newer binary" : "run homeostat migrate up", true,
                       "SchemaDiffers"});
    }
    if (!r.reported) return;
    if (std::chrono::abs(r.clock_ahead) > kClockSkew) {
        out.push_back({where, "a clock that agrees with the database's",
                       fmt::format("{} s {}", std::chrono::abs(r.clock_ahead).count() / 1000,
                                   r.clock_ahead.count() > 0 ? "ahead" : "behind"),
                       "leases and claims go by the database's clock; set the machine's all the same", true, "ClockOff"});
    }
    const unsigned connections = r.write_connections > 0 ? r.write_connections : write_connections;
    if (connections > 0 && r.factory.slots > static_cast<int>(kBatchesAConnection * connections)) {
        out.push_back({where, fmt::format("{} batches at once", r.factory.slots),
                       fmt::format("{} connections to write with", connections),
                       "batches wait for each other; raise database.write_connections", true, "FewConnections"});
    }
    if (r.factory.memory_level != "normal") {
        out.push_back({where, "memory to spare", fmt::format("memory is {}", r.factory.memory_level),
                       r.factory.memory_level == "stopped" ? "no batch is begun until some is free" : "batches read less",
                       false});
    }
}

void look_at_provider(const SeenReplica& r, const SeenProvider& seen, const std::vector<ProviderSpec>& declared,
                      std::vector<Conflict>& out) {
    const std::string where = fmt::format("provider \"{}\" at {}", seen.name, r.id);
    const auto spec = std::find_if(declared.begin(), declared.end(), [&](const ProviderSpec& p) { return p.name == seen.name; });
    if (spec == declared.end()) {
        out.push_back({where, "declared", "deleted", "it is not asked any more", false});
        return;
    }
    if (seen.breaker == "open") {
        out.push_back({where, "it answers", fmt::format("breaker open: {}", seen.message), "it is probed by itself", false});
    }
    if (seen.max_texts > 0 && seen.max_texts < spec->max_batch) {
        out.push_back({where, fmt::format("{} texts a request", spec->max_batch), fmt::format("takes {}", seen.max_texts),
                       "smaller requests are sent", false});
    }
    if (seen.limit < static_cast<int>(spec->max_in_flight) && seen.throttled + seen.failures > 0) {
        out.push_back({where, fmt::format("{} requests at a time", spec->max_in_flight), fmt::format("bears {} now", seen.limit),
                       "no more are in flight; the number grows again with its answers", false});
    }
}

}  // namespace

std::string conflict_text(const Conflict& c) {
    return fmt::format("{}: {} was assumed, it is {}; {}", c.where, c.assumed, c.found, c.adjustment);
}

std::vector<Conflict> synchronise(const std::vector<SeenReplica>& replicas, const std::vector<ProviderSpec>& providers,
                                  int schema_version, unsigned write_connections) {
    std::vector<Conflict> out;
    if (std::none_of(replicas.begin(), replicas.end(), [](const SeenReplica& r) { return r.silent_for <= kReplicaSilent; })) {
        out.push_back({"replicas", "at least one", "none is running", "start one: homeostat run", true});
    }
    for (const SeenReplica& r : replicas) look_at_replica(r, schema_version, write_connections, out);
    for (const SeenReplica& r : replicas) {
        if (r.silent_for > kReplicaSilent) continue;
        for (const SeenProvider& seen : r.factory.providers) look_at_provider(r, seen, providers, out);
        for (const auto& [provider, why] : r.left_to_others) {
            out.push_back({fmt::format("provider \"{}\" at {}", provider, r.id), "every replica can ask it", why,
                           "its batches are left to other replicas; give that one what it lacks", true, "LeftToOthers",
                           provider});
        }
    }
    return out;
}

}  // namespace homeostat
