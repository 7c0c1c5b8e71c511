// The change feed's far end: what the triggers named, taken out in the transaction that makes the batches.
//
// A change names a key and nothing else; what to do follows from reading the source and the stored document again under that
// key, so that a change seen twice, or late, or rolled into another, does no harm. Whatever cannot be answered by key (a
// truncation, a view without a mapping) takes the feed's trust away, and a sweep restores it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/data/vectors.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct FeedRow {
    bool kept = false;      // there is one
    std::int64_t run_id = 0;
    std::string fingerprint;
    bool trusted = false;
    std::int64_t pruned_in_window = 0;  // within the hour
    bool full = false;       // what changes is not named, until it is opened
    bool unsettled = false;  // it is named again, but not what writers do who began before
};
Result<FeedRow> read_feed(Session& session, std::int64_t uid);
// Makes the row where there is none. A fingerprint other than the last takes the trust away; `trust` gives it, where everything
// is named. Whether it is trusted now.
bool keep_feed(Transaction& tx, std::int64_t uid, const std::string& fingerprint, bool trust);
// What was not named before this run began is healed by it. The feed is not trusted for that: a sweep of `run` does it.
void close_gap(Transaction& tx, std::int64_t uid, std::int64_t run_id);
// The run that closed a gap has ended well: a later one that closes none is as old as itself.
void forget_closed_gap(Transaction& tx, std::int64_t uid);
// Something is not named, and has not been for `age`.
void distrust_feed(Transaction& tx, std::int64_t uid, std::chrono::milliseconds age);
// A batch of that revision has failed for good: where the feed planned it, a sweep must find again what it was to heal. Beside
// the next revision none does: then the served one has a gap, and nothing else changes.
void feed_batch_failed(Transaction& tx, std::int64_t uid, std::int64_t run_id, std::int32_t revision);
// While the next revision is built, something has not reached the served one, and nobody will see to it before the next one takes
// over (or a run goes back to it); it has not for `age`.
void note_served_gap(Transaction& tx, std::int64_t uid, std::chrono::milliseconds age);
// The same where the last run over what is served now has failed: what it had found is not known to be healed.
void note_served_unproven(Transaction& tx, std::int64_t uid);
// Whether it has none, and that it has none all the same: what made the feed incomplete concerns the next revision alone.
bool served_is_whole(Transaction& tx, std::int64_t uid);
void keep_served_whole(Transaction& tx, std::int64_t uid);
// A run begins that sweeps what is served: that gap is closed by it, as far as the feed is trusted.
void close_served_gap(Transaction& tx, std::int64_t uid);
// A revision that was retired is served again, in this transaction and not yet: it lacks what changed since then.
void note_retired_gap(Transaction& tx, std::int64_t uid, std::int32_t revision);
// Another revision is served from here on: it has the gap that the feed has.
void pass_served_gap_on(Transaction& tx, std::int64_t uid);

// What a drain must know of its pipeline, read in its own transaction.
struct FeedGate {
    bool kept = false;  // there is a feed; all else says nothing where there is none
    std::int64_t generation = 0;
    std::int32_t revision = 0;  // that is worked on
    std::int32_t served = 0;  // where that is another one
    bool closed = false;  // nothing may be planned now
    std::int64_t run_id = 0;
    bool sweeping = false;  // a run is under way, which counts for itself
    std::int64_t documents = 0;
    std::int64_t source_documents = 0;
    std::int64_t pruned_in_window = 0;
    std::string provider;  // as it is declared now
    std::int64_t provider_uid = 0;
    std::int64_t provider_generation = 0;
};
// Holds the lease as hold_lease does, and the transaction is one that does not wait for the disk.
FeedGate feed_gate(Transaction& tx, std::int64_t uid, std::int64_t epoch);
// The same with what comes next in the transaction, which fills `gate` in; it must live until then.
void feed_gate(Transaction& tx, std::int64_t uid, std::int64_t epoch, FeedGate& gate);
void note_feed_prunes(Transaction& tx, std::int64_t uid, std::int64_t documents);

// The first who changes the source after this has committed sends a notification. Returns the point in the server's transactions
// from which on that holds for all; nothing where the server allows two-phase commit, which notifications would break.
Result<std::optional<std::int64_t>> let_feed_sleep(Session& session, std::int64_t uid);
// In the transaction that takes what was there to wake for.
void wake_feed(Transaction& tx, std::int64_t uid);
// Whether every transaction that began before that point has ended.
Result<bool> feed_settled(Session& session, std::int64_t point);

// Makes room of what was taken: each look walks over it.
Status tidy_changes(Session& session, std::int64_t uid);

struct ChangesSeen {
    bool any = false;  // to take
    bool full = false;  // some may have been left out
    bool shut = false;  // and that is noted; a writer who had found room before may fill it again when it has been opened
    bool asleep = false;  // whoever names something calls
    std::int64_t named = 0;  // so far, in all
    std::int64_t room = 0;  // for more
};
Result<ChangesSeen> look_at_changes(Session& session, std::int64_t uid);
// Feeds that are full and not shut: who filled one called, and was perhaps undone with his call. One statement, for all there
// are.
Result<std::vector<std::int64_t>> full_feeds(Session& session);

// Rows that were inserted, updated or deleted so far in the tables whose changes the feed is told of, as PostgreSQL's statistics
// have them: a second late, and 0 where track_counts is off.
Result<std::int64_t> rows_changed(Session& session, std::int64_t uid);

// Room for as many changes as are worth naming: for others reading all of the source costs less, and finds them as well. Less
// what waits to be healed. A feed that is full stays so.
struct RoomMade {
    std::int64_t worth = 0;  // naming
    bool less = false;  // was made, as some wait
};
Result<RoomMade> make_room(Session& session, std::int64_t uid);
// Sequences are set past all transactions, so a full feed is opened in three steps, and whoever finds it after one or two of them
// begins with the first. Remembered as full, it is not trusted;
void shut_feed(Transaction& tx, std::int64_t uid);
// what changes is named again;
Status open_feed(Session& session, std::int64_t uid);
// and who may have found it full has a smaller number than this transaction, which must have begun after that: when all of them
// have ended, it may be trusted.
void note_opened(Transaction& tx, std::int64_t uid);

struct Changes {
    std::int64_t rows = 0;  // taken out of the feed
    std::vector<DriftItem> items;  // missing, stale (its version differs), orphaned; none where nothing is to be done
    std::vector<Key> unborn;  // gone from the source, and not stored: a heal under way may still bring them
    std::vector<Key> named;  // all keys that were taken, each once
    std::int64_t inserted = 0;  // rows of the source
    std::int64_t deleted = 0;
    bool sweep = false;  // something changed that has no key
    std::chrono::milliseconds oldest{0};  // age of the oldest change taken
};
// At most `limit` changes, each key once, compared with what is there now.
Result<Changes> take_changes(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision,
                             std::int64_t limit);
// What is to be done about these keys in another revision. Reads the source anew: who calls this after take_changes sees no older
// version of a row than the one that was named.
Result<Changes> compare_changes(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision,
                                const std::vector<Key>& keys);

// Of these keys, those that the feed knows of already: named and not taken yet (where it `moves`), or in a batch of its own that
// is open. In the order given, in the snapshot of `tx`.
Result<std::vector<bool>> known_to_feed(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                        const std::vector<DriftItem>& items, bool moves = true);
// How many of these keys, given as text, `served` has documents of. Where its keys are of other types than `next` has them, keys
// are compared as text; where there are more or fewer columns, none is the same.
std::int64_t served_among(Transaction& tx, const SourceShape& source, const Revision& served, const Revision& next,
                          const std::vector<Key>& keys);
// Of the claimed heals of run `run_id` in the snapshot of `tx`: keys whose row is gone and whose document is not there yet, and
// that no deletion of that run names. Their documents may come to be, of rows that were read before they went.
std::vector<Key> keys_coming_too_late(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id);
// Forgets what the feed has named and planned (but what is claimed): a sweep that begins after this sees it. Until one has ended
// the feed has a gap.
void take_over_changes(Transaction& tx, std::int64_t uid, std::int64_t run_id);

// What of these keys is named and not taken yet, forgotten: how many of each. Right only where the caller finds afterwards, in
// the same transaction, that the source has none of them, and leaves nothing stored of them: then there is nothing to heal.
std::vector<std::int64_t> forget_named(Transaction& tx, std::int64_t uid, const SourceShape& source,
                                       const std::vector<Key>& keys);

// Of these keys, those that will be stored by a heal under way, or are by now.
Result<std::vector<Key>> coming_to_be(Transaction& tx, const SourceShape& source, const Revision& revision,
                                      const std::vector<Key>& keys);

// What a batch of the feed wrote, in its transaction; the row that says it is locked from here to the commit. The source has as
// many documents more or fewer: a sweep counts it at its end, and between two it is what is stored that tells. Of a revision that
// is not served nothing is told.
void move_stored(Transaction& tx, std::int64_t uid, std::int32_t revision, const StoredChange& change);

}  // namespace homeostat
