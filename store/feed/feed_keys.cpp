// Which documents the change feed has in hand, so that a sweep leaves them to it, and those that come to be though their rows are
// gone.
#include <fmt/format.h>

#include <algorithm>

#include "store/data/keys_under_way.hpp"
#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/feed/capture.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

Result<std::vector<bool>> known_to_feed(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id,
                                        const std::vector<DriftItem>& items, bool moves) {
    return guarded([&] {
        std::vector<bool> known(items.size(), false);
        if (items.empty()) return known;
        const std::size_t n = source.key.size();
        std::vector<Key> keys(items.size());
        std::ranges::transform(items, keys.begin(), &DriftItem::key);
        const std::int64_t uid = revision.tables.uid;
        Params params;
        add_keys(params, keys, n);
        params.add(uid).add(run_id).add(revision.number);
        // A heal writes its row as it is by then, but removes nothing where the row is gone.
        const auto goes = [](DriftClass c) { return c == DriftClass::orphaned || c == DriftClass::excess; };
        std::string named, columns, planned;
        for (std::size_t i = 0; i < n; ++i) {
            named += fmt::format("{0}c.key_{1} = w.k{1}::{2}{3}", i == 0 ? "" : " AND ", i + 1, source.key[i].type,
                                 source.key[i].collate);
            columns += fmt::format("{0}b.keys[{1}][u.j] AS k{1}", i == 0 ? "" : ", ", i + 1);
            planned += fmt::format("{0}p.k{1} = w.k{1}", i == 0 ? "" : " AND ", i + 1);
        }
        // Batches of the feed are few and small; deletions carry document ids before their keys. What heals another revision, or
        // was planned for an earlier declaration and will never be claimed, heals nothing here.
        const Rows rows = tx.exec(
            {fmt::format("p{}_known{}", uid, moves ? "" : "_planned"),
             fmt::format("WITH w AS MATERIALIZED (SELECT * FROM unnest({0}) WITH ORDINALITY AS w({1}, i))"
                         "{9}"
                         " SELECT w.i, true FROM w JOIN (SELECT {7} FROM homeostat.batch b, generate_series(1, b.documents) u(j)"
                         "  WHERE b.uid = ${4}::bigint AND b.run_id = ${5}::bigint AND b.kind = 'heal'"
                         "   AND b.revision = ${8}::int AND b.generation = (SELECT q.generation FROM homeostat.pipeline q"
                         "    WHERE q.uid = b.uid)) p ON {6}",
                         numbered(n, "${}::text[]"), numbered(n, "k{}"), change_table(uid), named, n + 1, n + 2, planned, columns,
                         n + 3,
                         moves ? fmt::format(" SELECT w.i, false FROM w JOIN {} c ON {} UNION", change_table(uid), named) : "")},
            params);
        for (int i = 0; i < rows.size(); ++i) {
            const auto at = static_cast<std::size_t>(rows.i64(i, 0) - 1);
            known[at] = known[at] || !rows.boolean(i, 1) || !goes(items[at].cls);
        }
        return known;
    });
}

std::int64_t served_among(Transaction& tx, const SourceShape& source, const Revision& served, const Revision& next,
                          const std::vector<Key>& keys) {
    if (keys.empty()) return 0;
    const Rows types = tx.exec({"key_types_of_two", R"sql(
        SELECT count(o.attname) = count(n.attname) AND count(*) = $3::bigint, coalesce(bool_and(o.atttypid = n.atttypid
            AND o.atttypmod = n.atttypmod AND o.attcollation = n.attcollation), false)
        FROM (SELECT * FROM pg_attribute WHERE attrelid = $1::regclass AND attname ~ '^key_[0-9]+$' AND NOT attisdropped) o
        FULL JOIN (SELECT * FROM pg_attribute WHERE attrelid = $2::regclass AND attname ~ '^key_[0-9]+$' AND NOT attisdropped) n
            USING (attname))sql"},
                               Params::of(served.tables.document, next.tables.document, source.key.size()));
    if (!types.boolean(0, 0)) return 0;
    const bool same = types.boolean(0, 1);
    std::string as_text;
    for (std::size_t i = 1; i <= source.key.size(); ++i)
        as_text += fmt::format("{0}d.key_{1}::text = w.k{1}", i == 1 ? "" : " AND ", i);
    Params params;
    add_keys(params, keys, source.key.size());
    return tx
        .exec({served.tables.prefix + (same ? "_served" : "_served_as_text"),
               fmt::format("SELECT count(*) FROM unnest({}) AS w({}) WHERE EXISTS (SELECT FROM {} d WHERE {})",
                           numbered(source.key.size(), "${}::text[]"), numbered(source.key.size(), "k{}"), served.tables.document,
                           same ? match_document(source, "w") : as_text)},
              params)
        .i64(0, 0);
}

Result<std::vector<Key>> coming_to_be(Transaction& tx, const SourceShape& source, const Revision& revision,
                                      const std::vector<Key>& keys) {
    return guarded([&] {
        // In this order: a heal that ends in between has its document seen.
        const std::vector<bool> under_way = keys_under_way(tx, revision.tables.uid, revision.number, source, keys);
        std::vector<Key> out;
        if (keys.empty()) return out;
        const std::size_t n = source.key.size();
        Params params;
        add_keys(params, keys, n);
        const Rows rows = tx.exec(
            {revision.tables.prefix + "_stored",
             fmt::format("SELECT w.i FROM unnest({}) WITH ORDINALITY AS w({}, i) WHERE EXISTS (SELECT FROM {} d WHERE {})",
                         numbered(n, "${}::text[]"), numbered(n, "k{}"), revision.tables.document, match_document(source, "w"))},
            params);
        std::vector<bool> coming = under_way;
        for (int i = 0; i < rows.size(); ++i) coming[static_cast<std::size_t>(rows.i64(i, 0) - 1)] = true;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            if (coming[i]) out.push_back(keys[i]);
        }
        return out;
    });
}

std::vector<Key> keys_coming_too_late(Transaction& tx, const SourceShape& source, const Revision& revision, std::int64_t run_id) {
    const std::size_t n = source.key.size();
    const RevisionTables& t = revision.tables;
    std::string same;
    for (std::size_t i = 1; i <= n; ++i) same += fmt::format(" AND p.k{0} = u.k{0}", i);
    const std::string gone = source.reader.apart() ? ""
                                                   : fmt::format(" AND NOT EXISTS (SELECT FROM {} s WHERE {})", source.relation,
                                                                 match_source(source, "u.k{0}::{1}{2}"));
    const Rows rows = tx.exec(
        {t.prefix + "_too_late",
         fmt::format(R"sql(
        SELECT DISTINCT {names} FROM homeostat.batch b CROSS JOIN LATERAL unnest({heals}) AS u({names})
        WHERE b.uid = $1::bigint AND b.run_id = $2::bigint AND b.revision = $3::int AND b.kind = 'heal' AND b.claim_token IS NOT NULL{gone}
          AND NOT EXISTS (SELECT FROM {document} d WHERE {stored})
          AND NOT EXISTS (SELECT FROM homeostat.batch g CROSS JOIN LATERAL unnest(g.keys[1:1], {deletions}) AS p(id, {names})
              WHERE g.uid = $1::bigint AND g.run_id = $2::bigint AND g.revision = $3::int AND g.kind = 'prune'{same}))sql",
                     fmt::arg("names", numbered(n, "k{}")), fmt::arg("heals", numbered(n, "b.keys[{0}:{0}]")),
                     fmt::arg("deletions", numbered(n, "g.keys[{0}:{0}]", 2)), fmt::arg("gone", gone),
                     fmt::arg("document", t.document), fmt::arg("stored", match_document(source, "u")), fmt::arg("same", same))},
        Params::of(t.uid, run_id, revision.number));
    std::vector<Key> out;
    for (int i = 0; i < rows.size(); ++i) {
        Key key;
        for (std::size_t k = 0; k < n; ++k) key.push_back(rows.text(i, static_cast<int>(k)));
        out.push_back(std::move(key));
    }
    if (!source.reader.apart() || out.empty()) return out;
    const std::vector<bool> there = in_source(tx, source, out);
    std::vector<Key> left;
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (!there[i]) left.push_back(std::move(out[i]));
    }
    return left;
}

std::vector<std::int64_t> forget_named(Transaction& tx, std::int64_t uid, const SourceShape& source,
                                       const std::vector<Key>& keys) {
    std::vector<std::int64_t> out(keys.size(), 0);
    if (tx.exec({"feed_there", "SELECT to_regclass($1)"}, Params::of(change_table(uid))).null(0, 0)) return out;
    const std::size_t k = source.key.size();
    std::string on;
    for (std::size_t i = 1; i <= k; ++i) on += fmt::format("{0}c.key_{1}::text COLLATE \"C\" = w.k{1}", i == 1 ? "" : " AND ", i);
    Params params;
    add_keys(params, keys, k);
    const Rows rows =
        tx.exec({"", fmt::format("DELETE FROM {} c USING unnest({}) WITH ORDINALITY AS w({}, i) WHERE {} RETURNING w.i - 1",
                                 change_table(uid), numbered(k, "${}::text[]"), numbered(k, "k{}"), on)},
                params);
    for (int i = 0; i < rows.size(); ++i) ++out[static_cast<std::size_t>(rows.i64(i, 0))];
    return out;
}

}  // namespace homeostat
