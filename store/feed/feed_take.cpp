// Taking changes out of a feed: what was named is compared with what is there now, in the transaction that plans what follows.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/feed/capture.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

constexpr char kNothing = ' ';

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

// What is to be done about a key, by what is there: m(issing), c(hanged), o(rphaned), u(nborn), or nothing.
char what_to_do(char change, bool present, std::optional<std::int64_t> document, bool as_stored) {
    if (present) return !document ? 'm' : as_stored ? kNothing : 'c';
    if (change == 't' || change == 'x') return kNothing;
    return document ? 'o' : 'u';
}

class Gathered {
public:
    explicit Gathered(const SourceShape& source) : n_(source.key.size()) {}

    // `whole`: the key has all of its columns. A row of a key with NULL in it is no document, and has none to lose.
    void add(char change, std::int64_t age_ms, char what, std::int64_t document, Key key, bool whole) {
        ++changes_.rows;
        changes_.oldest = std::max(changes_.oldest, std::chrono::milliseconds(age_ms));
        changes_.inserted += whole && change == 'i' ? 1 : 0;
        changes_.deleted += whole && change == 'd' ? 1 : 0;
        changes_.sweep = changes_.sweep || change == 't' || change == 'x';
        if (whole && named_.insert(key).second) changes_.named.push_back(key);
        if (what == kNothing || !whole || !seen_.insert(key).second) return;
        if (what == 'u') {
            changes_.unborn.push_back(std::move(key));
            return;
        }
        changes_.items.push_back({what == 'm'   ? DriftClass::missing
                                  : what == 'c' ? DriftClass::stale
                                                : DriftClass::orphaned,
                                  std::move(key), document});
    }

    // From rows of change, age in milliseconds, what is to be done, document id and key.
    void add(const Rows& rows) {
        for (int i = 0; i < rows.size(); ++i) {
            Key key;
            bool whole = true;
            for (std::size_t k = 0; k < n_; ++k) {
                const int at = 4 + static_cast<int>(k);
                whole = whole && !rows.null(i, at);
                key.push_back(rows.text(i, at));
            }
            add(rows.view(i, 0).front(), rows.i64(i, 1), rows.null(i, 2) ? kNothing : rows.view(i, 2).front(),
                rows.maybe_i64(i, 3).value_or(0), std::move(key), whole);
        }
    }

    Changes all() { return std::move(changes_); }

private:
    const std::size_t n_;
    Changes changes_;
    std::set<Key> seen_;  // what is named twice is planned once, where it came first
    std::set<Key> named_;
};

constexpr int kTakenKeys = 5;  // where the keys begin in what was taken apart: those that were named, then those that are stored

// Where the source is read apart, in two steps: the changes are taken, each with what is stored under its key, then the source is
// read by their keys. Every change that was taken had committed before the source was read, and so what it names is seen; what is
// committed after that has a change of its own, which was not taken. What is stored was read before the source, so a document
// that is of the version the source has then is of that version or a newer one for ever after: no batch stores an older one over
// it. Nothing of it is done unless all is.
Changes take_apart(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision, std::int64_t limit) {
    const std::size_t n = source.key.size();
    std::string named, texts, stored, stored_texts;
    for (std::size_t i = 1; i <= n; ++i) {
        named += fmt::format(", c.key_{0} AS k{0}", i);
        texts += fmt::format(", t.k{}::text", i);
        stored += fmt::format(", d.key_{}", i);
        stored_texts += fmt::format(", d.key_{}::text", i);
    }
    const Rows taken = tx.exec(
        {revision.tables.prefix + "_take_apart",
         fmt::format("WITH taken AS (DELETE FROM {0} c WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM {0} o LIMIT $1::bigint))"
                     "  RETURNING c.change, greatest(0, extract(epoch FROM clock_timestamp() - c.at) * 1000)::bigint AS age{1})"
                     " SELECT t.change, t.age, d.document_id, d.source_version::text,"
                     // Nothing is as it should be while a deletion is under way, as in `differs`.
                     "  EXISTS (SELECT FROM homeostat.batch b WHERE b.uid = {2} AND b.kind = 'prune'){3}{4} FROM taken t"
                     " LEFT JOIN LATERAL (SELECT d.document_id, d.source_version{5} FROM {6} d WHERE {7} LIMIT 1) d ON true",
                     change_table(uid), named, uid, texts, stored_texts, stored, revision.tables.document,
                     document_match(source))},
        Params::of(limit));
    if (taken.empty()) return {};
    const auto columns = static_cast<int>(n);
    std::vector<Key> keys;  // of those that have one
    std::vector<int> place;  // of a change among them; -1: it has none
    for (int i = 0; i < taken.size(); ++i) {
        bool whole = true;
        Key key;
        for (int k = 0; k < columns; ++k) {
            whole = whole && !taken.null(i, kTakenKeys + k);
            key.push_back(taken.text(i, kTakenKeys + k));
        }
        place.push_back(whole ? static_cast<int>(keys.size()) : -1);
        if (whole) keys.push_back(std::move(key));
    }
    std::optional<SourceRows> read;
    if (!keys.empty()) read = SourceRows::of_keys(tx, source, keys, {.hash = false, .metadata = false});
    Gathered gathered(source);
    for (int i = 0; i < taken.size(); ++i) {
        const int at = place[static_cast<std::size_t>(i)];
        const auto row = static_cast<std::size_t>(std::max(at, 0));
        const bool present = at >= 0 && read->present(row);
        Key key;
        bool as_stored = source.version != VersionKind::hash && !taken.boolean(i, 4);
        for (int k = 0; k < columns; ++k) {
            // As the source spells it, so that what is equal to it is named once.
            key.push_back(present ? read->key(row, static_cast<std::size_t>(k)) : taken.text(i, kTakenKeys + k));
            as_stored = as_stored && key.back() == taken.view(i, kTakenKeys + columns + k);
        }
        const std::optional<std::int64_t> id = taken.maybe_i64(i, 2);
        as_stored = as_stored && present && read->version(row) == taken.maybe(i, 3);
        gathered.add(taken.view(i, 0).front(), taken.i64(i, 1), what_to_do(taken.view(i, 0).front(), present, id, as_stored),
                     id.value_or(0), std::move(key), at >= 0);
    }
    return gathered.all();
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

}  // namespace

Result<Changes> take_changes(Transaction& tx, std::int64_t uid, const SourceShape& source, const Revision& revision,
                             std::int64_t limit) {
    if (source.reader.apart()) return guarded([&] { return take_apart(tx, uid, source, revision, limit); });
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
        Gathered gathered(source);
        gathered.add(rows);
        return gathered.all();
    });
}

// The source is read by keys that were taken before, then compared with what is stored.
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
        Gathered gathered(source);
        gathered.add(compare_named(tx, uid, source, revision, named));
        return gathered.all();
    });
}

}  // namespace homeostat
