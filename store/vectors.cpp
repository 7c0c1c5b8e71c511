#include "store/vectors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "store/arrays.hpp"
#include "store/text_array.hpp"

namespace homeostat {

namespace {

std::string unhex(std::string_view hex) {
    if (hex.starts_with("\\x")) hex.remove_prefix(2);
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string out(hex.size() / 2, '\0');
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return out;
}

std::string repeat(std::size_t n, std::string_view pattern, std::string_view separator = ", ", int first = 1) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) {
        if (i > 0) out += separator;
        out += fmt::format(fmt::runtime(pattern), first + static_cast<int>(i));
    }
    return out;
}

std::string match_source(const SourceShape& source, std::string_view right) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}s.{} = {}", i == 0 ? "" : " AND ", source.key[i].quoted,
                           fmt::format(fmt::runtime(right), i + 1, source.key[i].type, source.key[i].collate));
    }
    return out;
}

// "7:t:1f…;8:f:2e…" -> chunks.
std::vector<StoredChunk> parse_chunks(std::string_view text) {
    std::vector<StoredChunk> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(';'), text.size());
        const std::string_view one = text.substr(0, end);
        const std::size_t colon = one.find(':');
        out.push_back({std::stoi(std::string(one.substr(0, colon))), unhex(one.substr(colon + 3)), one[colon + 1] == 't'});
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

// The columns of one write, document by document.
struct DocumentColumns {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> expected;
    std::vector<const WriteDocument*> documents;

    void add(const WriteDocument& d) {
        ids.push_back(d.read->document_id);
        expected.push_back(d.read->write_token.value_or(0));
        documents.push_back(&d);
    }
    bool empty() const { return ids.empty(); }
};

class Writer {
public:
    Writer(Transaction& tx, const SourceShape& source, const Revision& revision, const VectorExtension& vectors,
           const WriteRequest& request)
        : tx_(tx), source_(source), revision_(revision), vectors_(vectors), request_(request), t_(revision.tables) {}

    WriteOutcome run() {
        DocumentColumns fresh;
        DocumentColumns existing;
        for (const WriteDocument& d : request_.documents) (d.read->write_token ? existing : fresh).add(d);
        if (!fresh.empty()) insert_documents(fresh);
        if (!existing.empty()) replace_documents(existing);
        write_chunks();
        WriteOutcome outcome;
        outcome.written = static_cast<std::int32_t>(accepted_.size());
        outcome.dropped = static_cast<std::int32_t>(request_.documents.size() - accepted_.size());
        outcome.chunks = chunks_written_;
        return outcome;
    }

private:
    // $1 id, $2 expected token, $3 version, $4 hash, $5 chunk count, then keys, then metadata.
    Params document_params(const DocumentColumns& columns) {
        const std::size_t n = columns.documents.size();
        std::vector<std::optional<std::string_view>> text(n);
        std::vector<std::string_view> hashes(n);
        std::vector<std::int32_t> counts(n);
        std::vector<std::string_view> key(n);
        Params params;
        params.bytes(binary_array(columns.ids)).bytes(binary_array(columns.expected));
        for (std::size_t i = 0; i < n; ++i) {
            const ReadDocument& r = *columns.documents[i]->read;
            text[i] = r.version ? std::optional<std::string_view>(*r.version) : std::nullopt;
            hashes[i] = r.content_hash;
            counts[i] = columns.documents[i]->chunks;
        }
        params.bytes(binary_array(text)).bytes(binary_array(hashes, kByteaOid)).bytes(binary_array(counts));
        for (std::size_t k = 0; k < source_.key.size(); ++k) {
            for (std::size_t i = 0; i < n; ++i) key[i] = columns.documents[i]->read->key[k];
            params.bytes(binary_array(key));
        }
        for (std::size_t m = 0; m < source_.metadata.size(); ++m) {
            for (std::size_t i = 0; i < n; ++i) {
                const std::optional<std::string>& value = columns.documents[i]->read->metadata[m];
                text[i] = value ? std::optional<std::string_view>(*value) : std::nullopt;
            }
            params.bytes(binary_array(text));
        }
        params.add(request_.run_id).add(request_.batch_id).add(request_.token);
        return params;
    }

    std::string document_rows() const {
        const std::size_t k = source_.key.size();
        const std::size_t m = source_.metadata.size();
        return fmt::format("unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::int[], {}{}{})"
                           " AS w(id, expected, version, hash, chunks, {}{}{})",
                           repeat(k, "${}::text[]", ", ", 6), m == 0 ? "" : ", ",
                           repeat(m, "${}::text[]", ", ", 6 + static_cast<int>(k)), repeat(k, "k{}"), m == 0 ? "" : ", ", repeat(m, "m{}"));
    }

    // Where comparing the source's version costs one index look-up, a row that changed since it was read is left out.
    std::string still_current() const {
        if (source_.version == VersionKind::hash) return "";
        return fmt::format(" JOIN {} s ON {} AND {} IS NOT DISTINCT FROM w.version::{}", source_.relation,
                           match_source(source_, "w.k{0}::{1}{2}"), source_.version_sql, source_.version_type);
    }

    int trailing(int i) const { return 5 + static_cast<int>(source_.key.size() + source_.metadata.size()) + i; }

    void accept(const Rows& rows) {
        for (int i = 0; i < rows.size(); ++i) accepted_.insert(rows.i64(i, 0));
    }

    void insert_documents(const DocumentColumns& fresh) {
        std::string columns;
        std::string values;
        for (std::size_t i = 0; i < source_.key.size(); ++i) {
            columns += fmt::format(", key_{}", i + 1);
            values += fmt::format(", w.k{}::{}{}", i + 1, source_.key[i].type, source_.key[i].collate);
        }
        for (std::size_t i = 0; i < source_.metadata.size(); ++i) {
            columns += ", " + t_.metadata_column(source_.metadata[i].name);
            values += fmt::format(", w.m{}::{}", i + 1, source_.metadata[i].type);
        }
        const Rows rows = tx_.exec(
            {t_.prefix + "_insert",
             fmt::format("INSERT INTO {} (document_id, source_version, content_hash, chunk_count, run_id, batch_id, write_token{})"
                         " SELECT w.id, w.version::{}, w.hash, w.chunks, ${}::bigint, ${}::bigint, ${}::bigint{} FROM {}{}"
                         " WHERE w.expected = 0 ON CONFLICT ({}) DO NOTHING RETURNING document_id",
                         t_.document, columns, source_.version_type, trailing(1), trailing(2), trailing(3), values, document_rows(),
                         still_current(), repeat(source_.key.size(), "key_{}"))},
            document_params(fresh));
        accept(rows);
    }

    // The rows are locked, compared and kept in the journal in one statement; then what was accepted is replaced.
    void replace_documents(const DocumentColumns& existing) {
        const Params params = document_params(existing);
        const Rows rows = tx_.exec(
            {t_.prefix + "_keep",
             fmt::format("WITH held AS (SELECT d.* FROM {} JOIN {} d ON d.document_id = w.id AND d.write_token = w.expected{}"
                         " WHERE ${}::bigint IS NOT NULL ORDER BY d.document_id FOR UPDATE OF d)"
                         " INSERT INTO {} (run_id, write_token, document_id, change, document)"
                         " SELECT ${}::bigint, ${}::bigint, held.document_id, 'replaced', to_jsonb(held) FROM held RETURNING document_id",
                         document_rows(), t_.document, still_current(), trailing(2), t_.journal, trailing(1), trailing(3))},
            params);
        accept(rows);
        if (rows.empty()) return;
        std::string metadata;
        for (std::size_t i = 0; i < source_.metadata.size(); ++i) {
            metadata += fmt::format(", {} = w.m{}::{}", t_.metadata_column(source_.metadata[i].name), i + 1, source_.metadata[i].type);
        }
        std::vector<std::int64_t> ids;
        for (int i = 0; i < rows.size(); ++i) ids.push_back(rows.i64(i, 0));
        Params update = params;
        update.bytes(binary_array(ids));
        tx_.exec({t_.prefix + "_replace",
                  fmt::format("UPDATE {} d SET source_version = w.version::{}, content_hash = w.hash, chunk_count = w.chunks,"
                              " run_id = ${}::bigint, batch_id = ${}::bigint, write_token = ${}::bigint,"
                              " written_at = clock_timestamp(){} FROM {} WHERE d.document_id = w.id"
                              " AND d.write_token = w.expected AND d.document_id = ANY (${}::bigint[])",
                              t_.document, source_.version_type, trailing(1), trailing(2), trailing(3), metadata, document_rows(),
                              trailing(4))},
                 update);
        remove_old_chunks(ids);
    }

    bool accepted(const WriteChunk& c) const { return accepted_.contains(request_.documents[c.document].read->document_id); }

    // Everything of a replaced document but the chunks that stay as they are.
    void remove_old_chunks(const std::vector<std::int64_t>& ids) {
        std::vector<std::int64_t> kept_ids;
        std::vector<std::int32_t> kept_numbers;
        std::vector<std::int64_t> starts;
        std::vector<std::int64_t> ends;
        for (const WriteChunk& c : request_.chunks) {
            if (!c.kept || !accepted(c)) continue;
            kept_ids.push_back(request_.documents[c.document].read->document_id);
            kept_numbers.push_back(c.number);
            starts.push_back(c.start);
            ends.push_back(c.end);
        }
        Params params;
        params.bytes(binary_array(ids)).bytes(binary_array(kept_ids)).bytes(binary_array(kept_numbers));
        params.add(request_.run_id).add(request_.token);
        tx_.exec({t_.prefix + "_remove",
                  fmt::format("WITH gone AS (DELETE FROM {} c WHERE c.document_id = ANY ($1::bigint[])"
                              "  AND (c.document_id, c.number) NOT IN (SELECT * FROM unnest($2::bigint[], $3::int[])) RETURNING c.*)"
                              " INSERT INTO {} (run_id, write_token, document_id, change, number, start_offset, end_offset, chunk_hash,"
                              "  context, text, embedding) SELECT $4::bigint, $5::bigint, document_id, 'replaced', number, start_offset,"
                              "  end_offset, chunk_hash, context, text, embedding FROM gone",
                              t_.chunk, t_.journal)},
                 params);
        if (kept_ids.empty()) return;
        Params offsets;
        offsets.bytes(binary_array(kept_ids)).bytes(binary_array(kept_numbers)).bytes(binary_array(starts)).bytes(binary_array(ends));
        tx_.exec({t_.prefix + "_offsets",
                  fmt::format("UPDATE {} c SET start_offset = w.s, end_offset = w.e FROM unnest($1::bigint[], $2::int[], $3::bigint[],"
                              " $4::bigint[]) AS w(id, number, s, e) WHERE c.document_id = w.id AND c.number = w.number"
                              " AND (c.start_offset, c.end_offset) IS DISTINCT FROM (w.s, w.e)",
                              t_.chunk)},
                 offsets);
    }

    void write_chunks() {
        std::vector<std::int64_t> ids, starts, ends;
        std::vector<std::int32_t> numbers;
        std::vector<std::string_view> hashes, texts;
        std::vector<std::optional<std::string_view>> contexts;
        std::vector<const float*> rows;
        bool reuse = false;
        for (const WriteChunk& c : request_.chunks) {
            if (c.kept || !accepted(c)) continue;
            ids.push_back(request_.documents[c.document].read->document_id);
            numbers.push_back(c.number);
            starts.push_back(c.start);
            ends.push_back(c.end);
            hashes.push_back(c.hash);
            contexts.push_back(c.context);
            texts.push_back(c.text);
            rows.push_back(c.vector);
            reuse = reuse || c.vector == nullptr;
        }
        chunks_written_ = static_cast<std::int32_t>(ids.size());
        if (ids.empty()) return;
        const bool full = revision_.settings.vector_type == VectorType::vector;
        Params params;
        params.bytes(binary_array(ids)).bytes(binary_array(numbers)).bytes(binary_array(starts)).bytes(binary_array(ends));
        params.bytes(binary_array(hashes, kByteaOid)).bytes(binary_array(contexts)).bytes(binary_array(texts));
        params.bytes(binary_vectors(rows, revision_.settings.dimensions, revision_.settings.vector_type,
                                    full ? vectors_.vector_oid : vectors_.halfvec_oid));
        if (reuse) params.add(request_.token);
        const std::string from_journal = fmt::format(
            " LEFT JOIN LATERAL (SELECT j.embedding FROM {} j WHERE w.embedding IS NULL AND j.document_id = w.id"
            "  AND j.write_token = $9::bigint AND j.chunk_hash = w.hash AND homeostat.vector_ok(j.embedding, {}) LIMIT 1) j ON true",
            t_.journal, revision_.settings.dimensions);
        tx_.exec({t_.prefix + (reuse ? "_chunks_reuse" : "_chunks"),
                  fmt::format("INSERT INTO {} (document_id, number, start_offset, end_offset, chunk_hash, context, text, embedding)"
                              " SELECT w.id, w.number, w.s, w.e, w.hash, w.context, w.text, {} FROM unnest($1::bigint[], $2::int[],"
                              " $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::{}.{}[])"
                              " AS w(id, number, s, e, hash, context, text, embedding){}",
                              t_.chunk, reuse ? "coalesce(w.embedding, j.embedding)" : "w.embedding", vectors_.schema,
                              full ? "vector" : "halfvec", reuse ? from_journal : "")},
                 params);
    }

    Transaction& tx_;
    const SourceShape& source_;
    const Revision& revision_;
    const VectorExtension& vectors_;
    const WriteRequest& request_;
    const RevisionTables& t_;
    std::unordered_set<std::int64_t> accepted_;
    std::int32_t chunks_written_ = 0;
};

// Documents to the journal as removed, and their chunks after them; `$1` ids, `$2` run, `$3` token.
void journal_removed_chunks(Transaction& tx, const RevisionTables& t, const Params& params) {
    tx.exec({t.prefix + "_drop_chunks",
             fmt::format("WITH gone AS (DELETE FROM {0} c WHERE c.document_id = ANY ($1::bigint[])"
                         "  AND NOT EXISTS (SELECT FROM {1} d WHERE d.document_id = c.document_id) RETURNING c.*)"
                         " INSERT INTO {2} (run_id, write_token, document_id, change, number, start_offset, end_offset, chunk_hash,"
                         "  context, text, embedding) SELECT $2::bigint, $3::bigint, document_id, 'removed', number, start_offset,"
                         "  end_offset, chunk_hash, context, text, embedding FROM gone",
                         t.chunk, t.document, t.journal)},
            params);
}

}  // namespace

Result<std::vector<ReadDocument>> read_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                                 const std::vector<Key>& keys, std::int64_t budget) {
    return guarded([&]() -> Result<std::vector<ReadDocument>> {
        const RevisionTables& t = revision.tables;
        const std::size_t k = source.key.size();
        std::string metadata;
        for (const ColumnShape& m : source.metadata) metadata += fmt::format(", s.{}::text AS homeostat_m{}", m.quoted, &m - source.metadata.data());
        std::string metadata_out;
        for (std::size_t i = 0; i < source.metadata.size(); ++i) metadata_out += fmt::format(", r.homeostat_m{}", i);
        const Statement read{
            t.prefix + "_read",
            fmt::format(
                "SELECT r.i, r.present, CASE WHEN r.i = r.first OR r.total <= ${0}::bigint THEN r.content END,"
                " r.homeostat_hash::text, r.version, coalesce(d.document_id, nextval('{1}_document_id_seq'::regclass)), d.write_token,"
                " d.content_hash = r.homeostat_hash, c.stored{2} FROM ("
                " SELECT r.*, sum(octet_length(r.content)) OVER (ORDER BY r.i) AS total, min(r.i) FILTER (WHERE r.present) OVER () AS first"
                " FROM (SELECT w.*, s.homeostat_present IS NOT NULL AS present, s.* FROM unnest({3}) WITH ORDINALITY AS w({4}, i)"
                "  LEFT JOIN LATERAL (SELECT true AS homeostat_present, {5} AS content, {6} AS homeostat_hash,"
                "   ({7})::text AS version{8} FROM {9} s WHERE {10}) s ON true) r) r"
                " LEFT JOIN {1} d ON {11}"
                " LEFT JOIN LATERAL (SELECT string_agg(format('%s:%s:%s', c.number, CASE WHEN homeostat.vector_ok(c.embedding, {12})"
                "   THEN 't' ELSE 'f' END, encode(c.chunk_hash, 'hex')), ';' ORDER BY c.number) AS stored FROM {13} c"
                "   WHERE c.document_id = d.document_id) c ON d.document_id IS NOT NULL"
                " ORDER BY r.i",
                k + 1, t.document, metadata_out, repeat(k, "${}::text[]"), repeat(k, "k{}"), source.content, source.content_hash(),
                source.version_sql, metadata, source.relation, match_source(source, "w.k{0}::{1}{2}"),
                [&] {
                    std::string on;
                    for (std::size_t i = 0; i < k; ++i) {
                        on += fmt::format("{}d.key_{} = r.k{}::{}{}", i == 0 ? "" : " AND ", i + 1, i + 1, source.key[i].type,
                                          source.key[i].collate);
                    }
                    return on;
                }(),
                revision.settings.dimensions, t.chunk)};
        Params params;
        add_keys(params, keys, k);
        params.add(budget);
        const Rows rows = tx.exec(read, params);
        if (rows.size() != static_cast<int>(keys.size())) {
            return Error{.cls = ErrorClass::invalid,
                         .message = fmt::format("more than one row of {} has the same key; name columns in key that identify one row",
                                                source.described),
                         .origin = Origin::user,
                         .code = "AmbiguousKey"};
        }
        std::vector<ReadDocument> out;
        out.reserve(keys.size());
        for (int i = 0; i < rows.size(); ++i) {
            ReadDocument d;
            d.key = keys[static_cast<std::size_t>(i)];
            d.in_source = rows.boolean(i, 1);
            d.deferred = d.in_source && rows.null(i, 2);
            d.content = rows.text(i, 2);
            d.content_hash = unhex(rows.view(i, 3));
            d.version = rows.maybe(i, 4);
            d.document_id = rows.i64(i, 5);
            d.write_token = rows.maybe_i64(i, 6);
            d.same_content = rows.boolean(i, 7);
            d.chunks = parse_chunks(rows.view(i, 8));
            for (std::size_t m = 0; m < source.metadata.size(); ++m) d.metadata.push_back(rows.maybe(i, 9 + static_cast<int>(m)));
            out.push_back(std::move(d));
        }
        return out;
    });
}

Result<WriteOutcome> write_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const VectorExtension& vectors, const WriteRequest& request) {
    return guarded([&] { return Writer(tx, source, revision, vectors, request).run(); });
}

Result<std::int32_t> move_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                    std::int64_t batch_id, std::int64_t token, const std::vector<Key>& keys) {
    return guarded([&] {
        const RevisionTables& t = revision.tables;
        const std::size_t k = source.key.size();
        Params params;
        add_keys(params, keys, k);
        params.add(run_id).add(batch_id).add(token);
        std::string on;
        std::string set;
        for (std::size_t i = 0; i < k; ++i) {
            on += fmt::format(" AND d.key_{} = s.{}", i + 1, source.key[i].quoted);
        }
        for (const ColumnShape& m : source.metadata) set += fmt::format(", {} = f.{}", t.metadata_column(m.name), m.quoted);
        const int run = static_cast<int>(k) + 1;
        std::string metadata;
        std::string differs = "false";
        for (const ColumnShape& m : source.metadata) {
            metadata += ", s." + m.quoted;
            differs += fmt::format(" OR s.{}::text IS DISTINCT FROM d.{}::text", m.quoted, t.metadata_column(m.name));
        }
        // Only what a rollback would have to restore is journaled: a bare change of version is not.
        const Rows rows = tx.exec(
            {t.prefix + "_move",
             fmt::format("WITH found AS MATERIALIZED (SELECT d.document_id AS homeostat_id, {} AS homeostat_version,"
                         "  ({}) AS homeostat_differs{} FROM unnest({}) AS w({})"
                         "  JOIN {} s ON {} JOIN {} d ON {} = d.content_hash{}),"
                         " kept AS (INSERT INTO {} (run_id, write_token, document_id, change, document)"
                         "  SELECT ${}::bigint, ${}::bigint, d.document_id, 'moved', to_jsonb(d) FROM {} d"
                         "  WHERE d.document_id IN (SELECT homeostat_id FROM found WHERE homeostat_differs))"
                         " UPDATE {} d SET source_version = f.homeostat_version, run_id = ${}::bigint, batch_id = ${}::bigint,"
                         "  write_token = ${}::bigint{} FROM found f WHERE d.document_id = f.homeostat_id RETURNING d.document_id",
                         source.version_sql, differs, metadata, repeat(k, "${}::text[]"), repeat(k, "k{}"), source.relation,
                         match_source(source, "w.k{0}::{1}{2}"), t.document, source.content_hash(), on, t.journal, run, run + 2,
                         t.document, t.document, run, run + 1, run + 2, set)},
            params);
        return static_cast<std::int32_t>(rows.size());
    });
}

Result<std::int32_t> prune_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                     std::int64_t token, std::optional<std::int64_t> documents,
                                     const std::vector<std::int64_t>& ids) {
    return guarded([&] {
        const RevisionTables& t = revision.tables;
        std::string document_key;
        for (std::size_t i = 0; i < source.key.size(); ++i) document_key += fmt::format("{}d.key_{}", i == 0 ? "" : ", ", i + 1);
        std::string gone = fmt::format("NOT EXISTS (SELECT FROM {} s WHERE {})", source.relation, match_source(source, "d.key_{0}"));
        if (documents) {
            gone += fmt::format(" OR ROW({}) > (SELECT {} FROM {} s ORDER BY {} OFFSET {} LIMIT 1)", document_key, source.key_list("s"),
                                source.relation, source.key_list("s"), std::max<std::int64_t>(*documents - 1, 0));
            if (*documents == 0) gone = "true";
        }
        Params params;
        params.bytes(binary_array(ids)).add(run_id).add(token);
        const Rows rows = tx.exec(
            {t.prefix + (documents ? "_prune_count" : "_prune"),
             fmt::format("WITH gone AS (DELETE FROM {} d WHERE d.document_id = ANY ($1::bigint[]) AND ({}) RETURNING d.*)"
                         " INSERT INTO {} (run_id, write_token, document_id, change, document)"
                         " SELECT $2::bigint, $3::bigint, gone.document_id, 'removed', to_jsonb(gone) FROM gone RETURNING document_id",
                         t.document, gone, t.journal)},
            params);
        journal_removed_chunks(tx, t, params);
        return static_cast<std::int32_t>(rows.size());
    });
}

Result<std::int32_t> remove_strays(Transaction& tx, const Revision& revision, std::int64_t run_id, std::int64_t token,
                                   const std::vector<std::int64_t>& ids) {
    return guarded([&] {
        Params params;
        params.bytes(binary_array(ids)).add(run_id).add(token);
        journal_removed_chunks(tx, revision.tables, params);
        return static_cast<std::int32_t>(ids.size());
    });
}

}  // namespace homeostat
