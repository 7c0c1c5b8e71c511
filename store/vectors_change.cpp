// The writes that embed nothing: metadata and versions, deletions, strays.
#include <fmt/format.h>

#include <algorithm>

#include "store/arrays.hpp"
#include "store/sql_fragments.hpp"
#include "store/vectors.hpp"

namespace homeostat {

namespace {

// Chunks without a document, to the journal.
void journal_removed_chunks(Transaction& tx, const RevisionTables& t, const std::vector<std::int64_t>& ids, std::int64_t run_id,
                            std::int64_t token) {
    Params params;
    params.bytes(binary_array(ids)).add(run_id).add(token);
    tx.exec(
        {t.prefix + "_drop_chunks",
         fmt::format("WITH gone AS (DELETE FROM {0} WHERE ctid = ANY (ARRAY({3}"
                     "  WHERE NOT EXISTS (SELECT FROM {1} d WHERE d.document_id = c.document_id))) RETURNING *)"
                     " INSERT INTO {2} (run_id, write_token, document_id, change, number, start_offset, end_offset, chunk_hash,"
                     "  context, text, embedding) SELECT $2::bigint, $3::bigint, document_id, 'removed', number, start_offset,"
                     "  end_offset, chunk_hash, context, text, embedding FROM gone",
                     t.chunk, t.document, t.journal, chunks_of_sql(t, "unnest($1::bigint[]) AS w(id)"))},
        params);
}

}  // namespace

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
             fmt::format(
                 "WITH found AS MATERIALIZED (SELECT d.document_id AS homeostat_id, {} AS homeostat_version,"
                 "  ({}) AS homeostat_differs{} FROM unnest({}) AS w({})"
                 "  JOIN {} s ON {} JOIN {} d ON {} = d.content_hash{}),"
                 " kept AS (INSERT INTO {} (run_id, write_token, document_id, change, document)"
                 "  SELECT ${}::bigint, ${}::bigint, d.document_id, 'moved', d FROM {} d"
                 "  WHERE d.document_id IN (SELECT homeostat_id FROM found WHERE homeostat_differs))"
                 " UPDATE {} d SET source_version = f.homeostat_version, run_id = ${}::bigint, batch_id = ${}::bigint,"
                 "  write_token = ${}::bigint{} FROM found f WHERE d.document_id = f.homeostat_id RETURNING d.document_id",
                 source.version_sql, differs, metadata, numbered(k, "${}::text[]"), numbered(k, "k{}"), source.relation,
                 match_source(source, "w.k{0}::{1}{2}"), t.document, source.content_hash(), on, t.journal, run, run + 2,
                 t.document, t.document, run, run + 1, run + 2, set)},
            params);
        return static_cast<std::int32_t>(rows.size());
    });
}

Result<StoredChange> prune_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                     std::int64_t token, std::optional<std::int64_t> documents, const std::vector<Key>& named) {
    return guarded([&] {
        const RevisionTables& t = revision.tables;
        const std::size_t k = source.key.size();
        std::string document_key;
        for (std::size_t i = 0; i < k; ++i) {
            document_key += fmt::format("{}d.key_{}", i == 0 ? "" : ", ", i + 1);
        }
        std::string gone =
            fmt::format("NOT EXISTS (SELECT FROM {} s WHERE {})", source.relation, match_source(source, "d.key_{0}"));
        if (documents) {
            gone += fmt::format(" OR ROW({}) > (SELECT {} FROM {} s ORDER BY {} OFFSET {} LIMIT 1)", document_key,
                                source.key_list("s"), source.relation, source.key_list("s"),
                                std::max<std::int64_t>(*documents - 1, 0));
            if (*documents == 0) gone = "true";
        }
        const bool by_key = !named.empty() && named.front().size() == k + 1;
        Params params;
        std::string ids = "$1::bigint[]";
        if (by_key) {
            std::vector<Key> keys;
            for (const Key& n : named) keys.emplace_back(n.begin() + 1, n.end());
            add_keys(params, keys, k);
            ids = fmt::format(
                "ARRAY(SELECT d.document_id FROM unnest({}) AS w({}) CROSS JOIN LATERAL (SELECT d.document_id"
                " FROM {} d WHERE {} LIMIT 1) d)",
                numbered(k, "${}::text[]"), numbered(k, "k{}"), t.document, match_document(source, "w"));
        } else {
            std::vector<std::int64_t> numbers;
            for (const Key& n : named) numbers.push_back(std::stoll(n.front()));
            params.bytes(binary_array(numbers));
        }
        params.add(run_id).add(token);
        const int run = by_key ? static_cast<int>(k) + 1 : 2;
        const Statement prune{
            t.prefix + (by_key ? "_prune_key" : "_prune") + (documents ? "_count" : ""),
            fmt::format("WITH gone AS (DELETE FROM {} d WHERE d.document_id = ANY ({}) AND ({}) RETURNING d.document_id AS id,"
                        "  d AS document) INSERT INTO {} (run_id, write_token, document_id, change, document)"
                        " SELECT ${}::bigint, ${}::bigint, id, 'removed', document FROM gone "
                        "RETURNING document_id, (document).chunk_count::bigint",
                        t.document, ids, gone, t.journal, run, run + 1)};
        StoredChange change;
        std::vector<std::int64_t> removed;
        const auto remove = [&] {
            const Rows rows = tx.exec(prune, params);
            for (int i = 0; i < rows.size(); ++i) {
                removed.push_back(rows.i64(i, 0));
                change.chunks -= rows.i64(i, 1);
            }
        };
        remove();
        // Whoever was waited for may have given it another id.
        if (by_key && removed.size() < named.size()) remove();
        change.documents = -static_cast<std::int64_t>(removed.size());
        if (!removed.empty()) journal_removed_chunks(tx, t, removed, run_id, token);
        return change;
    });
}

Result<std::int32_t> remove_strays(Transaction& tx, const Revision& revision, std::int64_t run_id, std::int64_t token,
                                   const std::vector<std::int64_t>& ids) {
    return guarded([&] {
        journal_removed_chunks(tx, revision.tables, ids, run_id, token);
        return static_cast<std::int32_t>(ids.size());
    });
}

}  // namespace homeostat
