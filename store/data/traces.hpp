// Every trace of some documents in the tables of one revision: found by their keys, and taken away without a copy. What a
// document is, its chunks, and what the journal holds of it, also under ids that it had before.
//
// The order is find, take what is stored, take what the journal holds. The journal goes last, because it alone knows the ids that
// a document had before: whoever is killed in between finds the rest again. Statements throw StoreFailure; a Transaction belongs
// to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Whether its documents have the key columns that `source` has: only then they can be found by these keys.
bool names_documents_alike(const Revision& revision, const SourceShape& source);

struct Trace {
    std::size_t key = 0;  // index into the keys asked for
    std::int64_t document_id = 0;
};
// Ids that these documents have or had. Reads the whole journal. None where the revision's tables are not there.
std::vector<Trace> find_traces(Transaction& tx, const SourceShape& source, const Revision& revision,
                               const std::vector<Key>& keys);

// Rows under these ids, of each key by table (as p1_r2_chunk): every table of the revision is named, with 0 where it has none.
std::vector<std::map<std::string, std::int64_t>> count_traces(Transaction& tx, const Revision& revision,
                                                              const std::vector<Trace>& traces, std::size_t keys);

// What was taken of each key, by table (as p1_r2_chunk), and what it said.
struct Taken {
    explicit Taken(std::size_t keys) : rows(keys), words(keys) {}
    std::vector<std::map<std::string, std::int64_t>> rows;
    std::vector<std::vector<std::string>> words;  // how each text begins, where that is long enough to be told from others
    std::vector<std::string> hashes;  // of the texts, hexadecimal
    std::int64_t documents = 0;
    std::int64_t chunks = 0;
};
// Documents and chunks. The caller holds the pipeline's row, so that nobody writes for it meanwhile.
void take_stored(Transaction& tx, const Revision& revision, const std::vector<Trace>& traces, Taken& taken);
void take_journaled(Transaction& tx, const Revision& revision, const std::vector<Trace>& traces, Taken& taken);

// The keys in their types' own output form. StoreFailure of an SQLSTATE 22… where one is no value of its type.
std::vector<Key> canonical_keys(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys);

}  // namespace homeostat
