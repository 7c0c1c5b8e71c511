// A range of keys of a source that the reader's login reads, compared with its documents: by digests of both sides first, row by
// row only where those differ.
//
// Both are read in one snapshot. Keys and versions are compared by their text, so it is for types whose equal
// values have equal texts (comparable_apart). What equal digests promise, and what whoever owns the source could make of them, is
// in docs/internals/sweeps-read-apart.md. Throws StoreFailure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

bool comparable_apart(const SourceShape& source);

struct SliceRange {
    std::string name;  // of the statements over it: the same for the same conditions
    std::string source;  // a condition on s
    Params of_source;  // with these parameters
    std::string documents;  // a condition on d
    Params of_documents;
};

// Asked of our own session.
struct SliceOutset {
    bool stored = true;  // there may be documents in the range: where there are none, no digest is worth its making
    std::int64_t seed = 0;  // of the hash; drawn anew for each slice
};
SliceOutset slice_outset(Transaction& tx, const Revision& revision, const std::string& name, const std::string& documents,
                         const Params& of_documents);

// In key order each.
struct SliceDrift {
    std::int64_t source_rows = 0;
    std::int64_t document_rows = 0;
    std::vector<Key> missing;
    std::vector<DriftItem> changed;  // another version; which class that is, their contents say
    std::vector<DriftItem> gone;
};
SliceDrift compare_apart(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRange& range,
                         const SliceOutset& outset);

}  // namespace homeostat
