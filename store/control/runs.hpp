// Runs: the pass under way over a pipeline, with the cursor that makes a sweep resumable, and the status written beside it.
// Whatever changes a run is one transaction that first holds the pipeline's lease at the caller's epoch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/control/batches.hpp"
#include "store/control/statuses.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class RunPhase : std::uint8_t { sweeping, healing, pruning, indexing };
std::string_view to_string(RunPhase p) noexcept;

// What a run does, for people: the first sweep observes, later ones verify; deletions are healing too.
enum class Phase : std::uint8_t { idle, observing, healing, verifying, indexing };
std::string_view to_string(Phase p) noexcept;

struct Run {
    std::int64_t id = 0;
    std::int64_t uid = 0;
    std::int32_t revision = 0;
    std::int64_t generation = 0;
    std::string reconcile_id;
    std::string trigger;
    bool deep = false;
    RunPhase phase = RunPhase::sweeping;
    std::int64_t observation = 0;
    int sweeps = 1;
    std::optional<Key> cursor;
    std::int64_t seen = 0;
    DriftCounts found;          // of the sweep under way
    std::int64_t unkeyed = 0;
    std::int64_t dead_letters = 0;
    std::int64_t planned = 0;   // documents put into batches, all sweeps of the run
    std::int64_t planned_in_sweep = 0;
    std::string traceparent;
    bool feed_trusted = false;  // when it began
    std::int64_t bypassed = 0;  // documents the trusted feed should have named
    std::optional<std::string> source_mark;  // when the sweep under way began; none where refreshes are not noticed
};
Phase phase_of(const Run& run) noexcept;

Result<std::optional<Run>> read_run(Session& session, std::int64_t uid);
Run start_run(Transaction& tx, const Run& wanted);
// Writes cursor, counts and phase as they are in `run`.
void save_run(Transaction& tx, const Run& run);
// Begins another sweep of the same run under a new observation, counts from zero, the mark taken anew.
void restart_sweep(Transaction& tx, Run& run, bool deep);
// With what its batches have cost: those that are left are discarded afterwards.
void end_run(Transaction& tx, const Run& run, std::string_view pipeline, std::string_view result, std::string_view message);

// --- deletions seen by a sweep -------------------------------------------------------------------------------------------

void note_prune_candidates(Transaction& tx, const Run& run, const std::vector<DriftItem>& items);
// Forgets candidates that the observation just completed did not see again; returns how many remain and how many of those were
// seen by an earlier complete observation too.
struct PruneCandidates {
    std::int64_t all = 0;
    std::int64_t confirmed = 0;
    std::string plan;  // names the set of confirmed ones; another set is another plan
};
PruneCandidates settle_prune_candidates(Transaction& tx, const Run& run);
std::vector<std::int64_t> take_confirmed_candidates(Transaction& tx, const Run& run, int limit);
// The plan that names what is confirmed now.
std::string prune_plan(Transaction& tx, const Run& run);
void forget_prune_candidates(Transaction& tx, std::int64_t uid);

// --- status --------------------------------------------------------------------------------------------------------------

struct PruneWindow {
    std::optional<WallTime> start;
    std::int64_t pruned = 0;
};

struct StatusUpdate {
    std::int64_t uid = 0;
    std::int64_t observed_generation = 0;
    PipelineStatus status;          // counts, times, conditions (all of them; written only where they changed)
    std::optional<Totals> counted;  // else documents and chunks stay as they are told, and so does
    bool source_counted = false;    // source_documents: the feed moves them meanwhile
    std::int64_t unkeyed = 0;
    int failures = 0;
    PruneWindow window;
    std::optional<std::int64_t> previous_source_documents;
    std::int64_t provider_generation = 0;
    std::optional<std::string> observed_mark;
};
// Also records what changed as events. Returns the conditions that changed their status.
std::vector<Condition> write_status(Transaction& tx, const StatusUpdate& update, const std::string& reconcile_id);

// What only the loop reads of a status.
struct LoopState {
    int failures = 0;
    std::optional<WallTime> next_attempt;
    std::optional<std::string> last_handled_reconcile;
    std::optional<std::int64_t> previous_source_documents;
    PruneWindow window;
    std::int64_t provider_generation = 0;      // as of the last pass that ended
    std::optional<std::string> observed_mark;  // of the source, likewise
    std::optional<std::string> source_mark;    // now; none where refreshes are not noticed
    WallTime at{};                             // when this was read, by the server
};
Result<LoopState> read_loop_state(Session& session, std::int64_t uid);

// Written, dropped and embedded by the batches of a run so far.
struct RunProgress {
    std::int64_t batches = 0;
    std::int64_t written = 0;
    std::int64_t dropped = 0;
    std::int64_t removed = 0;
    std::int64_t chunks = 0;
    std::int64_t embedded = 0;
    std::int64_t tokens = 0;
};
Result<RunProgress> read_progress(Session& session, std::int64_t run_id);

// The error of a batch that ended the run it belongs to, if one did.
Result<std::optional<Error>> failed_batch(Session& session, std::int64_t run_id);

}  // namespace homeostat
