// Revisions: the tables that hold documents, chunks and vectors of one (model, dimensions, chunker, template), and the view that
// serves one of them. Tables of revision N of pipeline P are homeostat_data.p<P>_r<N>_document, _chunk and _journal.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/relation.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// What decides the vectors. Two equal settings share a revision; any difference makes the next one.
struct RevisionSettings {
    std::string provider;
    std::string model;
    std::uint32_t dimensions = 0;
    VectorType vector_type = VectorType::vector;
    std::string chunker;
    std::uint32_t chunk_size = 0;
    std::uint32_t chunk_overlap = 0;
    std::string chunk_unit;
    std::optional<std::string> chunk_context;  // what stands before every chunk
    std::vector<std::string> key;
    std::vector<std::string> content;
    std::optional<std::string> content_template;
    std::string document_prefix;
    std::string request = "{}";        // members of the request that may decide the vectors, a JSON object
    std::string query_request = "{}";  // as it was declared beside that; decides no vector that is stored

    // Of `spec` with the provider's defaults filled in. The provider's name is not part of what decides: two providers may serve
    // one model, and moving between them re-embeds nothing.
    static RevisionSettings of(const PipelineSpec& spec, const ProviderSpec& provider);
    std::string to_json() const;
    static Result<RevisionSettings> from_json(std::string_view json);
    bool same_vectors(const RevisionSettings& other) const;
};

// What `after` has otherwise than `before`, for people: "model a -> b, dimensions 16 -> 32".
std::string what_differs(const RevisionSettings& before, const RevisionSettings& after);

struct RevisionTables {
    std::int64_t uid = 0;
    std::int32_t revision = 0;
    std::string document;  // quoted, schema-qualified
    std::string chunk;
    std::string journal;
    std::string prefix;  // p<P>_r<N>: for names of statements and indexes
    std::vector<std::string> metadata_slots;  // name of the source column held in meta_<i+1>; "" = retired slot

    static RevisionTables of(std::int64_t uid, std::int32_t revision);
    // meta_<i> for a source column; "" where it is not held.
    std::string metadata_column(std::string_view name) const;
};

struct Revision {
    std::int32_t number = 0;
    std::string state;  // building, served, retired
    RevisionSettings settings;
    RevisionTables tables;
};

// The newest of them that holds what is wanted; null where it is still to be made. Going back to settings that a kept revision
// has goes back to that revision: nothing is embedded twice.
const Revision* revision_holding(const std::vector<Revision>& revisions, const RevisionSettings& wanted);

// Makes `number` (0: one that is still to be made) the revision that is worked on: served, or building. Another that was building
// is abandoned, and retired. Waits for transactions that plan for what was worked on before (store/feed/feed.hpp), so that
// whoever sweeps after this sees all that they planned. `revisions` follows; true where anything changed.
bool turn_to_revision(Transaction& tx, std::int64_t uid, std::int32_t number, std::vector<Revision>& revisions);

Result<std::vector<Revision>> read_revisions(Session& session, std::int64_t uid);  // ascending

// Until `tx` ends nobody plans for or writes to any revision: who does has ended when this returns, and who comes later sees what
// `tx` has changed. Throws StoreFailure.
void hold_writers(Transaction& tx, std::int64_t uid);

// Creates tables for the next revision and its row, in the given transaction.
Result<Revision> create_revision(Transaction& tx, const PipelineSpec& spec, const RevisionSettings& settings,
                                 const SourceShape& source, const VectorExtension& vectors, std::int32_t number);

// Adds columns for metadata that is newly declared or has another type now; true where something changed.
Result<bool> align_metadata(Transaction& tx, Revision& revision, const SourceShape& source);

// Points the served view at `revision`: the last statement of its transaction (served_view.hpp). One CREATE OR REPLACE where
// columns allow it; where they do not, the view is made anew, which is refused (class conflict) while other objects depend on it.
Status serve_revision(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source,
                      const VectorExtension& vectors);

// Whether its documents and chunks are there; a journal that is not is made anew, empty. Throws StoreFailure.
bool make_whole(Transaction& tx, const Revision& revision, const VectorExtension& vectors);
// Whether what is served is there at all: a view of that name, and the tables of the revision.
Result<bool> is_there(Session& session, const std::string& target, const Revision& revision);
// Whether the served view exists and shows this revision: a view that was dropped or replaced by hand is drift too.
Result<bool> view_is_current(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source);

// After many rows were written: statistics and visibility for our own tables, without which what follows is planned blindly.
Status tend_tables(Session& session, const Revision& revision);

// Never given before to a revision of this pipeline, also where the newest was dropped. Throws StoreFailure.
std::int32_t next_revision_number(Transaction& tx, std::int64_t uid);

// The tables of a revision that is neither served nor built, and what else there is of it. Whoever reads them is not waited for.
// Throws StoreFailure.
void drop_revision(Transaction& tx, const RevisionTables& tables);
// Drops one of the retired revisions that are more than `keep` with the served one, or retired for longer than `days` (0: however
// long), a call; those that were whole once are kept before those that were not, and among them the last retired. One that
// somebody reads is left for the next call.
Status drop_old_revision(Transaction& tx, std::int64_t uid, int keep, int days);

// Drops tables and view. Whoever reads them is not waited for: the error (kLockHeld, store/pg/lock_holders.hpp) says who it is.
Status drop_pipeline_data(Session& session, const PipelineSpec& spec);

}  // namespace homeostat
