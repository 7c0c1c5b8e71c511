// Search by meaning through the served view, as a user's own query would do it: the same view, the same index, the distance that
// the pipeline declares. The source itself is not asked: it may be gone. Read-only; one thread a session.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct SearchHit {
    Key key;
    std::int64_t chunk = 0;
    double distance = 0;  // as pgvector's operator gives it: smaller is nearer
    std::vector<std::optional<std::string>> metadata;  // in the order of searchable_metadata()
    std::string text;
};

// The revision the view shows; nothing where none is served yet. not_found where the view is gone.
Result<std::optional<Revision>> served_revision(Session& session, const PipelineSpec& spec);

// The `limit` nearest chunks to `query`, by the function <target>_search where there is one. `spec` is that of the served
// revision.
Result<std::vector<SearchHit>> search_served(Session& session, const PipelineSpec& spec, const Revision& revision,
                                             std::span<const float> query, std::uint32_t limit);

// The statement of search_served, where it asks no function, for whoever wants to see how it is planned. $1 is a vector array of
// one, $2 the limit.
std::string search_sql(const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors);

// The declared metadata columns that the view shows: one declared a moment ago is not in it yet.
std::vector<std::string> searchable_metadata(const PipelineSpec& spec, const Revision& revision);

// The number people expect: cosine similarity, inner product, or the distance itself for l2.
double similarity(const PipelineSpec& spec, double distance);

}  // namespace homeostat
