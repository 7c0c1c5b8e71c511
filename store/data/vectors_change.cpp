// The writes that embed nothing: metadata and versions, deletions, strays.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "store/data/keys_under_way.hpp"
#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/data/vectors.hpp"
#include "store/pg/arrays.hpp"

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

struct MoveFrom {
    std::string relation;
    std::string match;
    std::string version;
    std::string hash;
    std::string token;
};

// Of each key the token of its document. Where the source is read apart, this comes first: then what is read of the source is no
// older than what the token's writer had read, and whoever writes meanwhile leaves another.
std::vector<std::optional<std::int64_t>> tokens_of(Transaction& tx, const SourceShape& source, const Revision& revision,
                                                   const std::vector<Key>& keys) {
    const std::size_t k = source.key.size();
    Params params;
    add_keys(params, keys, k);
    const Rows rows = tx.exec(
        {revision.tables.prefix + "_tokens",
         fmt::format("SELECT d.write_token FROM unnest({}) WITH ORDINALITY AS w({}, i) LEFT JOIN LATERAL ("
                     "SELECT d.write_token FROM {} d WHERE {} LIMIT 1) d ON true ORDER BY w.i",
                     numbered(k, "${}::text[]"), numbered(k, "k{}"), revision.tables.document, match_document(source, "w"))},
        params);
    std::vector<std::optional<std::int64_t>> out;
    for (int i = 0; i < rows.size(); ++i) out.push_back(rows.maybe_i64(i, 0));
    return out;
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
        const SourceShape seen = source.reader.apart() ? source.renamed() : source;
        for (std::size_t i = 0; i < k; ++i) {
            on += fmt::format(" AND homeostat_d.key_{} = s.{}", i + 1, seen.key[i].quoted);
        }
        const int run = static_cast<int>(k) + 1;
        std::string columns;
        std::string differs = "false" + key_spelled_differently(seen, "s", "homeostat_d");
        for (std::size_t i = 0; i < source.metadata.size(); ++i) {
            const std::string& quoted = seen.metadata[i].quoted;
            const std::string column = t.metadata_column(source.metadata[i].name);
            columns += fmt::format(", s.{} AS m{}", quoted, i + 1);
            differs += fmt::format(" OR s.{}::text IS DISTINCT FROM homeostat_d.{}::text", quoted, column);
            set += fmt::format(", {} = f.m{}", column, i + 1);
        }
        for (std::size_t i = 0; i < k; ++i) columns += fmt::format(", s.{} AS k{}", seen.key[i].quoted, i + 1);
        set += set_spelling(source, "f.k{0}");
        MoveFrom from{source.relation, match_source(source, "w.k{0}::{1}{2}"), source.version_sql, source.content_hash(),
                      "homeostat_d.write_token"};
        if (source.reader.apart()) {
            const std::size_t first = params.values().size() + 1;
            const std::vector<std::optional<std::int64_t>> tokens = tokens_of(tx, source, revision, keys);
            const SourceRows read = SourceRows::of_keys(tx, source, keys);
            params.bytes(binary_array(std::span<const std::optional<std::int64_t>>(tokens)));
            read.add_to(params);
            from = {fmt::format("(SELECT r.*, t.homeostat_token FROM {} r JOIN unnest(${}::bigint[]) WITH ORDINALITY AS"
                                " t(homeostat_token, i) ON t.i = r.i)",
                                read.relation(first + 1), first),
                    "s.i = w.i AND s.present", read.shape().version_sql, std::string(SourceRows::kHash), "s.homeostat_token"};
        }
        // Whoever has written a document since this statement began has left another token: that one may hold a newer row of the
        // source than was found here. A bare change of version is journaled too: a rollback gives back the row as it was.
        const Rows rows = tx.exec(
            {t.prefix + "_move",
             fmt::format("WITH found AS MATERIALIZED (SELECT w.i AS homeostat_i, homeostat_d.document_id AS homeostat_id,"
                         "  {found} AS homeostat_token, homeostat_d AS homeostat_document, {version} AS "
                         "homeostat_version,"
                         "  ({differs}) AS homeostat_differs{columns} FROM unnest({keys}) WITH ORDINALITY AS w({names}, i)"
                         "  JOIN {source} s ON {match} JOIN {document} homeostat_d ON {hash} = homeostat_d.content_hash{on}),"
                         " moved AS (UPDATE {document} d SET source_version = f.homeostat_version, run_id = ${run}::bigint,"
                         "  batch_id = ${batch}::bigint, write_token = ${token}::bigint{set} FROM found f"
                         "  WHERE d.document_id = f.homeostat_id AND d.write_token = f.homeostat_token"
                         "  RETURNING d.document_id, f.homeostat_i, f.homeostat_differs, f.homeostat_document),"
                         " kept AS (INSERT INTO {journal} (run_id, write_token, document_id, change, document)"
                         "  SELECT ${run}::bigint, ${token}::bigint, document_id, CASE WHEN homeostat_differs THEN 'moved'"
                         "   ELSE 'touched' END, homeostat_document FROM moved)"
                         " SELECT f.homeostat_i, m.homeostat_i IS NOT NULL FROM found f LEFT JOIN moved m USING (homeostat_i)",
                         fmt::arg("version", from.version), fmt::arg("found", from.token), fmt::arg("differs", differs),
                         fmt::arg("columns", columns), fmt::arg("keys", numbered(k, "${}::text[]")),
                         fmt::arg("names", numbered(k, "k{}")), fmt::arg("source", from.relation), fmt::arg("match", from.match),
                         fmt::arg("document", t.document), fmt::arg("hash", from.hash), fmt::arg("on", on), fmt::arg("set", set),
                         fmt::arg("journal", t.journal), fmt::arg("run", run), fmt::arg("batch", run + 1),
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
        out.removed = std::move(keys_removed_);
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

    std::string key_texts(std::string_view document) const {
        std::string out;
        for (std::size_t i = 1; i <= k_; ++i) out += fmt::format(", {}.key_{}::text", document, i);
        return out;
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
        if (source_.reader.apart()) return remove_apart(which, params, left);
        params.add(request_.run_id).add(request_.token);
        const Rows rows = tx_.exec(
            {t_.prefix + (by_key_ ? "_prune_key" : "_prune") + (request_.documents ? "_count" : ""),
             fmt::format(
                 "WITH named AS MATERIALIZED (SELECT w.i, d.document_id AS id, d.write_token AS token, ({}) AS gone FROM {}),"
                 " removed AS (DELETE FROM {} d USING named n WHERE d.document_id = n.id AND d.write_token = n.token"
                 "  AND n.gone RETURNING n.i, d.document_id AS id, d.chunk_count AS chunks, d AS document),"
                 " kept AS (INSERT INTO {} (run_id, write_token, document_id, change, document)"
                 "  SELECT ${}::bigint, ${}::bigint, id, 'removed', document FROM removed)"
                 " SELECT n.i, n.gone, r.id, r.chunks::bigint{} FROM named n LEFT JOIN removed r USING (i)",
                 gone(), which, t_.document, t_.journal, run, run + 1, key_texts("(r.document)"))},
            params);
        return sort_out(rows, left);
    }

    // The same where the source is read apart: the documents with their tokens first, then whether the source has them, then
    // those go that it has not and that are what they were.
    bool remove_apart(const std::string& which, const Params& params, std::vector<bool>& left) {
        const Rows named =
            tx_.exec({t_.prefix + (by_key_ ? "_prune_named_key" : "_prune_named"),
                      fmt::format("SELECT w.i, d.document_id, d.write_token{} FROM {} ORDER BY w.i", key_texts("d"), which)},
                     params);
        std::vector<Key> documents;
        for (int i = 0; i < named.size(); ++i) {
            Key key;
            for (std::size_t c = 0; c < k_; ++c) key.push_back(named.text(i, 3 + static_cast<int>(c)));
            documents.push_back(std::move(key));
        }
        const std::vector<bool> gone = gone_from_source(documents);
        std::vector<std::int64_t> at;
        std::vector<std::int64_t> ids;
        std::vector<std::int64_t> tokens;
        std::vector<std::int64_t> absent;
        for (int i = 0; i < named.size(); ++i) {
            at.push_back(named.i64(i, 0));
            ids.push_back(named.i64(i, 1));
            tokens.push_back(named.i64(i, 2));
            absent.push_back(gone[static_cast<std::size_t>(i)] ? 1 : 0);
        }
        Params decided;
        decided.bytes(binary_array(at)).bytes(binary_array(ids)).bytes(binary_array(tokens)).bytes(binary_array(absent));
        decided.add(request_.run_id).add(request_.token);
        const Rows rows = tx_.exec(
            {t_.prefix + "_prune_apart",
             fmt::format("WITH named AS MATERIALIZED (SELECT n.i, n.id, n.token, n.gone = 1 AS gone FROM unnest($1::bigint[],"
                         " $2::bigint[], $3::bigint[], $4::bigint[]) AS n(i, id, token, gone)),"
                         " removed AS (DELETE FROM {} d USING named n WHERE d.document_id = n.id AND d.write_token = n.token"
                         "  AND n.gone RETURNING n.i, d.document_id AS id, d.chunk_count AS chunks, d AS document),"
                         " kept AS (INSERT INTO {} (run_id, write_token, document_id, change, document)"
                         "  SELECT $5::bigint, $6::bigint, id, 'removed', document FROM removed)"
                         " SELECT n.i, n.gone, r.id, r.chunks::bigint{} FROM named n LEFT JOIN removed r USING (i)",
                         t_.document, t_.journal, key_texts("(r.document)"))},
            decided);
        return sort_out(rows, left);
    }

    std::vector<bool> gone_from_source(const std::vector<Key>& documents) {
        std::vector<bool> out(documents.size(), true);
        if (request_.documents == 0 || documents.empty()) return out;
        Params params;
        add_keys(params, documents, k_);
        std::string typed;
        for (std::size_t i = 0; i < k_; ++i)
            typed += fmt::format("{}w.k{}::{}{}", i == 0 ? "" : ", ", i + 1, source_.key[i].type, source_.key[i].collate);
        std::string beyond;
        if (request_.documents) {
            beyond = fmt::format(" OR ROW({}) > (SELECT {} FROM {} s ORDER BY {} OFFSET {} LIMIT 1)", typed,
                                 source_.key_list("s"), source_.relation, source_.key_list("s"), *request_.documents - 1);
        }
        const Rows rows =
            tx_.source(source_.reader)
                .exec({"prune_gone",
                       fmt::format("SELECT NOT EXISTS (SELECT FROM {} s WHERE {}){} FROM unnest({}) WITH ORDINALITY AS"
                                   " w({}, i) ORDER BY w.i",
                                   source_.relation, match_source(source_, "w.k{0}::{1}{2}"), beyond, numbered(k_, "${}::text[]"),
                                   numbered(k_, "k{}"))},
                      params);
        for (int i = 0; i < rows.size(); ++i) out[static_cast<std::size_t>(i)] = rows.boolean(i, 0);
        return out;
    }

    bool sort_out(const Rows& rows, std::vector<bool>& left) {
        bool again = false;
        for (int i = 0; i < rows.size(); ++i) {
            const auto at = static_cast<std::size_t>(rows.i64(i, 0) - 1);
            found_.insert(at);
            if (!rows.null(i, 2)) {
                removed_.push_back(rows.i64(i, 2));
                chunks_ += rows.i64(i, 3);
                Key& key = keys_removed_.emplace_back();
                for (std::size_t c = 0; c < k_; ++c) key.push_back(rows.text(i, 4 + static_cast<int>(c)));
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
    std::vector<Key> keys_removed_;
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
