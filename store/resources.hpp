// The declared half: pipelines and providers as rows, read and written for people and for the loop. What is wrong is refused by
// the database itself (migrations/0001, 0002); these functions pass its sentence on as class invalid.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/session.hpp"

namespace homeostat {

Result<std::vector<PipelineSpec>> list_pipelines(Session& session);        // live and deleting, by name
Result<PipelineSpec> read_pipeline(Session& session, std::int64_t uid);
Result<PipelineSpec> find_pipeline(Session& session, std::string_view name);  // live ones; not_found offers the nearest name
Result<std::vector<ProviderSpec>> list_providers(Session& session);
Result<ProviderSpec> find_provider(Session& session, std::string_view name);

enum class ResourceKind : std::uint8_t { pipeline, provider };
enum class ApplyOutcome : std::uint8_t { created, configured, unchanged };

// A declared object as columns and values in text form; absent columns keep the table's default on creation and, because a
// manifest is the whole truth about its object, return to it on update. Control columns are never touched.
struct DeclaredObject {
    ResourceKind kind;
    std::string name;
    std::vector<std::pair<std::string, std::optional<std::string>>> columns;
};

// Creates or updates inside the given transaction, so that a set of objects is applied whole or not at all (and a dry run is
// the same transaction rolled back).
Result<ApplyOutcome> apply_object(Transaction& tx, const DeclaredObject& object);

// Asks for deletion; the object goes when its finalizers are done.
Status delete_object(Session& session, ResourceKind kind, std::string_view name);

Status set_suspended(Session& session, std::string_view pipeline, bool suspended, const std::optional<std::string>& reason);
// Writes a fresh token that the loop records as handled when its pass has ended; returns it.
Result<std::string> request_reconcile(Session& session, std::string_view pipeline);
Status approve_prune(Session& session, std::string_view pipeline, std::string_view plan_id);

}  // namespace homeostat
