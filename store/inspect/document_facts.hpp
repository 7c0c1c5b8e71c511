// Everything the database knows of one document, read in one snapshot: what `explain` reasons from. Writes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/control/batches.hpp"
#include "store/control/dead_letters.hpp"
#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct DocumentFacts {
    Key key;  // in the types' own output form

    // of the source
    std::int64_t source_rows = 0;      // with this key; more than one names no document
    bool beyond_count = false;         // the declared count ends before it
    std::int64_t content_bytes = 0;
    std::optional<std::string> version;

    // of the revision; only where document_id is not 0
    std::int64_t document_id = 0;
    bool same_version = false;
    bool same_content = false;
    bool same_metadata = false;
    std::string content_hash;          // of the stored row, hex
    std::int32_t chunk_count = 0;      // as it should be
    std::int64_t chunks = 0;           // as it is
    std::int64_t sound_chunks = 0;     // with a vector that can be searched
    bool chunks_intact = false;        // numbers and hashes as they were written
    std::string written_at;
    std::int64_t run_id = 0;
    std::int64_t batch_id = 0;
    bool prune_candidate = false;
    bool prune_confirmed = false;      // two complete observations agree

    // of the work under way
    struct OpenBatch {
        std::int64_t id = 0;
        std::string kind;
        std::string cls;
        std::int32_t attempts = 0;
        std::string claimed_by;        // "" = nobody yet
        std::string last_error;
        std::string next_try;          // "" = now
    };
    std::optional<OpenBatch> batch;
    std::optional<DeadLetter> dead_letter;
    bool dead_letter_current = false;  // it is about the content as it is now
};

// Fails with class invalid where a part of the key is no value of its column's type.
Result<DocumentFacts> read_document_facts(Transaction& tx, const PipelineSpec& spec, const SourceShape& source,
                                          const Revision& revision, const Key& key);

// Whether the document's key is in the document table of another revision with the same key columns.
Result<bool> holds_document(Transaction& tx, const SourceShape& source, const Revision& revision, const Key& key);

}  // namespace homeostat
