// Documents in and vectors out, a batch at a time: what `read` and `write` of the way through do in SQL.
//
// A write is one transaction of the caller's: fence first (store/control/batches.hpp), then write_documents, then the batch row
// goes. Compare-and-set: a document whose row another batch has written or removed since it was read is dropped from the write,
// and is the caller's to have read again in the same transaction. So an older read never overwrites a newer vector, and no drop
// is silent. A write never looks at the source: it stores the version that was read, and whatever moved on since is named by the
// change feed or differs in the next sweep. What is replaced goes to the journal first, which is also where unchanged chunks get
// their vectors back from.
//
// Where the feed has many documents replaced whole and no run is under way, each gets another id instead: its old chunks belong
// to no document from then on, so that nobody sees them, and remove_strays puts them into the journal when there is time for
// that. Copying them costs as much as writing the new ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

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
    std::string content;              // its text
    std::string context;              // put before each of its chunks
    std::string content_hash;         // raw bytes, of both
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

// The hash (raw bytes) of each document's content, also of one that cannot be read; none where it is not in the source.
Result<std::vector<std::optional<std::string>>> content_hashes(Transaction& tx, const SourceShape& source,
                                                               const Revision& revision, const std::vector<Key>& keys);

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
    bool fed = false;                  // planned by the change feed
};

// By how much there are more documents and chunks than before, or fewer.
struct StoredChange {
    std::int64_t documents = 0;
    std::int64_t chunks = 0;
    bool any() const noexcept { return documents != 0 || chunks != 0; }
};

struct WriteOutcome {
    std::int32_t written = 0;
    std::int32_t dropped = 0;  // written or removed by another batch since they were read
    std::int32_t chunks = 0;
    StoredChange change;
    std::vector<std::int64_t> superseded;  // ids of which only chunks are left, which are the caller's to have put away
    std::vector<std::size_t> contested;  // of the request's documents: those that were dropped, which are to be read again
};

// The chunks go with what comes next in the transaction.
Result<WriteOutcome> write_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const VectorExtension& vectors, const WriteRequest& request);

// What a batch that embeds nothing did, and which of its keys it had to leave: they are to be looked at again, by a batch that is
// written in the same transaction.
struct ChangeOutcome {
    std::int32_t changed = 0;
    std::vector<Key> contested;
};

// Brings metadata and source version of unchanged documents up to date; reads the content hash again so that a document that
// changed meanwhile is left alone, and leaves what another batch has written since.
Result<ChangeOutcome> move_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                     std::int64_t batch_id, std::int64_t token, const std::vector<Key>& keys);

struct PruneRequest {
    std::int64_t run_id = 0;
    std::int64_t token = 0;
    std::optional<std::int64_t> documents;  // declared count
    const std::vector<Key>& named;  // by id, or by id and key: then the key tells, as a heal may have given it another id
};
struct PruneOutcome {
    StoredChange change;  // negative numbers
    std::vector<Key> contested;  // as in `named`
    std::vector<Key> removed;  // keys of the documents
};
// Removes documents: orphaned ones only where their source row is still absent, excess ones (declared count given) only where
// they still lie beyond it. A key without a document that a heal under way may have read is contested: its document comes later.
Result<PruneOutcome> prune_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const PruneRequest& request);

// Removes chunks whose document row is gone.
Result<std::int32_t> remove_strays(Transaction& tx, const Revision& revision, std::int64_t run_id, std::int64_t token,
                                   const std::vector<std::int64_t>& ids);

}  // namespace homeostat
