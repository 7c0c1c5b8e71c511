#include "store/inspect/search.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/data/search_function.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

// pgvector looks at so many candidates by default, and returns no more than it looked at.
constexpr std::uint32_t kDefaultCandidates = 40;
constexpr std::uint32_t kMostCandidates = 1000;

std::string quoted(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + '"';
}

std::string_view distance_operator(const PipelineSpec& spec) {
    if (spec.distance == "l2") return "<->";
    if (spec.distance == "inner_product") return "<#>";
    return "<=>";
}

}  // namespace

double similarity(const PipelineSpec& spec, double distance) {
    if (spec.distance == "l2") return distance;
    if (spec.distance == "inner_product") return -distance;
    return 1 - distance;
}

Result<std::optional<Revision>> served_revision(Session& session, const PipelineSpec& spec) {
    Result<std::vector<Revision>> revisions = read_revisions(session, spec.uid);
    if (!revisions) return revisions.error();
    const auto served = std::find_if(revisions->begin(), revisions->end(), [](const Revision& r) { return r.state == "served"; });
    if (served == revisions->end()) return std::optional<Revision>();
    return guarded([&]() -> Result<std::optional<Revision>> {
        const Rows view = session.exec({"search_view", "SELECT to_regclass($1) IS NOT NULL"}, Params::of(spec.target));
        if (view.boolean(0, 0)) return std::optional<Revision>(*served);
        return not_found(fmt::format("the view {} is gone; homeostat reconcile \"{}\" makes it anew", spec.target, spec.name));
    });
}

std::vector<std::string> searchable_metadata(const PipelineSpec& spec, const Revision& revision) {
    std::vector<std::string> out = spec.metadata;
    std::erase_if(out, [&](const std::string& name) { return revision.tables.metadata_column(name).empty(); });
    return out;
}

std::string search_sql(const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors) {
    const std::string_view type = revision.settings.vector_type == VectorType::vector ? "vector" : "halfvec";
    const std::string distance =
        fmt::format("v.embedding OPERATOR({0}.{1}) ($1::{0}.{2}[])[1]", vectors.schema, distance_operator(spec), type);
    std::string columns;
    for (const std::string& k : spec.key) columns += fmt::format(", v.{}::text", quoted(k));
    for (const std::string& m : searchable_metadata(spec, revision)) columns += fmt::format(", v.{}::text", quoted(m));
    return fmt::format("SELECT v.chunk_number, {0}, v.chunk_text{1} FROM {2} v ORDER BY {0} LIMIT $2::int", distance, columns,
                       spec.target);
}

namespace {

// By the names that its columns have. $1 is a vector array of one, $2 the limit.
std::string call_sql(const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors,
                     const std::string& function) {
    const std::vector<std::string> metadata = searchable_metadata(spec, revision);
    std::string columns;
    for (const std::string& k : spec.key) columns += fmt::format(", v.{}::text", quoted(k));
    for (const std::string& m : metadata) columns += fmt::format(", v.{}::text", quoted(m));
    const std::string distance = "v." + distance_column(spec.key, metadata);
    return fmt::format("SELECT v.chunk_number, {0}, v.chunk_text{1} FROM {2}(($1::{3}.vector[])[1], $2::int) v ORDER BY {0}",
                       distance, columns, function, vectors.schema);
}

}  // namespace

Result<std::vector<SearchHit>> search_served(Session& session, const PipelineSpec& spec, const Revision& revision,
                                             std::span<const float> query, std::uint32_t limit) {
    return guarded([&]() -> Result<std::vector<SearchHit>> {
        Transaction tx = session.begin(TxMode::read_snapshot);
        Result<VectorExtension> vectors = find_vector_extension(tx);
        if (!vectors) return vectors.error();
        if (limit > kDefaultCandidates) {
            tx.exec(fmt::format("SET LOCAL hnsw.ef_search = {}", std::min(limit, kMostCandidates)));
        }
        const std::string function = search_there(tx, spec, *vectors);
        const VectorType type = function.empty() ? revision.settings.vector_type : VectorType::vector;
        const float* row = query.data();
        Params params;
        params.bytes(binary_vectors(std::span(&row, 1), static_cast<std::uint32_t>(query.size()), type,
                                    type == VectorType::vector ? vectors->vector_oid : vectors->halfvec_oid));
        params.add(limit);
        const Statement plain{revision.tables.prefix + "_search", search_sql(spec, revision, *vectors)};
        const Rows rows =
            function.empty() ? tx.exec(plain, params) : tx.exec({"", call_sql(spec, revision, *vectors, function)}, params);
        const std::size_t metadata = searchable_metadata(spec, revision).size();
        std::vector<SearchHit> hits;
        for (int i = 0; i < rows.size(); ++i) {
            SearchHit hit;
            hit.chunk = rows.i64(i, 0);
            hit.distance = rows.f64(i, 1);
            hit.text = rows.text(i, 2);
            int column = 3;
            for (std::size_t k = 0; k < spec.key.size(); ++k) hit.key.push_back(rows.text(i, column++));
            for (std::size_t m = 0; m < metadata; ++m) hit.metadata.push_back(rows.maybe(i, column++));
            hits.push_back(std::move(hit));
        }
        return hits;
    });
}

}  // namespace homeostat
