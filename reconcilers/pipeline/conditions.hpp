// The conditions of a pipeline from what a pass has seen. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/resource.hpp"
#include "reconcilers/factory/prune.hpp"
#include "reconcilers/gateway/lane.hpp"
#include "store/control/budgets.hpp"
#include "store/control/runs.hpp"
#include "store/control/steadiness.hpp"

namespace homeostat {

enum class FeedHealth : std::uint8_t {
    untold,
    off,
    pending,
    no_right,
    disabled,
    failing,
    overrun,
    subscribed,
    foreign,
    filtered,
    active
};
struct FeedSeen {
    FeedHealth health = FeedHealth::untold;
    std::string message;
};

struct Seen {
    std::int64_t generation = 0;
    bool suspended = false;
    std::string suspend_reason;
    std::optional<std::string> rolled_back;      // by whom, to what and why; "" where it was and is not any more
    bool rolling_back = false;                   // at this moment
    bool working = false;                        // a run is under way
    bool first = false;                          // and none has ended before
    bool beside = false;                         // on the next revision, while another is searched
    std::string not_followed;                    // why edits do not reach that one meanwhile; "" where they do
    std::optional<std::string> pinned;           // which revision is, why, and how to go on; "" where none is any more
    bool pinned_apart = false;                   // and it has other vectors than are declared
    Phase phase = Phase::idle;
    std::string progress;                        // what it is doing, for Reconciling
    std::optional<Error> failure;                // the pass or its batches failed
    std::optional<ProviderTrouble> provider_trouble;  // by what its channel has heard, whoever asked
    bool provider_known = true;                  // false: what was told of it stays
    Waiting waiting;
    bool observed = true;                        // false: the source could not be read
    std::optional<std::int64_t> source_documents;
    std::optional<std::int64_t> declared;
    std::int64_t documents = 0;                  // stored
    DriftCounts drift;                           // left, as the last complete sweep found it
    std::int64_t healed = 0;                     // of it, by the run under way, which has not verified it yet
    std::int64_t dead_letters = 0;
    std::int64_t unkeyed = 0;
    double completeness = 1.0;
    PruneDecision prune;
    FeedSeen feed;
    std::int64_t bypassed = 0;                   // documents that the feed should have named
    std::optional<std::string> filtered;         // the relation of which an accepted policy hides rows; "" where none does
    std::optional<Unsteady> unsteady;            // as of a complete observation
    std::optional<std::string> cut;  // what of chunks the model does not read, "" where it reads all; none: not known
    std::string waiting_for;  // a pipeline this one depends on
    std::string lock_wait;  // what waits for a lock of somebody's, and whose it is
    std::optional<BudgetHold> budget, plan;  // what it costs holds it back; none: nothing is declared, nor told
};

inline constexpr std::string_view kRolledBack = "RolledBack";  // the type of a condition, and a reason
// Type and reason, while a revision is served whatever is declared.
inline constexpr std::string_view kRevisionPinned = "RevisionPinned";
inline constexpr std::string_view kWaitingForLock = "WaitingForLock";

std::vector<Condition> conditions_of(const Seen& seen);
// Of the stored conditions, those that are not true any more, as they should be: what waits, dead letters and the provider change
// them between passes. What only a pass can judge (failures, the source, deletions, triggers) is left as it is. Those that only
// differ in their figures are among them at rest, or where `figures` asks for them.
std::vector<Condition> corrections(const std::vector<Condition>& stored, const Seen& seen, bool figures = false);
// "37 documents wait, the oldest for 12 s: why"; "" where nothing does.
std::string waiting_text(const Waiting& waiting);
// Of the change feed alone; none where nothing is known of it.
std::vector<Condition> feed_conditions(const Seen& seen);

}  // namespace homeostat
