// The key columns of a revision's documents, kept in the types that the source's own have: a source whose key was widened would
// otherwise hold keys that its documents cannot.
//
// Everything here is for one session at a time, throws StoreFailure inside and returns Result.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// The first key column that is stored in another type or collation than the source has, as a sentence; nothing where all agree.
Result<std::optional<std::string>> key_type_differs(Transaction& tx, const Revision& revision, const SourceShape& source);

// Statements that give back what was granted on the view. Throws StoreFailure.
std::vector<std::string> view_grants(Transaction& tx, const std::string& view);

enum class KeysAligned : std::uint8_t {
    as_they_were,  // nothing to do
    altered,       // in the given transaction; the served view may be gone and is the caller's to make again
    impossible,    // a stored key is no value of the new type: another revision has to be made
};
struct KeyAlignment {
    KeysAligned done = KeysAligned::as_they_were;
    std::vector<std::string> grants;  // statements that give back what was granted on the view
};
// Rewrites the revision's document table and journal under an exclusive lock. A view that others depend on is left, and the error
// (class conflict) says so.
Result<KeyAlignment> align_keys(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source);

}  // namespace homeostat
