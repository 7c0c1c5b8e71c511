// The journal of a revision: what every write since has replaced, removed or inserted, numbered in the order of the writes; and
// the way back through it.
//
// A place in it is the number of an entry. It is exact only where it was read while nobody wrote (hold_writers): then each write
// is wholly before or after it. Why going back is exact: docs/internals/rollback.md. Statements throw StoreFailure unless they
// return a Result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// The last entry's number so far; 0 where there was none.
std::int64_t journal_end(Transaction& tx, const Revision& revision);

struct UndoCounts {
    std::int64_t restored = 0;      // documents that were changed since
    std::int64_t brought_back = 0;  // of these, removed since
    std::int64_t removed = 0;       // documents that have come since
};
// Sorts all that the journal has after `entry` by document, into homeostat.rollback_entry: what is undone in one step belongs to
// the same document, whatever ids it had. Reads the journal once.
UndoCounts plan_undo(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t entry);

// Where the next steps of the plan end, some `limit` entries each; none where nothing is left of it.
std::vector<std::int64_t> next_steps(Transaction& tx, std::int64_t rollback, int steps, int limit);
// The documents of the plan in (after, last] are what they were; what is undone is neither in the plan nor in the journal any
// more. Steps of other documents may be under way.
void undo_step(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t after, std::int64_t last);
// What is left of the plan, and of the journal after `entry`, once all is undone.
void end_undo(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t entry);

struct JournalLimits {
    int runs = 0;
    int weeks = 0;
    std::uint64_t bytes = 0;  // 0: no limit
    std::string text() const;  // "4 weeks, 100 runs, 10 GiB"
};
// A bounded piece of what may go, with the checkpoints that it is lost to. Whether there is more. Nothing where the pipeline is
// suspended: who goes back finds what he was promised.
bool trim_journal(Transaction& tx, const Revision& revision, const JournalLimits& limits);

}  // namespace homeostat
