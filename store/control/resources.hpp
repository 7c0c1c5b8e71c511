// The declared half: pipelines and providers as rows, read and written for people and for the loop. What is wrong is refused by
// the database itself (migrations/0001, 0002); these functions pass its sentence on as class invalid.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

Result<std::vector<PipelineSpec>> list_pipelines(Session& session);        // live and deleting, by name
Result<PipelineSpec> read_pipeline(Session& session, std::int64_t uid);
Result<PipelineSpec> find_pipeline(Session& session, std::string_view name);  // live ones; not_found offers the nearest name
Result<PipelineSpec> find_pipeline(Transaction& tx, std::string_view name);   // also one that is not committed
// The pipelines that wait for each other by depends_on, this one first; none where it waits for nobody who waits for it. Two
// transactions at once can declare such a ring, which neither of them sees.
Result<std::vector<std::string>> dependency_ring(Session& session, std::int64_t uid);
Result<std::vector<ProviderSpec>> list_providers(Session& session);
// Who stands in for it: the others of its pool, where their role is its own, a member of that, or one that may act on all. A row
// that somebody else puts into the pool gets none of its requests.
Result<std::vector<ProviderSpec>> list_peers(Session& session, const ProviderSpec& provider);
Result<ProviderSpec> find_provider(Session& session, std::string_view name);

// One line of the view homeostat.pipelines: what people look at first.
struct PipelineLine {
    std::int64_t uid = 0;
    std::string name;
    std::string ready;    // True, False, Unknown
    std::string reason;
    std::string kstatus;  // Current, InProgress, Failed, Terminating, Unknown
    std::string message;
    std::optional<std::int64_t> source_documents;
    std::int64_t documents = 0;
    std::int64_t chunks = 0;
    std::int64_t drift = 0;
    std::int64_t dead_letters = 0;
    std::string source;
    std::string target;
    std::string provider;
    bool suspended = false;
    std::optional<WallTime> last_converged;
    std::int64_t waiting = 0;          // documents of the drift that are known by name and not healed yet
    std::optional<Millis> lag;         // for how long the oldest has
    std::string phase;                 // observing, healing, verifying, indexing; "" = idle
};
Result<std::vector<PipelineLine>> list_pipeline_lines(Session& session);  // by name

struct ProviderHealth {
    std::int64_t uid = 0;
    bool healthy = false;
    std::string reason;
    std::string message;
};
Result<std::vector<ProviderHealth>> list_provider_health(Session& session);  // only those that were ever used

enum class ResourceKind : std::uint8_t { pipeline, provider, target_view };
enum class ApplyOutcome : std::uint8_t { created, configured, unchanged };

// A declared object as columns and values in text form; absent columns keep the table's default on creation and, because a
// manifest is the whole truth about its object, return to it on update. Control columns are never touched.
struct DeclaredObject {
    ResourceKind kind = ResourceKind::pipeline;
    std::string name;
    std::vector<std::pair<std::string, std::optional<std::string>>> columns;
};

// Creates or updates inside the given transaction, so that a set of objects is applied whole or not at all (and a dry run is
// the same transaction rolled back).
Result<ApplyOutcome> apply_object(Transaction& tx, const DeclaredObject& object);

// The columns a manifest may set, as the tables name them; labels included.
std::vector<std::string_view> declared_columns(ResourceKind kind);

// Asks for deletion; the object goes when its finalizers are done.
Status delete_object(Session& session, ResourceKind kind, std::string_view name);

// `for_how_long`: it resumes by itself after that.
Status set_suspended(Session& session, std::string_view pipeline, bool suspended, const std::optional<std::string>& reason,
                     std::optional<Millis> for_how_long = std::nullopt);
// Writes a fresh token that the loop records as handled when its pass has ended; returns it.
Result<std::string> request_reconcile(Session& session, std::string_view pipeline);
Status approve_prune(Session& session, std::string_view pipeline, std::string_view plan_id);

}  // namespace homeostat
