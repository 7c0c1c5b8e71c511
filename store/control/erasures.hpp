// Documents that must be forgotten (table homeostat.erasure): what is asked for, what the controller says of it, and what it
// takes out of the tables of this schema. Statements throw StoreFailure unless they return a Result.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/control/batches.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ErasureRequest {
    std::int64_t id = 0;
    Key key;
};
// Those that wait, oldest first.
Result<std::vector<ErasureRequest>> read_erasure_requests(Session& session, std::int64_t uid, int limit);

// Of a pipeline that erases what leaves its source.
void request_erasures(Transaction& tx, const std::string& pipeline, const std::vector<Key>& keys);

using RowCounts = std::map<std::string, std::int64_t>;  // by table

// Ended without an erasure; the key goes from the row.
void refuse_erasure(Transaction& tx, std::int64_t id, std::string_view why);
// What it waits for.
void tell_erasure(Transaction& tx, std::int64_t id, std::string_view why);
// Rows that were taken away, beside those of earlier calls.
void add_erased(Transaction& tx, std::int64_t id, const RowCounts& found);
// The receipt: `looked` has every table that was looked in, with what is left there.
void end_erasure(Transaction& tx, std::int64_t id, const Key& key, const RowCounts& looked);

// What people and the controller were told of a document: dead letters, and messages that quote its text or its key. `words`: how
// its texts begin. What it took, by table.
RowCounts erase_told(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::string>& words);
// How many there are, by table: every table is in it.
RowCounts count_told(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::string>& words);

// Takes the key, and the ids that its document had, out of batches that are open. Who has claimed such a batch writes what else
// it was to heal, and nothing of this key (kKeysTaken); a batch that has nothing else goes. Of a claimant of an earlier schema
// the rest is in a batch of its own from then on, and it is fenced. How many held it.
std::int64_t erase_planned(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::int64_t>& ids);
std::int64_t count_planned(Transaction& tx, std::int64_t uid, const Key& key);

// Vectors kept by the hashes (hexadecimal) of erased texts, for who declared the pipeline: how many are kept for others would
// tell that they have such a text. Within the next hour none of these hashes is kept again.
std::int64_t erase_kept(Transaction& tx, std::int64_t uid, const std::vector<std::string>& hashes);
std::int64_t count_kept(Transaction& tx, std::int64_t uid, const std::vector<std::string>& hashes);

// Grows with each erasure that has ended.
Result<std::int64_t> last_erased(Session& session);

// For people: a request for one document, and what became of it.
struct ErasureReceipt {
    std::int64_t id = 0;
    std::string pipeline;
    std::string key_hash;
    std::string state;  // requested, erased, refused
    std::string message;
    RowCounts found;
    RowCounts remaining;
    std::string requested_by;
    WallTime requested_at{};
    std::optional<WallTime> ended_at;
};
Result<std::int64_t> request_erasure(Session& session, const std::string& pipeline, const Key& key);
Result<std::vector<ErasureReceipt>> read_erasures(Session& session, const std::string& pipeline, std::optional<std::int64_t> id,
                                                  int limit);  // newest first

}  // namespace homeostat
