// Documents in and vectors out, a batch at a time: what `read` and `write` of the way through do in SQL.
//
// A write is one transaction of the caller's: fence first (store/batches.hpp), then write_documents, then the batch row goes.
// Compare-and-set: a document whose row another batch has written since it was read, or whose source row has changed since
// (where its version tells), is dropped from the write and left to the next observation. So an older read never overwrites a
// newer vector. What is replaced goes to the journal first, which is also where unchanged chunks get their vectors back from.
//
// Where the feed has many documents replaced whole and no run is under way, each gets another id instead: its old chunks belong
// to no document from then on, so that nobody sees them, and remove_strays puts them into the journal when there is time for
// that. Copying them costs as much as writing the new ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/drift.hpp"
#include "store/relation.hpp"
#include "store/revisions.hpp"
#include "store/session.hpp"

namespace homeostat {

struct StoredChunk {
    std::int32_t number = 0;
    std::string hash;   // raw bytes
    bool sound = false; // its vector can be searched
};

// A document as one statement saw it: source row and document row of the same snapshot.
struct ReadDocument {
    Key key;
    bool in_source = false;
    bool deferred = false;            // left out because the batch's budget of bytes was used up; read it in another batch
    std::int64_t bytes = 0;           // of its content, also where it was left out
    std::string content;
    std::string content_hash;         // raw bytes
    std::optional<std::string> version;
    std::vector<std::optional<std::string>> metadata;
    std::int64_t document_id = 0;     // of the existing row, or freshly drawn for a new one
    std::optional<std::int64_t> write_token;  // of the existing row; absent = there is none
    bool same_content = false;        // the existing row has this content hash
    std::vector<StoredChunk> chunks;  // of the existing row, by number
};

// In the order of `keys`; a key that is in neither source nor documents is in_source = false. `budget` bounds the bytes of
// content (the first document comes however large it is, if `first_anyway`); of what is left out only key and length are told.
Result<std::vector<ReadDocument>> read_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                                 const std::vector<Key>& keys, std::int64_t budget, bool first_anyway = true);

struct WriteChunk {
    std::size_t document = 0;          // index into WriteRequest.documents
    std::int32_t number = 0;
    std::int64_t start = 0;
    std::int64_t end = 0;
    std::string_view hash;             // raw bytes
    std::optional<std::string_view> context;
    std::string_view text;
    const float* vector = nullptr;     // null: kept as it stands, or taken back from the journal by hash
    bool kept = false;                 // the stored row of this number stays; only its offsets may move
};

struct WriteDocument {
    const ReadDocument* read = nullptr;
    std::int32_t chunks = 0;
};

struct WriteRequest {
    std::int64_t run_id = 0;
    std::int64_t batch_id = 0;
    std::int64_t token = 0;
    std::vector<WriteDocument> documents;
    std::vector<WriteChunk> chunks;    // in order of document, number
    bool fed = false;                  // by the change feed, of which no sweep looks at what comes of it
};

// By how much there are more documents and chunks than before, or fewer.
struct StoredChange {
    std::int64_t documents = 0;
    std::int64_t chunks = 0;
    bool any() const noexcept { return documents != 0 || chunks != 0; }
};

struct WriteOutcome {
    std::int32_t written = 0;
    std::int32_t dropped = 0;  // healed by another batch, or changed since they were read
    std::int32_t chunks = 0;
    StoredChange change;
    std::vector<std::int64_t> superseded;  // ids of which only chunks are left, which are the caller's to have put away
    std::vector<std::size_t> contested;  // of the request's documents, if fed: dropped as another batch had written them, maybe
                                         // from an older row; to be read again
};

// The chunks go with what comes next in the transaction.
Result<WriteOutcome> write_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const VectorExtension& vectors, const WriteRequest& request);

// Brings metadata and source version of unchanged documents up to date; reads the content hash again so that a document that
// changed meanwhile is left alone. Returns how many rows changed.
Result<std::int32_t> move_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                    std::int64_t batch_id, std::int64_t token, const std::vector<Key>& keys);

// Removes documents: orphaned ones only where their source row is still absent, excess ones (declared count given) only where
// they still lie beyond it. They are named by id, or by id and key: then the key tells, as whoever heals a document meanwhile may
// give it another id. Returns what went, as negative numbers.
Result<StoredChange> prune_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                     std::int64_t token, std::optional<std::int64_t> documents, const std::vector<Key>& named);

// Removes chunks whose document row is gone.
Result<std::int32_t> remove_strays(Transaction& tx, const Revision& revision, std::int64_t run_id, std::int64_t token,
                                   const std::vector<std::int64_t>& ids);

}  // namespace homeostat
