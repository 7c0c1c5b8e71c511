// Batches: durable work that any replica may claim.
//
// A batch is created by the planner under its lease, claimed with SKIP LOCKED under a fresh token, kept alive by heartbeats,
// and removed in the transaction that commits its result. Whoever does not know the current token cannot touch it. Attempts
// count failures only; hand-over, throttling and shutdown give a batch back as it was.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class BatchKind : std::uint8_t { heal, move, prune, stray };
std::string_view to_string(BatchKind k) noexcept;

struct PlannedBatch {
    BatchKind kind = BatchKind::heal;
    DriftClass cls = DriftClass::missing;
    std::int32_t priority = 0;
    std::vector<Key> keys;  // of documents; for stray: document ids as text; for prune the same, and keys where known
};

struct Batch {
    std::int64_t id = 0;
    std::int64_t uid = 0;
    std::int32_t revision = 0;
    std::int64_t generation = 0;
    std::int64_t epoch = 0;
    std::int64_t run_id = 0;
    BatchKind kind = BatchKind::heal;
    std::string cls;
    std::int32_t priority = 0;
    std::vector<Key> keys;
    std::int32_t attempts = 0;
    std::int32_t deaths = 0;  // of replicas that had only this one in flight
    std::int32_t marks = 0;   // of replicas that had others in flight too
    std::int64_t token = 0;
    std::string traceparent;
    bool fed = false;             // planned by the change feed, which needs no telling that it is done
    bool beside = false;  // of the served revision while the next one is built: `provider` is its own. For inserts only
    std::string provider;  // of the pipeline, by name, as it was declared when this was claimed
    std::int64_t provider_uid = 0;
    std::int64_t provider_generation = 0;
    std::int64_t tokens = 0;  // embedded for it under this claim
    std::int64_t wasted_tokens = 0;  // asked for, and not used
    bool budgeted = false;  // its claim reserves what it pays (budgets.hpp), and settles that when it ends
    std::vector<std::pair<std::int64_t, std::uint64_t>> paid;  // then: tokens under this claim, by the uid of whom
    std::int64_t saved_tokens = 0;  // not asked for under this claim, because a cache had the vectors
    // For how long its documents had been known to differ when it was planned: their age is the batch's.
    std::chrono::milliseconds waited{0};
};

void insert_batches(Transaction& tx, std::int64_t uid, std::int32_t revision, std::int64_t generation, std::int64_t epoch,
                    std::int64_t run_id, const std::string& traceparent, const std::vector<PlannedBatch>& batches);

struct Claimant {
    std::string replica;
    std::chrono::milliseconds ttl{60'000};
};
// The same for batches of one pipeline of which the claimant takes the first `limit` at once, without a claim of its own.
// `like` says whose they are: everything that they have in common. `take` is given those by the commit, once they have their
// numbers; not at all where there are no batches.
void insert_claimed(Transaction& tx, const Batch& like, const std::vector<PlannedBatch>& batches, const Claimant& claimant,
                    int limit, std::function<void(std::vector<Batch>)> take);

// Who is suspected of ending processes is tried alone, so that a death says something. What died with it alone is cut into this
// many parts, and so on; a single document is condemned when it has been alone in this many deaths.
inline constexpr std::size_t kSuspectParts = 8;
inline constexpr std::string_view kSuspectCode = "Suspect";  // of the error that cuts or condemns it
inline constexpr int kCondemned = 3;

// Claims up to `limit` batches that are ready, of pipelines that are not suspended or being deleted: either those under no
// suspicion, or those under it, which the caller runs alone. What needs one of the `blocked` providers is left: names, or
// one declaration of them, of which the next is not blocked (declaration_key of store/control/providers.hpp). Of a run whose
// sweep is complete and has planned fewer documents than `parallel_from`, one batch is claimed at a time, by whichever replica.
Result<std::vector<Batch>> claim_batches(Session& session, std::string_view replica, int limit, std::chrono::milliseconds ttl,
                                         bool suspects = false, const std::vector<std::string>& blocked = {},
                                         std::int64_t parallel_from = 0);

// Whether some under suspicion wait to be claimed.
Result<bool> suspects_wait(Session& session, const std::vector<std::string>& blocked);

// Extends the claims of a replica; returns the ids that are still its own under the token given for each.
Result<std::vector<std::int64_t>> heartbeat_batches(Session& session, const std::vector<std::int64_t>& ids,
                                                    const std::vector<std::int64_t>& tokens, std::chrono::milliseconds ttl);

// Locks batch, lease and pipeline for the rest of the transaction, whose commit then does not wait for the disk: were it lost in
// a crash, the batch would be there again. What comes next throws StoreFailure of class fenced where the token is no longer ours,
// the epoch or the generation moved on, or the pipeline is suspended or being deleted.
void fence_batch(Transaction& tx, const Batch& batch);

struct BatchResult {
    std::string outcome = "done";  // done, split, dead_letter, failed
    std::optional<Error> error;  // what ended it, where it failed
    std::int32_t written = 0;
    std::int32_t dropped = 0;
    std::int32_t removed = 0;
    std::int32_t chunks = 0;
    std::int32_t embedded = 0;
};
// The batch row, which fence_batch holds, goes to the history; the last statement before commit.
void finish_batch(Transaction& tx, const Batch& batch, std::string_view replica, const BatchResult& result);

// Puts parts of a claimed batch back as new batches of their own (bisecting, or documents that did not fit a budget).
void insert_rest(Transaction& tx, const Batch& batch, const std::vector<std::vector<Key>>& parts, std::int32_t attempts,
                 std::chrono::milliseconds delay, std::string_view error);

// What a claimed batch has superseded: a batch that has the chunks of those documents put away, some time later.
void insert_put_away(Transaction& tx, const Batch& batch, const std::vector<std::int64_t>& ids, std::chrono::milliseconds delay);

// Gives a claim back, with what it has cost: after a failure with one more attempt and a delay, or as it was.
Status release_batch(Session& session, const Batch& batch, bool counts_attempt, std::chrono::milliseconds delay,
                     std::string_view error);

// Whether the batch is still there under this token: the question after a commit whose outcome is unknown.
Result<bool> batch_exists(Session& session, const Batch& batch);

// Removes batches of a pipeline that were planned for another generation or revision, claimed or not: their claimants are fenced.
// Strays stay, of the same revision. Whoever discards begins a sweep of `revision` in the same transaction: it sees what they
// were to heal. Where another one is served no sweep sees that one, so what the change feed planned for it stays and is of the
// pipeline's generation from now on; but deletions that are not wanted any more.
void discard_outdated_batches(Transaction& tx, std::int64_t uid, std::int64_t generation, std::int32_t revision);
// Nothing is swept, because a plan waits for approval: what the change feed planned for what is served, under an earlier
// generation, is of this one from now on, and due.
void take_feed_batches_along(Transaction& tx, std::int64_t uid);
// In the transaction that has `revision` served: those of others go, but the few that are being written at this moment, whose
// tables nobody reads any more.
void discard_superseded_batches(Transaction& tx, std::int64_t uid, std::int32_t revision);
// Removes what this run planned, claimed or not; the change feed's batches are not its own.
void discard_run_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id);
// Takes back what this run planned to heal and nobody has claimed; returns how many batches that were.
std::int64_t withdraw_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id);
// A new owner takes over what its predecessor planned.
void adopt_batches(Transaction& tx, std::int64_t uid, std::int64_t epoch);

struct OpenBatches {
    std::int64_t batches = 0;
    std::int64_t documents = 0;
    std::int64_t failing = 0;  // with at least one attempt behind them
    std::string last_error;
    std::optional<std::chrono::milliseconds> next_in;  // until the earliest of those that wait, where none is ready
    bool of_others = false;  // some of the pipeline are of another epoch than `epoch`
};
// Of that run; the change feed's are not.
Result<OpenBatches> open_batches(Session& session, std::int64_t uid, std::int64_t epoch, std::int64_t run_id);

}  // namespace homeostat
