// Taking changes out of a feed: what was named is compared with what is there now, in the transaction that plans what follows.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/feed/capture.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

std::string document_match(const SourceShape& source) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{0}d.key_{1} = t.k{1}", i == 0 ? "" : " AND ", i + 1);
    }
    return out;
}

// A source without a version of its own cannot say that it is unchanged: the batch compares contents. Nor is anything as it
// should be while a deletion is under way: it may have looked before the row came back, and not have committed.
std::string differs(std::int64_t uid, const SourceShape& source, const std::string& respelled) {
    if (source.version == VersionKind::hash) return "true";
    return fmt::format(
        "s.homeostat_version IS DISTINCT FROM d.source_version{} OR EXISTS (SELECT FROM homeostat.batch b WHERE b.uid = {}"
        " AND b.kind = 'prune')",
        respelled, uid);
}

// From rows of change, age in milliseconds, what is to be done (m, c, o, u or nothing), document id and key.
Changes changes_of(const Rows& rows, const SourceShape& source) {
    Changes changes;
    changes.rows = rows.size();
    std::set<Key> seen;
    std::set<Key> planned;  // what is named twice is planned once, where it came first
    for (int i = 0; i < rows.size(); ++i) {
        const char kind = rows.view(i, 0).front();
        changes.oldest = std::max(changes.oldest, std::chrono::milliseconds(rows.i64(i, 1)));
        changes.inserted += kind == 'i' ? 1 : 0;
        changes.deleted += kind == 'd' ? 1 : 0;
        changes.sweep = changes.sweep || kind == 't' || kind == 'x';
        Key key;
        for (std::size_t k = 0; k < source.key.size() && !rows.null(i, 4 + static_cast<int>(k)); ++k)
            key.push_back(rows.text(i, 4 + static_cast<int>(k)));
        if (key.size() == source.key.size() && seen.insert(key).second) changes.named.push_back(key);
        if (rows.null(i, 2) || !planned.insert(key).second) continue;
        const char c = rows.view(i, 2).front();
        if (c == 'u') {
            changes.unborn.push_back(std::move(key));
            continue;
        }
        changes.items.push_back({c == 'm'   ? DriftClass::missing
                                 : c == 'c' ? DriftClass::stale
                                            : DriftClass::orphaned,
                                 std::move(key), rows.maybe_i64(i, 3).value_or(0)});
    }
    return changes;
}

// What was named, column by column, and the keys among it that are whole.
struct Named {
    std::vector<std::string_view> changes;
    std::vector<std::int64_t> ages;
    std::vector<std::vector<std::optional<std::string_view>>> columns;
    std::vector<Key> keys;
    std::vector<std::int64_t> numbers;  // from 1: which of the changes has that key
};

// The source is read by the keys that were named, then that is compared with what is stored.
Rows compare_named(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision, const Named& named) {
    const std::size_t n = source.key.size();
    const SourceRows read = SourceRows::of_keys(tx, source, named.keys, {.hash = false, .metadata = false});
    std::string texts;
    std::string columns_of_t;
    std::string respelled;
    for (std::size_t i = 1; i <= n; ++i) {
        const ColumnShape& column = source.key[i - 1];
        texts += fmt::format(", coalesce(s.k{0}::text, t.k{0}::text)", i);
        columns_of_t += fmt::format(", u.k{0}::{1}{2} AS k{0}", i, column.type, column.collate);
        if (!column.exact) respelled += fmt::format(" OR s.k{0}::text COLLATE \"C\" <> d.key_{0}::text COLLATE \"C\"", i);
    }
    const std::string changed = differs(uid, source, respelled);
    Params params;
    params.bytes(binary_array(named.changes)).bytes(binary_array(named.ages));
    for (const auto& column : named.columns) params.bytes(binary_array(std::span<const std::optional<std::string_view>>(column)));
    params.bytes(binary_array(named.numbers));
    read.add_to(params);
    std::string stored;
    for (std::size_t i = 1; i <= n; ++i) stored += fmt::format(", d.key_{}", i);
    return tx.exec(
        {revision.tables.prefix + "_compare_apart",
         fmt::format(
             "SELECT t.change, t.age, CASE WHEN s.present AND d.document_id IS NULL THEN 'm' WHEN s.present AND ({0}) THEN 'c'"
             "  WHEN s.present OR t.change IN ('t', 'x') THEN NULL"
             "  WHEN d.document_id IS NOT NULL THEN 'o' ELSE 'u' END, d.document_id{1}"
             " FROM (SELECT u.change, u.age, u.i{2} FROM unnest($1::text[], $2::bigint[], {3}) WITH ORDINALITY AS"
             "  u(change, age, {4}, i)) t"
             " LEFT JOIN (SELECT r.*, n.at FROM {5} r JOIN unnest(${6}::bigint[]) WITH ORDINALITY AS n(at, i) ON n.i = r.i"
             "  WHERE r.present) s ON s.at = t.i"
             " LEFT JOIN LATERAL (SELECT d.document_id, d.source_version{7} FROM {8} d WHERE {9} LIMIT 1) d ON true"
             " ORDER BY t.i",
             changed, texts, columns_of_t, numbered(n, "${}::text[]", 3), numbered(n, "k{}"), read.relation(n + 4), n + 3, stored,
             revision.tables.document, document_match(source))},
        params);
}

// Three steps where the source is read apart, in this order: the changes are taken, then the source is read by their keys, then
// that is compared with what is stored. Every change that was taken had committed before the source was read, and so what it
// names is seen; what is committed after that has a change of its own, which was not taken. Nothing of it is done unless all is.
Rows take_apart(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision, std::int64_t limit) {
    const std::size_t n = source.key.size();
    std::string keys;
    for (std::size_t i = 1; i <= n; ++i) keys += fmt::format(", c.key_{}::text", i);
    Rows taken = tx.exec(
        {revision.tables.prefix + "_take_apart",
         fmt::format(
             "DELETE FROM {0} c WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM {0} o LIMIT $1::bigint)) RETURNING c.change::text,"
             " greatest(0, extract(epoch FROM clock_timestamp() - c.at) * 1000)::bigint{1}",
             change_table(uid), keys)},
        Params::of(limit));
    if (taken.empty()) return taken;
    Named named;
    named.columns.resize(n);
    for (int i = 0; i < taken.size(); ++i) {
        named.changes.push_back(taken.view(i, 0));
        named.ages.push_back(taken.i64(i, 1));
        bool whole = true;
        Key key;
        for (std::size_t k = 0; k < n; ++k) {
            const int at = 2 + static_cast<int>(k);
            whole = whole && !taken.null(i, at);
            named.columns[k].push_back(taken.null(i, at) ? std::nullopt : std::optional<std::string_view>(taken.view(i, at)));
            key.push_back(taken.text(i, at));
        }
        if (!whole) continue;
        named.keys.push_back(std::move(key));
        named.numbers.push_back(i + 1);
    }
    return compare_named(tx, uid, source, revision, named);
}

}  // namespace

Result<Changes> take_changes(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision,
                             std::int64_t limit) {
    if (source.reader.apart()) return guarded([&] { return changes_of(take_apart(tx, uid, source, revision, limit), source); });
    return guarded([&] {
        const auto n = static_cast<int>(source.key.size());
        std::string keys;
        std::string texts;  // as the source spells them, so that what is equal to it is named once
        std::string spelled;
        std::string stored;
        std::string respelled;
        for (int i = 1; i <= n; ++i) {
            keys += fmt::format(", c.key_{0} AS k{0}", i);
            texts += fmt::format(", coalesce(s.k{0}::text, t.k{0}::text)", i);
            const ColumnShape& column = source.key[static_cast<std::size_t>(i - 1)];
            spelled += fmt::format(", s.{} AS k{}", column.quoted, i);
            stored += fmt::format(", d.key_{}", i);
            if (!column.exact) respelled += fmt::format(" OR s.k{0}::text COLLATE \"C\" <> d.key_{0}::text COLLATE \"C\"", i);
        }
        const std::string changed = differs(uid, source, respelled);
        // What is to be done about each key, by what is there now: m(issing), c(hanged), o(rphaned), u(nborn); others are as they
        // should be.
        const Rows rows = tx.exec(
            {revision.tables.prefix + "_take",
             fmt::format(
                 "WITH taken AS (DELETE FROM {0} c WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM {0} o LIMIT $1::bigint))"
                 "  RETURNING c.change, greatest(0, extract(epoch FROM clock_timestamp() - c.at) * 1000)::bigint AS age{1})"
                 " SELECT t.change, t.age, CASE WHEN s.present AND d.document_id IS NULL THEN 'm' WHEN s.present AND ({2}) THEN "
                 "'c'"
                 "  WHEN s.present IS NOT NULL OR t.change IN ('t', 'x') THEN NULL"
                 "  WHEN d.document_id IS NOT NULL THEN 'o' ELSE 'u' END, d.document_id{3} FROM taken t"
                 " LEFT JOIN LATERAL (SELECT true AS present, {4} AS homeostat_version{9} FROM {5} s WHERE {6} LIMIT 1) s ON true"
                 " LEFT JOIN LATERAL (SELECT d.document_id, d.source_version{10} FROM {7} d WHERE {8} LIMIT 1) d ON true",
                 change_table(uid), keys, changed, texts, source.version_sql, source.relation, match_source(source, "t.k{0}"),
                 revision.tables.document, document_match(source), spelled, stored)},
            Params::of(limit));
        return changes_of(rows, source);
    });
}

// By the same steps as where the source is read apart, the first of which take_changes has done.
Result<Changes> compare_changes(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision,
                                const std::vector<Key>& keys) {
    return guarded([&] {
        if (keys.empty()) return Changes();
        Named named;
        named.columns.resize(source.key.size());
        named.keys = keys;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            named.changes.push_back("u");
            named.ages.push_back(0);
            named.numbers.push_back(static_cast<std::int64_t>(i) + 1);
            for (std::size_t k = 0; k < source.key.size(); ++k) named.columns[k].push_back(std::string_view(keys[i][k]));
        }
        return changes_of(compare_named(tx, uid, source, revision, named), source);
    });
}

}  // namespace homeostat
