#include "store/data/vector_index.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace homeostat {

namespace {

const Statement kIndex{
    "vector_index_state",
    "SELECT i.indisvalid AND i.indisready, am.amname, oc.opcname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_am am ON am.oid = c.relam JOIN pg_opclass oc ON oc.oid = i.indclass[0]"
    " WHERE i.indexrelid = to_regclass($1)"};

// Chunks whose vectors are indexed in some ten milliseconds.
constexpr std::int64_t kSmallIndex = 100;

std::string index_name(const RevisionTables& t) { return t.prefix + "_chunk_embedding"; }

std::string opclass(const PipelineSpec& spec, const RevisionSettings& s) {
    const std::string_view distance = spec.distance == "l2" ? "l2" : spec.distance == "inner_product" ? "ip" : "cosine";
    return fmt::format("{}_{}_ops", s.vector_type == VectorType::vector ? "vector" : "halfvec", distance);
}

std::string index_definition(Session& session, const PipelineSpec& spec, const Revision& revision,
                             const VectorExtension& vectors) {
    // ivfflat wants about a thousand rows a list; hnsw's own defaults (16, 64) are what its authors advise.
    std::string with;
    if (spec.index_method == "ivfflat") {
        const Rows rows = session.exec(fmt::format("SELECT greatest(1, count(*) / 1000) FROM {}", revision.tables.chunk));
        with = fmt::format(" WITH (lists = {})", std::min<std::int64_t>(rows.i64(0, 0), 32768));
    }
    return fmt::format("{} ON {} USING {} (embedding {}.{}){}", index_name(revision.tables), revision.tables.chunk,
                       spec.index_method, vectors.schema, opclass(spec, revision.settings), with);
}

}  // namespace

Result<IndexState> index_state(Session& session, const PipelineSpec& spec, const Revision& revision) {
    return guarded([&] {
        const Rows rows = session.exec(kIndex, Params::of(fmt::format("homeostat_data.{}", index_name(revision.tables))));
        if (spec.index_method == "none") return rows.empty() ? IndexState::valid : IndexState::unwanted;
        if (rows.empty()) return IndexState::absent;
        const bool as_declared = rows.view(0, 1) == spec.index_method && rows.view(0, 2) == opclass(spec, revision.settings);
        return rows.boolean(0, 0) && as_declared ? IndexState::valid : IndexState::invalid;
    });
}

Result<bool> build_small_index(Session& session, const PipelineSpec& spec, const Revision& revision,
                               const VectorExtension& vectors) {
    return guarded([&] {
        const Rows rows =
            session.exec(fmt::format("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) c", revision.tables.chunk, kSmallIndex + 1));
        if (spec.index_method == "none" || rows.i64(0, 0) > kSmallIndex) return false;
        session.exec("CREATE INDEX IF NOT EXISTS " + index_definition(session, spec, revision, vectors));
        return true;
    });
}

Status build_index(Session& session, const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors) {
    return guarded([&] {
        const std::string name = index_name(revision.tables);
        // Behind a pooler they would stay with whoever is given the server's session next.
        if (session.server().pid != 0) session.exec("SET statement_timeout = 0");
        if (session.server().pid != 0) session.exec("SET lock_timeout = 0");
        session.exec(fmt::format("DROP INDEX CONCURRENTLY IF EXISTS homeostat_data.{}", name));
        if (spec.index_method == "none") return;
        session.exec("CREATE INDEX CONCURRENTLY " + index_definition(session, spec, revision, vectors));
    });
}

}  // namespace homeostat
