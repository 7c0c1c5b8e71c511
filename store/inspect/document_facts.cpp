#include "store/inspect/document_facts.hpp"

#include <fmt/format.h>

#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

Params key_params(const Key& key) {
    Params params;
    for (const std::string& part : key) params.add(part);
    return params;
}

std::string typed_key(const SourceShape& source) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}${}::text::{}{}", i == 0 ? "" : ", ", i + 1, source.key[i].type, source.key[i].collate);
    }
    return out;
}

std::string match_document(const SourceShape& source) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}d.key_{} = ${}::text::{}{}", i == 0 ? "" : " AND ", i + 1, i + 1, source.key[i].type,
                           source.key[i].collate);
    }
    return out;
}

class Reader {
public:
    Reader(Transaction& tx, const PipelineSpec& spec, const SourceShape& source, const Revision& revision)
        : tx_(tx), spec_(spec), source_(source), revision_(revision), n_(source.key.size()) {}

    DocumentFacts run(const Key& key) {
        canonical(key);
        read_source();
        if (facts_.source_rows > 0 && spec_.documents) read_place();
        if (revision_.number > 0) {
            read_document();
            if (facts_.document_id != 0) read_chunks();
            read_batch();
            read_dead_letter();
        }
        return std::move(facts_);
    }

private:
    // As the type itself would write it: what batches and dead letters hold.
    void canonical(const Key& key) {
        for (std::size_t i = 0; i < n_; ++i) {
            const ColumnShape& c = source_.key[i];
            try {
                const Rows rows =
                    tx_.exec({fmt::format("facts_key_{}", c.type), fmt::format("SELECT ($1::text::{})::text", c.type)},
                             Params::of(key[i]));
                facts_.key.push_back(rows.text(0, 0));
            } catch (const StoreFailure& failure) {
                if (!failure.error.code.starts_with("22")) throw;
                throw StoreFailure(
                    invalid(fmt::format("\"{}\" is no value of key column \"{}\", which is {}", key[i], c.name, c.type)));
            }
        }
    }

    std::string name(std::string_view what) const { return fmt::format("{}_facts_{}", revision_.tables.prefix, what); }

    void read_source() {
        const Rows rows = tx_.source(source_.reader)
                              .exec({name("source"), fmt::format("SELECT octet_length({}), ({})::text FROM {} s WHERE {} LIMIT 2",
                                                                 source_.body, source_.version_sql, source_.relation,
                                                                 match_source(source_, "${0}::text::{1}{2}"))},
                                    key_params(facts_.key));
        facts_.source_rows = rows.size();
        if (rows.empty()) return;
        facts_.content_bytes = rows.i64(0, 0);
        facts_.version = rows.maybe(0, 1);
    }

    // Counts no further than the declared count.
    void read_place() {
        Params params = key_params(facts_.key);
        params.add(*spec_.documents);
        std::string not_null;
        for (const ColumnShape& c : source_.key) not_null += fmt::format(" AND s.{} IS DISTINCT FROM NULL", c.quoted);
        const Rows rows =
            tx_.source(source_.reader)
                .exec({name("place"),
                       fmt::format("SELECT count(*) FROM (SELECT FROM {} s WHERE {} < ROW({}){} LIMIT ${}::bigint) s",
                                   source_.relation, source_.key_row("s"), typed_key(source_),
                                   source_.nullable_key ? not_null : "", n_ + 1)},
                      params);
        facts_.beyond_count = rows.i64(0, 0) >= *spec_.documents;
    }

    void read_document() {
        std::string metadata;
        std::string columns;
        for (std::size_t i = 0; i < source_.metadata.size(); ++i) {
            columns += fmt::format(", s.{} AS m{}", source_.metadata[i].quoted, i + 1);
            const std::string column = revision_.tables.metadata_column(source_.metadata[i].name);
            metadata += column.empty() ? fmt::format(" OR s.m{} IS NOT NULL", i + 1)
                                       : fmt::format(" OR s.m{}::text IS DISTINCT FROM d.{}::text", i + 1, column);
        }
        const bool hashed = source_.version == VersionKind::hash;
        Params params = key_params(facts_.key);
        std::string seen = fmt::format("SELECT {} AS homeostat_hash, {} AS homeostat_version{} FROM {} s WHERE {} LIMIT 1",
                                       source_.content_hash(), source_.version_sql, columns, source_.relation,
                                       match_source(source_, "${0}::text::{1}{2}"));
        if (source_.reader.apart()) {
            const SourceRows read = SourceRows::of_keys(tx_, source_, {facts_.key});
            seen = fmt::format("SELECT * FROM {} s WHERE s.present", read.relation(n_ + 1));
            read.add_to(params);
        }
        const Rows rows = tx_.exec(
            {name("document"),
             fmt::format(
                 "SELECT d.document_id, {}, s.homeostat_hash IS NOT DISTINCT FROM d.content_hash, NOT (false{}),"
                 " encode(d.content_hash, 'hex'), d.chunk_count, d.written_at::text, d.run_id, d.batch_id,"
                 " c.document_id IS NOT NULL, coalesce(c.first_observation < c.last_observation, false)"
                 " FROM {} d LEFT JOIN LATERAL ({}) s ON true"
                 " LEFT JOIN homeostat.own_prune_candidate c ON c.uid = {} AND c.revision = {} AND c.document_id = d.document_id"
                 " WHERE {}",
                 hashed ? "s.homeostat_hash IS NOT DISTINCT FROM d.content_hash"
                        : "s.homeostat_version IS NOT DISTINCT FROM d.source_version",
                 metadata, revision_.tables.document, seen, revision_.tables.uid, revision_.number, match_document(source_))},
            params);
        if (rows.empty()) return;
        RowReader c(rows, 0);
        facts_.document_id = c.integer();
        facts_.same_version = c.boolean();
        facts_.same_content = c.boolean();
        facts_.same_metadata = c.boolean();
        facts_.content_hash = c.text();
        facts_.chunk_count = c.integer<std::int32_t>();
        facts_.written_at = c.text();
        facts_.run_id = c.integer();
        facts_.batch_id = c.integer();
        facts_.prune_candidate = c.boolean();
        facts_.prune_confirmed = c.boolean();
    }

    void read_chunks() {
        const Rows rows = tx_.exec(
            {name("chunks"), fmt::format("SELECT count(*), count(*) FILTER (WHERE homeostat.vector_ok(c.embedding, {})),"
                                         " coalesce(max(c.number) + 1, 0) = count(*) AND NOT coalesce(bool_or(c.chunk_hash <>"
                                         " sha256(convert_to(coalesce(c.context || E'\\n\\n', '') || c.text, 'UTF8'))), false)"
                                         " FROM {} c WHERE c.document_id = $1::bigint",
                                         revision_.settings.dimensions, revision_.tables.chunk)},
            Params::of(facts_.document_id));
        facts_.chunks = rows.i64(0, 0);
        facts_.sound_chunks = rows.i64(0, 1);
        facts_.chunks_intact = rows.boolean(0, 2) && facts_.chunks == facts_.chunk_count;
    }

    // Keys stand column by column in a batch; deletions name document ids, some before their keys.
    void read_batch() {
        std::string match;
        for (std::size_t i = 1; i <= n_; ++i) match += fmt::format(" AND b.keys[{}][i] = ${}", i, i);
        Params params = key_params(facts_.key);
        params.add(revision_.tables.uid).add(facts_.document_id);
        const Rows rows = tx_.exec(
            {fmt::format("facts_batch_{}", n_),
             fmt::format("SELECT b.id, b.kind, b.class, b.attempts, coalesce(b.claimed_by, ''), b.last_error,"
                         " CASE WHEN b.claim_token IS NULL AND b.run_after > clock_timestamp() THEN b.run_after::text ELSE '' END"
                         " FROM homeostat.own_batch b WHERE b.uid = ${}::bigint AND EXISTS (SELECT FROM "
                         "generate_subscripts(b.keys, 2) AS i"
                         " WHERE CASE WHEN b.kind IN ('prune', 'stray') THEN b.keys[1][i] = ${}::text ELSE true{} END)"
                         " ORDER BY b.id LIMIT 1",
                         n_ + 1, n_ + 2, match)},
            params);
        if (rows.empty()) return;
        RowReader c(rows, 0);
        facts_.batch = {c.integer(), c.text(), c.text(), c.integer<std::int32_t>(), c.text(), c.text(), c.text()};
    }

    void read_dead_letter() {
        Params params = Params::of(revision_.tables.uid, revision_.number, format_text_array(facts_.key));
        const Rows rows = tx_.exec({"facts_dead_letter",
                                    "SELECT class, strategy, message, attempts, trace_id FROM homeostat.own_dead_letter"
                                    " WHERE uid = $1::bigint AND revision = $2::int AND key = $3::text[]"},
                                   params);
        if (rows.empty()) return;
        facts_.dead_letter = DeadLetter{
            facts_.key,     "", rows.text(0, 0), rows.text(0, 1), rows.text(0, 2), static_cast<std::int32_t>(rows.i64(0, 3)),
            rows.text(0, 4)};
        const Result<std::vector<bool>> current = dead_letters_among(tx_, source_, revision_, {facts_.key});
        if (!current) throw StoreFailure(current.error());
        facts_.dead_letter_current = current->front();
    }

    Transaction& tx_;
    const PipelineSpec& spec_;
    const SourceShape& source_;
    const Revision& revision_;
    std::size_t n_;
    DocumentFacts facts_;
};

}  // namespace

Result<DocumentFacts> read_document_facts(Transaction& tx, const PipelineSpec& spec, const SourceShape& source,
                                          const Revision& revision, const Key& key) {
    return guarded([&] {
        use_operators(tx, source);
        return Reader(tx, spec, source, revision).run(key);
    });
}

Result<bool> holds_document(Transaction& tx, const SourceShape& source, const Revision& revision, const Key& key) {
    return guarded([&] {
        return !tx.exec({revision.tables.prefix + "_facts_holds",
                         fmt::format("SELECT FROM {} d WHERE {}", revision.tables.document, match_document(source))},
                        key_params(key))
                    .empty();
    });
}

}  // namespace homeostat
