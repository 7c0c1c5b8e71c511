// Target views: relations whose rows declare pipelines. A look compares all rows with what they declared before in one statement,
// by hash, and reads only the rows that differ; what follows from it is written set-based under the view's lease.
//
// Functions that take a Transaction throw StoreFailure; the others return what went wrong. One thread at a time, as sessions are.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

Result<std::vector<TargetViewSpec>> list_target_views(Session& session);  // live and deleting, by name
Result<TargetViewSpec> read_target_view(Session& session, std::int64_t uid);
Result<TargetViewSpec> find_target_view(Session& session, std::string_view name);  // live; not_found offers the nearest name
Result<TargetViewStatus> read_target_view_status(Session& session, std::int64_t uid);
// Rows that the checks refused when they were last tried, with their sentences.
Result<std::vector<std::pair<std::string, std::string>>> read_refused_rows(Session& session, std::int64_t uid);
std::string target_view_lease(std::int64_t uid);

// --- control -------------------------------------------------------------------------------------------------------------

Status set_target_view_suspended(Session& session, std::string_view name, bool suspended,
                                 const std::optional<std::string>& reason);
// Nothing happens, and false is returned, where no live target view of this name waits for this plan.
Result<bool> approve_removals(Session& session, std::string_view name, std::string_view plan);

// --- a look --------------------------------------------------------------------------------------------------------------

// A row to be declared, as the relation has it.
struct DeclaringRow {
    std::string name;
    std::int64_t hash = 0;
    std::string json;  // the columns that a pipeline has, in its own types
    bool fresh = false;  // there is no pipeline of ours yet
    std::string lacks;  // a column that every pipeline needs and that is NULL here
};

// A row that declares nothing, and why: the sentence of the check that refused it.
using RowRefusal = std::pair<std::string, std::string>;

// What one complete look saw; everything in it but `rows` and `declared` is a difference.
struct TargetViewSight {
    WallTime at{};  // by the server
    std::int64_t rows = 0;  // names in the relation
    std::int64_t declared = 0;  // pipelines of ours that are not suspended for want of their row
    std::vector<DeclaringRow> declaring;
    std::vector<std::string> vanished;  // pipelines of ours whose row is gone, by name
    std::vector<std::string> taken;  // rows whose name is another pipeline's
    std::vector<std::string> forgotten;  // remembered rows that have neither row nor pipeline any more
    std::vector<RowRefusal> refused;  // as remembered, and rows that cannot even be tried
    std::string plan;  // a digest of exactly the set `vanished`; "" where it is empty
    std::vector<std::string> ignored;  // columns that declare nothing
    struct Column {
        std::string name;
        std::string type;
        std::optional<std::string> fallback;  // the default, as the catalog writes it
    };
    std::vector<Column> columns;
};

// In one read-only snapshot. `retry`: rows that were refused a moment ago are tried again too.
// An error means that nothing is known about the relation, which is not the same as that it is empty.
Result<TargetViewSight> look_at_target_view(Session& session, const TargetViewSpec& view, bool retry);

// --- what follows from it ------------------------------------------------------------------------------------------------

// Says to the triggers of homeostat.pipeline for which view the rest of the transaction writes, and resolves names as psql would.
void write_for(Transaction& tx, const TargetViewSpec& view);

// Inserts and updates pipelines as the rows say; those that the checks refuse are returned and do not stop the others.
std::vector<RowRefusal> declare_rows(Transaction& tx, const TargetViewSpec& view,
                                     const std::vector<TargetViewSight::Column>& columns, const std::vector<DeclaringRow>& rows);

// What `view.on_removal` says, for pipelines whose rows are gone. The reason is what a suspended one is given.
void retire_pipelines(Transaction& tx, const TargetViewSpec& view, const std::vector<std::string>& names,
                      const std::string& reason);
// The same for all of them, and the view itself goes.
void delete_target_view(Transaction& tx, const TargetViewSpec& view, const std::string& reason);
void forget_rows(Transaction& tx, const TargetViewSpec& view, const std::vector<std::string>& names);
void clear_approval(Transaction& tx, const TargetViewSpec& view);

// Writes what differs from `before`, with events for conditions that changed; nothing where nothing does.
void write_target_view_status(Transaction& tx, const TargetViewSpec& view, const TargetViewStatus& before,
                              const TargetViewStatus& status, const std::string& reconcile_id);
bool differs(const TargetViewStatus& before, const TargetViewStatus& status);

}  // namespace homeostat
