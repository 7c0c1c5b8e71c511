// Whether what was compared can be compared, and whether it stays as it is: the two things a stored version and a stored hash
// rest on.
//
// A version says that a row is as it was only within one cluster and for the same columns of the same table, and where it is the
// user's column, under one definition of the source; of one revision, which is not looked at while it is only kept. A hash says
// nothing where the source never reads the same twice (random(), now()). Throws StoreFailure inside, returns Result; everything
// belongs to the session or transaction that is given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/control/runs.hpp"
#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Whether the versions stored for this pipeline cannot be compared with what the source has now: then the run's sweep is made
// a deep one. Notes for the run what it begins under. `stored`: there are documents in the revision that it works on; where there
// are none, nothing is to be compared.
bool versions_outdated(Transaction& tx, const PipelineSpec& spec, const Run& run, VersionKind kind, bool stored);
// This run has ended: where it has compared contents, or is the first, versions can be compared from now on under what it began
// under.
void note_versions_hold(Transaction& tx, const Run& run);

// What documents are made of, as a hash for each key in their order: "" where there is no row.
Result<std::vector<std::string>> read_hashes(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys);
// Of these documents, those that this run has written.
Result<std::vector<bool>> written_by_run(Transaction& tx, const Revision& revision, std::int64_t run_id,
                                         const std::vector<std::int64_t>& documents);
// Of these keys, those that did not read the same twice when they were last looked at.
Result<std::vector<bool>> known_unsteady(Transaction& tx, std::int64_t uid, const std::vector<Key>& keys);

// Remembers the keys as unsteady, as seen by this run.
void note_unsteady(Transaction& tx, std::int64_t uid, std::int64_t run_id, const std::vector<Key>& keys);
struct Unsteady {
    std::int64_t documents = 0;
    std::string example;  // a key, its columns joined by commas
};
// Forgets those that this run, which is at its end, has not seen; what is left.
Unsteady settle_unsteady(Transaction& tx, std::int64_t uid, std::int64_t run_id);

}  // namespace homeostat
