// Checkpoints and rollbacks as rows: what people ask for (homeostat.checkpoint, homeostat.rollback), and what the controller
// makes of it. Everything that would stop a rollback is found by the trigger of its table, which also pins the pipeline
// (migration 0041). Statements throw StoreFailure unless they return a Result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.hpp"
#include "store/data/drift.hpp"
#include "store/data/journal.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct RollbackRequest {
    std::int64_t id = 0;
    std::string checkpoint;
    std::int32_t revision = 0;
    std::int64_t entry = 0;  // of the journal; what is after it is undone
    bool dry_run = false;
    bool running = false;
    bool planned = false;  // what is to be undone is written down
    std::string requested_by;
    std::string reason;  // "" where none was given
    std::optional<std::int64_t> unverified_run;  // whose own gate asked for it; absent = a person did
};
// What waits for the controller.
struct PointRequests {
    bool checkpoints = false;
    std::optional<RollbackRequest> rollback;
    std::optional<RollbackRequest> dry_run;
    bool adoption = false;  // store/control/adoptions.hpp has it
};
Result<PointRequests> read_points(Session& session, std::int64_t uid);

// The checkpoint of a run that begins in `tx`, which holds the writers.
void open_checkpoint(Transaction& tx, const Revision& revision, std::int64_t run_id, const Totals& stored);
// Those that are asked for, likewise: all of them are of this moment. How many.
std::int64_t take_checkpoints(Transaction& tx, const Revision& revision, const Totals& stored);

// Asks for what a person asks for with `rollback --run`, and pins the pipeline: waits for who writes, and who comes later is
// refused. False where the run has no checkpoint that can be gone back to, or somebody suspended the pipeline.
bool ask_to_undo_run(Transaction& tx, std::int64_t uid, std::int64_t run_id, std::string_view why);

// Why it cannot be carried out after all; "" where it can. In the transaction that begins it.
std::string why_not_now(Transaction& tx, const RollbackRequest& request, std::int64_t uid);
// The pipeline is pinned no more; where a run's gate asked for it, it stays suspended.
void refuse_rollback(Transaction& tx, std::int64_t uid, const RollbackRequest& request, std::string_view why);
void begin_rollback(Transaction& tx, std::int64_t id);
void rollback_is_planned(Transaction& tx, std::int64_t id, const UndoCounts& counts);
// All batches but those that only put chunks away go, claimed or not: nobody holds a token of a document from then on.
void discard_all_batches(Transaction& tx, std::int64_t uid);
// Runs and checkpoints of what was undone are marked and gone; the status has these counts, and the next sweep is due and deep.
void end_rollback(Transaction& tx, std::int64_t uid, const RollbackRequest& request, const Totals& stored);
void end_dry_run(Transaction& tx, std::int64_t id, const UndoCounts& counts);

// --- for people ------------------------------------------------------------------------------------------------------------

struct RollbackWish {
    std::string pipeline;
    std::optional<std::string> checkpoint;
    std::optional<std::int64_t> run;  // without both: before the last run that changed anything
    bool dry_run = false;
    std::string reason;
};
struct Rollback {
    std::int64_t id = 0;
    std::string pipeline;
    std::string checkpoint;
    bool dry_run = false;
    std::string state;  // requested, running, done, refused
    std::string message;
    UndoCounts counts;
    std::string requested_by;
    WallTime requested_at{};
    std::optional<WallTime> ended_at;
};
Result<std::int64_t> request_rollback(Session& session, const RollbackWish& wish);
Result<std::optional<Rollback>> read_rollback(Session& session, std::int64_t id);

Result<std::int64_t> request_checkpoint(Session& session, const std::string& pipeline, const std::string& name);
Result<bool> checkpoint_is_taken(Session& session, std::int64_t id);
// False where there is none of that name.
Result<bool> drop_checkpoint(Session& session, const std::string& pipeline, const std::string& name);
// For how long what is replaced stays, as the controller has it; "" where none has looked yet.
Result<std::string> read_journal_limit(Session& session, std::int64_t uid);

}  // namespace homeostat
