// Stored chunks with their vectors, picked to be looked at again, and what is wrong with vectors by themselves. Reads only, but
// for distrust_run; in the caller's transaction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct SampledChunk {
    std::int64_t document_id = 0;
    std::int32_t number = 0;
    std::string context, text;  // as embedded, one before the other
    std::vector<float> vector;
};

// The numbers of a vector or of an array as the server writes it: "[0.1,2e-05]", "{0.1,NaN}".
std::vector<float> numbers_in(std::string_view text);

// Of documents that are picked at random by their ids, one chunk each; without those that have no vector. Fewer where there are
// few.
std::vector<SampledChunk> sample_chunks(Transaction& tx, const RevisionTables& tables, std::size_t n);
// Half of them of the documents that the run wrote first, half of those that it wrote last.
std::vector<SampledChunk> sample_run(Transaction& tx, const RevisionTables& tables, std::int64_t run_id, std::size_t n);

// Of chunks in pages picked at random.
struct VectorFaults {
    std::int64_t looked_at = 0;
    std::int64_t unsound = 0;   // none, zero, not finite, or of another width
    std::int64_t same = 0;      // whose vector is that of another text too
    std::int64_t constant = 0;  // whose numbers hardly differ from each other
};
VectorFaults look_for_faults(Transaction& tx, const RevisionTables& tables, std::uint32_t dimensions, std::int64_t most);

// What the run embedded is no vector of its text any more: it is found by nobody, and the next sweep finds those documents stale.
// Returns how many documents that are.
std::int64_t distrust_run(Transaction& tx, const RevisionTables& tables, std::int64_t run_id);

}  // namespace homeostat
