// The writes that embed nothing: metadata and versions, deletions, strays.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "store/arrays.hpp"
#include "store/batches.hpp"
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

Result<ChangeOutcome> move_documents(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
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
            on += fmt::format(" AND homeostat_d.key_{} = s.{}", i + 1, source.key[i].quoted);
        }
        const int run = static_cast<int>(k) + 1;
        std::string columns;
        std::string differs = "false" + key_spelled_differently(source, "s", "homeostat_d");
        for (std::size_t i = 0; i < source.metadata.size(); ++i) {
            const std::string& quoted = source.metadata[i].quoted;
            const std::string column = t.metadata_column(source.metadata[i].name);
            columns += fmt::format(", s.{} AS m{}", quoted, i + 1);
            differs += fmt::format(" OR s.{}::text IS DISTINCT FROM homeostat_d.{}::text", quoted, column);
            set += fmt::format(", {} = f.m{}", column, i + 1);
        }
        for (std::size_t i = 0; i < k; ++i) columns += fmt::format(", s.{} AS k{}", source.key[i].quoted, i + 1);
        set += set_spelling(source, "f.k{0}");
        // Whoever has written a document since this statement began has left another token: that one may hold a newer row of the
        // source than was found here. Only what a rollback would have to restore is journaled: a bare change of version is not.
        const Rows rows = tx.exec(
            {t.prefix + "_move",
             fmt::format("WITH found AS MATERIALIZED (SELECT w.i AS homeostat_i, homeostat_d.document_id AS homeostat_id,"
                         "  homeostat_d.write_token AS homeostat_token, homeostat_d AS homeostat_document, {version} AS "
                         "homeostat_version,"
                         "  ({differs}) AS homeostat_differs{columns} FROM unnest({keys}) WITH ORDINALITY AS w({names}, i)"
                         "  JOIN {source} s ON {match} JOIN {document} homeostat_d ON {hash} = homeostat_d.content_hash{on}),"
                         " moved AS (UPDATE {document} d SET source_version = f.homeostat_version, run_id = ${run}::bigint,"
                         "  batch_id = ${batch}::bigint, write_token = ${token}::bigint{set} FROM found f"
                         "  WHERE d.document_id = f.homeostat_id AND d.write_token = f.homeostat_token"
                         "  RETURNING d.document_id, f.homeostat_i, f.homeostat_differs, f.homeostat_document),"
                         " kept AS (INSERT INTO {journal} (run_id, write_token, document_id, change, document)"
                         "  SELECT ${run}::bigint, ${token}::bigint, document_id, 'moved', homeostat_document FROM moved"
                         "  WHERE homeostat_differs)"
                         " SELECT f.homeostat_i, m.homeostat_i IS NOT NULL FROM found f LEFT JOIN moved m USING (homeostat_i)",
                         fmt::arg("version", source.version_sql), fmt::arg("differs", differs), fmt::arg("columns", columns),
                         fmt::arg("keys", numbered(k, "${}::text[]")), fmt::arg("names", numbered(k, "k{}")),
                         fmt::arg("source", source.relation), fmt::arg("match", match_source(source, "w.k{0}::{1}{2}")),
                         fmt::arg("document", t.document), fmt::arg("hash", source.content_hash()), fmt::arg("on", on),
                         fmt::arg("set", set), fmt::arg("journal", t.journal), fmt::arg("run", run), fmt::arg("batch", run + 1),
                         fmt::arg("token", run + 2))},
            params);
        ChangeOutcome out;
        for (int i = 0; i < rows.size(); ++i) {
            if (rows.boolean(i, 1)) {
                ++out.changed;
            } else {
                out.contested.push_back(keys[static_cast<std::size_t>(rows.i64(i, 0) - 1)]);
            }
        }
        return out;
    });
}

namespace {

// Who is not in the source any more, as one statement finds and removes it. A document that was written since the statement began
// has another token, and maybe a source row again that the statement cannot see: it is left, and looked at anew.
class Pruning {
public:
    Pruning(Transaction& tx, const SourceShape& source, const Revision& revision, const PruneRequest& request)
        : tx_(tx), source_(source), t_(revision.tables), request_(request), k_(source.key.size()) {
        by_key_ = !request.named.empty() && request.named.front().size() == k_ + 1;
    }

    PruneOutcome run() {
        PruneOutcome out;
        // Asked first: a heal that ends after this has its document seen by what follows.
        if (by_key_) under_way_ = keys_under_way(tx_, t_.uid, t_.revision, source_, keys());
        constexpr int kTries = 3;
        std::vector<bool> left;
        for (int i = 0; i < kTries && remove(left); ++i) {
        }
        for (std::size_t i = 0; i < request_.named.size(); ++i) {
            const bool later = (i < left.size() && left[i]) || (i < under_way_.size() && under_way_[i] && !found_.contains(i));
            if (later) out.contested.push_back(request_.named[i]);
        }
        out.change.documents = -static_cast<std::int64_t>(removed_.size());
        out.change.chunks = -chunks_;
        if (!removed_.empty()) journal_removed_chunks(tx_, t_, removed_, request_.run_id, request_.token);
        return out;
    }

private:
    std::vector<Key> keys() const {
        std::vector<Key> out;
        for (const Key& n : request_.named) out.emplace_back(n.begin() + 1, n.end());
        return out;
    }

    std::string gone() const {
        std::string document_key;
        for (std::size_t i = 0; i < k_; ++i) document_key += fmt::format("{}d.key_{}", i == 0 ? "" : ", ", i + 1);
        std::string out =
            fmt::format("NOT EXISTS (SELECT FROM {} s WHERE {})", source_.relation, match_source(source_, "d.key_{0}"));
        if (!request_.documents) return out;
        if (*request_.documents == 0) return "true";
        return out + fmt::format(" OR ROW({}) > (SELECT {} FROM {} s ORDER BY {} OFFSET {} LIMIT 1)", document_key,
                                 source_.key_list("s"), source_.relation, source_.key_list("s"), *request_.documents - 1);
    }

    // Whether any is left to be looked at again: by a statement that sees what this one could not.
    bool remove(std::vector<bool>& left) {
        left.assign(request_.named.size(), false);
        Params params;
        std::string which;
        int run = 2;
        if (by_key_) {
            add_keys(params, keys(), k_);
            which = fmt::format(
                "unnest({}) WITH ORDINALITY AS w({}, i) CROSS JOIN LATERAL (SELECT d.* FROM {} d WHERE {} LIMIT 1)"
                " d",
                numbered(k_, "${}::text[]"), numbered(k_, "k{}"), t_.document, match_document(source_, "w"));
            run = static_cast<int>(k_) + 1;
        } else {
            std::vector<std::int64_t> numbers;
            for (const Key& n : request_.named) numbers.push_back(std::stoll(n.front()));
            params.bytes(binary_array(numbers));
            which =
                fmt::format("unnest($1::bigint[]) WITH ORDINALITY AS w(id, i) JOIN {} d ON d.document_id = w.id", t_.document);
        }
        params.add(request_.run_id).add(request_.token);
        const Rows rows = tx_.exec(
            {t_.prefix + (by_key_ ? "_prune_key" : "_prune") + (request_.documents ? "_count" : ""),
             fmt::format(
                 "WITH named AS MATERIALIZED (SELECT w.i, d.document_id AS id, d.write_token AS token, ({}) AS gone FROM {}),"
                 " removed AS (DELETE FROM {} d USING named n WHERE d.document_id = n.id AND d.write_token = n.token"
                 "  AND n.gone RETURNING n.i, d.document_id AS id, d.chunk_count AS chunks, d AS document),"
                 " kept AS (INSERT INTO {} (run_id, write_token, document_id, change, document)"
                 "  SELECT ${}::bigint, ${}::bigint, id, 'removed', document FROM removed)"
                 " SELECT n.i, n.gone, r.id, r.chunks::bigint FROM named n LEFT JOIN removed r USING (i)",
                 gone(), which, t_.document, t_.journal, run, run + 1)},
            params);
        bool again = false;
        for (int i = 0; i < rows.size(); ++i) {
            const auto at = static_cast<std::size_t>(rows.i64(i, 0) - 1);
            found_.insert(at);
            if (!rows.null(i, 2)) {
                removed_.push_back(rows.i64(i, 2));
                chunks_ += rows.i64(i, 3);
            } else if (rows.boolean(i, 1)) {
                left[at] = again = true;
            }
        }
        return again;
    }

    Transaction& tx_;
    const SourceShape& source_;
    const RevisionTables& t_;
    const PruneRequest& request_;
    std::size_t k_;
    bool by_key_ = false;
    std::vector<bool> under_way_;
    std::set<std::size_t> found_;  // there was a document
    std::vector<std::int64_t> removed_;
    std::int64_t chunks_ = 0;
};

}  // namespace

Result<PruneOutcome> prune_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const PruneRequest& request) {
    return guarded([&] { return Pruning(tx, source, revision, request).run(); });
}

Result<std::int32_t> remove_strays(Transaction& tx, const Revision& revision, std::int64_t run_id, std::int64_t token,
                                   const std::vector<std::int64_t>& ids) {
    return guarded([&] {
        journal_removed_chunks(tx, revision.tables, ids, run_id, token);
        return static_cast<std::int32_t>(ids.size());
    });
}

}  // namespace homeostat
