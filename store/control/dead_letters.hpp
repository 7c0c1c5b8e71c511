// Dead letters, documents that were refused: written by batches, removed when they are healed, and listed or tried again for a
// person. (Those that a sweep finds settled: drift_keys.hpp.) What a person sees leaves out pipelines that are being deleted.
//
// Session rules as everywhere in the store: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct DeadLetter {
    Key key;
    std::string content_hash;  // raw bytes
    std::string cls;
    std::string strategy;
    std::string message;
    std::int32_t attempts = 0;
    std::string trace_id;
};
void add_dead_letters(Transaction& tx, std::int64_t uid, std::int32_t revision, const std::vector<DeadLetter>& letters);
// Those of documents that are healed now, or gone, by key; costs next to nothing where the pipeline has none.
void remove_dead_letters(Transaction& tx, std::int64_t uid, std::int32_t revision, const std::vector<Key>& keys);
// The status says how many there are, in the transaction that `added` some or removed them; the status row is locked from here to
// the commit where there are any.
void recount_dead_letters(Transaction& tx, std::int64_t uid, bool added);
Result<std::vector<DeadLetter>> read_dead_letters(Session& session, std::int64_t uid, int limit);
Result<std::int64_t> count_dead_letters(Session& session, std::int64_t uid);

// All that are named here must hold; nothing named is every letter.
struct DeadLetterFilter {
    std::optional<std::string> pipeline;
    std::optional<Key> key;  // all its columns, as they are listed
    std::optional<std::string> cls;
};

struct DeadLetterLine {
    std::string pipeline;
    DeadLetter letter;  // without the content's hash
    WallTime since{};
};
struct DeadLetterList {
    std::vector<DeadLetterLine> lines;  // by pipeline, the latest first
    std::int64_t total = 0;  // of which `lines` are the first
};
Result<DeadLetterList> list_dead_letters(Session& session, const DeadLetterFilter& filter, std::int64_t limit);

// What the request for such a pass begins with. The pass finds documents that no feed should have named, as nobody edited them.
inline constexpr std::string_view kRetriesRefused = "dead-letters/";

// Removes the letters and asks for a pass over each pipeline that had any, in one statement; the next sweep finds their documents
// missing or stale again and plans them. Returns how many went, by pipeline in the order of names.
Result<std::vector<std::pair<std::string, std::int64_t>>> retry_dead_letters(Session& session, const DeadLetterFilter& filter);

}  // namespace homeostat
