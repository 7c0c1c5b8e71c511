#include "store/data/vector_sample.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kColumns = "c.document_id, c.number, coalesce(c.context, ''), c.text, c.embedding::text";

void take(std::vector<SampledChunk>& out, const Rows& rows) {
    for (int i = 0; i < rows.size(); ++i) {
        RowReader c(rows, i);
        SampledChunk s;
        s.document_id = c.integer();
        s.number = c.integer<std::int32_t>();
        s.context = c.text();
        s.text = c.text();
        s.vector = numbers_in(c.view());
        out.push_back(std::move(s));
    }
}

Rows of_run(Transaction& tx, const RevisionTables& t, std::int64_t run_id, std::size_t n, std::string_view order) {
    return tx.exec({fmt::format("{}_sample_run_{}", t.prefix, order), fmt::format(R"sql(
        SELECT {0} FROM (SELECT d.document_id FROM {1} d WHERE d.run_id = $1::bigint AND d.chunk_count > 0
                         ORDER BY d.written_at {3}, d.write_token {3} LIMIT $2::bigint) d
        CROSS JOIN LATERAL (SELECT * FROM {2} c WHERE c.document_id = d.document_id AND c.embedding IS NOT NULL
                            ORDER BY c.number LIMIT 1) c)sql",
                                                                                  kColumns, t.document, t.chunk, order)},
                   Params::of(run_id, static_cast<std::int64_t>(n)));
}

}  // namespace

std::vector<float> numbers_in(std::string_view text) {
    std::vector<float> out;
    const std::string all(text);
    const char* at = all.c_str();
    while (*at != '\0') {
        char* end = nullptr;
        const float value = std::strtof(at, &end);
        if (end == at) {
            ++at;
        } else {
            out.push_back(value);
            at = end;
        }
    }
    return out;
}

std::vector<SampledChunk> sample_chunks(Transaction& tx, const RevisionTables& t, std::size_t n) {
    std::vector<SampledChunk> out;
    take(out, tx.exec({t.prefix + "_sample", fmt::format(R"sql(
        WITH bounds AS (SELECT min(document_id) AS low, max(document_id) AS high FROM {1}),
        picked AS MATERIALIZED (
            SELECT DISTINCT n.document_id FROM bounds b CROSS JOIN generate_series(1, $1::int) g
            CROSS JOIN LATERAL (SELECT b.low + floor(random() * (b.high - b.low + 1))::bigint + 0 * g AS at) r
            CROSS JOIN LATERAL (SELECT d.document_id FROM {1} d WHERE d.document_id >= r.at ORDER BY d.document_id LIMIT 1) n)
        SELECT {0} FROM picked p
        CROSS JOIN LATERAL (SELECT * FROM {2} c WHERE c.document_id = p.document_id AND c.embedding IS NOT NULL
                            ORDER BY random() LIMIT 1) c)sql",
                                                         kColumns, t.document, t.chunk)},
                      Params::of(static_cast<std::int64_t>(n))));
    return out;
}

std::vector<SampledChunk> sample_run(Transaction& tx, const RevisionTables& t, std::int64_t run_id, std::size_t n) {
    std::vector<SampledChunk> out;
    take(out, of_run(tx, t, run_id, (n + 1) / 2, "ASC"));
    take(out, of_run(tx, t, run_id, n / 2, "DESC"));
    return out;
}

VectorFaults look_for_faults(Transaction& tx, const RevisionTables& t, std::uint32_t dimensions, std::int64_t most) {
    const Rows estimate =
        tx.exec({"chunk_estimate", "SELECT greatest(c.reltuples, 1)::float8 FROM pg_class c WHERE c.oid = to_regclass($1)"},
                Params::of(t.chunk));
    const double chunks = estimate.empty() ? 1 : RowReader(estimate, 0).real();
    const double share = std::min(100.0, 100.0 * static_cast<double>(most) / chunks);
    // A vector's numbers spread as far as it is long, unless they are nearly the same number.
    const Rows rows = tx.exec(fmt::format(R"sql(
        WITH seen AS MATERIALIZED (SELECT c.chunk_hash, c.embedding FROM {} c TABLESAMPLE SYSTEM ({:.6f}) LIMIT {}),
        judged AS MATERIALIZED (
            SELECT s.chunk_hash, coalesce(homeostat.vector_ok(s.embedding, {}), false) AS sound, md5(s.embedding::text) AS same,
                   (SELECT stddev_pop(x) <= 0.01 * sqrt(avg(x::float8 * x)) FROM unnest(s.embedding::real[]) x) AS constant
            FROM seen s)
        SELECT count(*), count(*) FILTER (WHERE NOT sound), count(*) FILTER (WHERE sound AND constant AND {} > 1),
               (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM judged WHERE sound GROUP BY same
                                                 HAVING count(DISTINCT chunk_hash) > 1) g)
        FROM judged)sql",
                                          t.chunk, share, most, dimensions, dimensions));
    return {rows.i64(0, 0), rows.i64(0, 1), rows.i64(0, 3), rows.i64(0, 2)};
}

std::int64_t distrust_run(Transaction& tx, const RevisionTables& t, std::int64_t run_id) {
    // What the change feed brought meanwhile came from the same provider. A chunk that the one write since has left as it was has
    // its vector from before: it is none of theirs, and no journal could bring it back. Where the journal does not say so all are
    // taken. Neither the version of the documents nor their content is what it was: a sweep that compares versions only finds
    // them.
    return tx
        .exec({t.prefix + "_distrust", fmt::format(R"sql(
            WITH began AS MATERIALIZED (SELECT r.started_at AS at FROM homeostat.run r WHERE r.id = $1::bigint),
            written AS MATERIALIZED (
                SELECT d.document_id, d.write_token FROM {0} d, began b WHERE d.run_id = $1::bigint OR d.written_at >= b.at),
            left_alone AS MATERIALIZED (
                SELECT w.document_id, j.kept[i][1]::int AS number FROM written w CROSS JOIN began b
                JOIN {2} j ON j.write_token = w.write_token AND j.document_id = w.document_id AND j.change = 'kept'
                CROSS JOIN LATERAL generate_subscripts(j.kept, 1) AS i
                WHERE EXISTS (SELECT FROM {2} o WHERE o.write_token = w.write_token AND o.document_id = w.document_id
                              AND o.change = 'replaced' AND (o.document).written_at < b.at)),
            taken AS (
                UPDATE {1} c SET embedding = NULL FROM written w WHERE c.document_id = w.document_id AND NOT EXISTS (
                    SELECT FROM left_alone l WHERE l.document_id = c.document_id AND l.number = c.number)
                RETURNING c.document_id),
            doubted AS (UPDATE {0} d SET source_version = NULL, content_hash = ''
                        WHERE d.document_id IN (SELECT document_id FROM taken) RETURNING 1)
            SELECT count(*) FROM doubted)sql",
                                                   t.document, t.chunk, t.journal)},
              Params::of(run_id))
        .i64(0, 0);
}

}  // namespace homeostat
