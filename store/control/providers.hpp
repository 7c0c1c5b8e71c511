// What replicas share about providers (homeostat.provider_status, homeostat.canary) and about themselves (homeostat.replica).
// Each call is one statement in a transaction of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// One declaration of a provider. Who is deleted and declared again under its name is another, with a greater uid; an edit makes
// the generation greater.
struct DeclaredProvider {
    std::string name;
    std::int64_t uid = 0;
    std::int64_t generation = 0;
    bool operator==(const DeclaredProvider&) const = default;
};
// What no other declaration of any provider has: name, uid and generation, a line each.
std::string declaration_key(const DeclaredProvider& p);
Result<std::vector<DeclaredProvider>> list_declared_providers(Session& session);

// What was asked for of the pipelines of each provider, all of it together: another text after each request to reconcile one.
Result<std::vector<std::pair<std::string, std::string>>> list_requests(Session& session);
// There is a reason to ask these providers again: what was put off because of them is due now. Returns their pipelines that
// failed.
Result<std::vector<std::int64_t>> release_parked(Session& session, const std::vector<std::string>& providers);

struct ProviderRecord {
    std::int64_t uid = 0;  // of the provider
    std::string model;
    std::int64_t generation = 0;
    bool healthy = true;  // the last thing it said was an answer
    std::string breaker = "closed";  // closed, open, half_open
    std::string reason;
    std::string message;
    std::int32_t opened = 0;  // times in a row
    std::chrono::milliseconds heard_ago{0};  // since it said this, or failed to
    std::optional<std::chrono::milliseconds> retry_in;  // as of now
    std::uint32_t max_texts = 0;   // learnt; 0 = nothing
    std::uint64_t max_tokens = 0;
    // Learnt without words; 0 = nothing.
    std::uint32_t pace = 0;  // texts a request that are answered well within the timeout
    std::int32_t in_flight = 0;  // requests at a time, since more were too many
    std::string encoding;  // that is asked for instead of the declared one; empty = that one
};

Result<std::optional<ProviderRecord>> read_provider_record(Session& session, std::int64_t uid, std::string_view model);
Result<std::vector<ProviderRecord>> list_provider_records(Session& session);
// What was heard earlier than what is stored is left out, but for the limits. Who has learnt nothing takes nothing back. A
// provider that has been deleted meanwhile is no error.
Status write_provider_record(Session& session, const ProviderRecord& record, std::string_view replica);

// What a model of this declaration calls itself in its answers: as it was first noted, or `name` where nothing was (with "",
// nothing is noted). Absent where nothing is known of the provider yet.
Result<std::optional<std::string>> settle_name(Session& session, const DeclaredProvider& provider, std::string_view model,
                                               std::string_view name);

// What other live replicas were the last to tell of providers.
struct OthersWord {
    std::int64_t uid = 0;
    std::int64_t generation = 0;
    bool healthy = true;
    std::string reason;
};
struct Others {
    int live = 0;  // replicas, without the one that asks
    std::vector<OthersWord> words;
};
Result<Others> read_others(Session& session, std::string_view replica);

struct Canary {
    std::vector<float> embedding;
    std::string provider;  // whose it is
};
// The canary of a pool's model: the one that is stored, or the given one where none was.
Result<Canary> settle_canary(Session& session, std::string_view pool, std::string_view model, std::uint32_t dimensions,
                             const Canary& ours);

struct ReplicaLine {
    std::string id;
    std::string version;
    std::int32_t schema_version = 0;
    std::chrono::milliseconds silent_for{0};
    std::chrono::milliseconds heartbeat_at{0};  // since 1970, by the database's clock
    std::string snapshot;  // JSON; empty where it has written none
};
Result<std::vector<ReplicaLine>> list_replicas(Session& session);
Status write_replica_snapshot(Session& session, std::string_view replica, std::string_view json);
// Those that have shown themselves within half a minute; at least one.
Result<int> count_live_replicas(Session& session);

}  // namespace homeostat
