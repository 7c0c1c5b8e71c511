// Observation: what differs between a source and the documents of a revision, slice by slice in key order.
//
// A slice is found with two or three set-based statements over the primary key's index; no text is read where versions agree.
// Everything here runs in a read-only snapshot of the caller's and writes nothing. An observation that fails is an Error, never
// an empty slice: unreadable is Unknown, not zero.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class DriftClass : std::uint8_t { missing, stale, moved, partial, invalid, orphaned, excess, touched };
std::string_view to_string(DriftClass c) noexcept;

using Key = std::vector<std::string>;  // one text per key column, in the type's own output form

struct DriftItem {
    DriftClass cls = DriftClass::missing;
    Key key;
    std::int64_t document_id = 0;  // 0 where there is no document row
};

struct SliceRequest {
    std::optional<Key> after;          // exclusive; absent = from the beginning
    std::int64_t limit = 20'000;       // source rows to look at
    std::int64_t seen = 0;             // source rows of earlier slices
    std::optional<std::int64_t> documents;  // declared count
    bool deep = false;
};

struct Slice {
    std::vector<DriftItem> items;      // in key order within each class
    std::optional<Key> last;           // of the source rows looked at
    std::int64_t source_rows = 0;
    std::int64_t document_rows = 0;    // of the revision, in the same range
    bool final = false;                // nothing follows: what lies beyond is in this slice too
};

// Fails with class invalid and code AmbiguousKey where two rows share a key.
Result<Slice> observe_slice(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRequest& request);

// Rows that cannot be documents because a key column is NULL.
Result<std::int64_t> count_unkeyed(Transaction& tx, const SourceShape& source);

// By counting, in statements of a bounded length: of each range of documents as it was when that was counted. Where the feed
// moved the status meanwhile it is done again; under a stream of edits a large table's count is off by what came in between.
struct Totals {
    std::int64_t documents = 0;
    std::int64_t chunks = 0;
    // What the status said in the snapshot of the last range: what was moved since then is not in the count.
    std::int64_t told_documents = 0;
    std::int64_t told_chunks = 0;
};
Result<Totals> count_stored(Session& session, const Revision& revision);
// By one statement of `tx`, which nobody may outdate before it ends. Throws StoreFailure.
Totals count_stored(Transaction& tx, const Revision& revision);
inline constexpr std::int64_t kCountedAtOnce = 200'000;  // documents; with more that takes too long for others to wait

// Of these keys, those whose current content is a dead letter; in the order given, true = dead.
Result<std::vector<bool>> dead_letters_among(Transaction& tx, const SourceShape& source, const Revision& revision,
                                             const std::vector<Key>& keys);

// Forgets dead letters whose document was edited or is gone.
Status settle_dead_letters(Transaction& tx, const SourceShape& source, const Revision& revision);

// The source has as many documents as are stored, and those that cannot be: what a sweep that has found no drift knows, whatever
// came and went behind its cursor. Written to the status.
void count_source_as_stored(Transaction& tx, const SourceShape& source, const Revision& revision);

// What healing these documents will take, from sampled lengths: used by plans only.
struct ContentSize {
    std::int64_t bytes = 0;
    std::int64_t documents = 0;
};
Result<ContentSize> content_size(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys);

// Chunks whose document row is gone (removed by hand): at most `limit` ids, found range by range as well.
Result<std::vector<std::int64_t>> stray_chunks(Session& session, const Revision& revision, std::size_t limit);

// Extension types need their own schema on the path for comparisons, and a policy that may choose must be let; call once at the
// start of a transaction that reads the source.
void use_operators(Transaction& tx, const SourceShape& source);

// Keys as one parameter per key column, for unnest($n::text[], ...).
void add_keys(Params& params, const std::vector<Key>& keys, std::size_t columns);

}  // namespace homeostat
