// The questions about a source and its documents that are not slices: counts, dead letters, sizes, strays; and what asking any
// needs.
#include <fmt/format.h>

#include <array>

#include "store/data/drift.hpp"
#include "store/data/source_rows.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 8> kClassNames{"missing", "stale",    "moved",  "partial",
                                                      "invalid", "orphaned", "excess", "touched"};

// Of document ids that one statement walks, so that none lasts, and no snapshot with it, however large the table.
constexpr std::int64_t kIdsAtOnce = 200'000;

// The first id after that one; ids have gaps.
std::optional<std::int64_t> next_document(Session& session, const Revision& revision, std::string_view what,
                                          const std::string& table, std::int64_t after) {
    return session
        .exec({fmt::format("{}_next_{}", revision.tables.prefix, what),
               fmt::format("SELECT min(document_id) FROM {} WHERE document_id > $1::bigint", table)},
              Params::of(after))
        .maybe_i64(0, 0);
}

constexpr int kCountsAtMost = 3;

struct Counted {
    Totals totals;
    bool moved = false;  // by the feed, from the first range to the last: of that, a range may have seen any part
};

Counted count_once(Session& session, const Revision& revision) {
    Counted out;
    Totals& t = out.totals;
    const auto next = [&](std::int64_t after) {
        return next_document(session, revision, "documents", revision.tables.document, after);
    };
    bool began = false;
    for (std::optional<std::int64_t> first = next(0).value_or(0); first;) {
        const std::int64_t last = *first + kIdsAtOnce;
        const Rows rows = session.exec(
            {revision.tables.prefix + "_totals",
             fmt::format("SELECT count(*), coalesce(sum(d.chunk_count), 0),"
                         " coalesce((SELECT s.documents FROM homeostat.pipeline_status s WHERE s.uid = $3::bigint), 0),"
                         " coalesce((SELECT s.chunks FROM homeostat.pipeline_status s WHERE s.uid = $3::bigint), 0)"
                         " FROM {} d WHERE d.document_id >= $1::bigint AND d.document_id <= $2::bigint",
                         revision.tables.document)},
            Params::of(*first, last, revision.tables.uid));
        t.documents += rows.i64(0, 0);
        t.chunks += rows.i64(0, 1);
        out.moved = out.moved || (began && (t.told_documents != rows.i64(0, 2) || t.told_chunks != rows.i64(0, 3)));
        t.told_documents = rows.i64(0, 2);
        t.told_chunks = rows.i64(0, 3);
        began = true;
        first = next(last);
    }
    return out;
}

}  // namespace

std::string_view to_string(DriftClass c) noexcept { return kClassNames[static_cast<std::size_t>(c)]; }

void use_operators(Transaction& tx, const SourceShape& source) {
    const std::string path = "SET LOCAL search_path = pg_catalog" + source.search_path;
    if (!source.search_path.empty()) tx.exec(path);
    if (!source.reader.apart()) {
        if (!source.filtered.empty()) tx.exec("SET LOCAL row_security = on");
        return;
    }
    if (!source.search_path.empty()) tx.source(source.reader).before_each(path);
    if (!source.filtered.empty()) tx.source(source.reader).before_each("SET LOCAL row_security = on");
}

void add_keys(Params& params, const std::vector<Key>& keys, std::size_t columns) {
    std::vector<std::string_view> column(keys.size());
    for (std::size_t c = 0; c < columns; ++c) {
        for (std::size_t i = 0; i < keys.size(); ++i) column[i] = keys[i][c];
        params.bytes(binary_array(column));
    }
}

Result<std::int64_t> count_unkeyed(Transaction& tx, const SourceShape& source) {
    return guarded([&]() -> std::int64_t {
        if (!source.nullable_key) return 0;
        std::string any;
        for (const ColumnShape& c : source.key)
            any += fmt::format("{}s.{} IS NOT DISTINCT FROM NULL", any.empty() ? "" : " OR ", c.quoted);
        const Statement count{"", fmt::format("SELECT count(*) FROM {} s WHERE {}", source.relation, any)};
        return tx.source(source.reader).exec(count).i64(0, 0);
    });
}

Result<Totals> count_stored(Session& session, const Revision& revision) {
    return guarded([&] {
        Counted counted = count_once(session, revision);
        for (int n = 1; n < kCountsAtMost && counted.moved; ++n) counted = count_once(session, revision);
        return counted.totals;
    });
}

Totals count_stored(Transaction& tx, const Revision& revision) {
    const Rows rows = tx.exec(
        {revision.tables.prefix + "_totals_now",
         fmt::format("SELECT count(*), coalesce(sum(d.chunk_count), 0),"
                     " coalesce((SELECT s.documents FROM homeostat.pipeline_status s WHERE s.uid = $1::bigint), 0),"
                     " coalesce((SELECT s.chunks FROM homeostat.pipeline_status s WHERE s.uid = $1::bigint), 0) FROM {} d",
                     revision.tables.document)},
        Params::of(revision.tables.uid));
    return {rows.i64(0, 0), rows.i64(0, 1), rows.i64(0, 2), rows.i64(0, 3)};
}

Result<std::vector<bool>> dead_letters_among(Transaction& tx, const SourceShape& source, const Revision& revision,
                                             const std::vector<Key>& keys) {
    return guarded([&] {
        Params params = Params::of(revision.tables.uid, revision.number);
        add_keys(params, keys, source.key.size());
        std::string columns;
        std::string arrays;
        std::string match;
        for (std::size_t i = 0; i < source.key.size(); ++i) {
            columns += fmt::format("{}k{}", i == 0 ? "" : ", ", i + 1);
            arrays += fmt::format("{}${}::text[]", i == 0 ? "" : ", ", i + 3);
            match +=
                fmt::format(" AND s.{} = w.k{}::{}{}", source.key[i].quoted, i + 1, source.key[i].type, source.key[i].collate);
        }
        std::string hash = source.content_hash();
        std::string relation = source.relation;
        if (source.reader.apart()) {
            const SourceRows read = SourceRows::of_keys(tx, source, keys, {.hash = true, .metadata = false});
            hash = SourceRows::kHash;
            relation = read.relation(params.values().size() + 1);
            match = " AND s.i = w.i AND s.present";
            read.add_to(params);
        }
        const Rows rows = tx.exec(
            {revision.tables.prefix + "_dead",
             fmt::format(
                 "SELECT w.i FROM unnest({}) WITH ORDINALITY AS w({}, i) JOIN homeostat.dead_letter l ON l.uid = $1::bigint"
                 " AND l.revision = $2::int AND l.key = ARRAY[{}] JOIN {} s ON {} = l.content_hash{}",
                 arrays, columns, columns, relation, hash, match)},
            params);
        std::vector<bool> dead(keys.size(), false);
        for (int i = 0; i < rows.size(); ++i) dead[static_cast<std::size_t>(rows.i64(i, 0) - 1)] = true;
        return dead;
    });
}

namespace {

// Those of what is searched beside the next revision stay until that one takes over.
constexpr std::string_view kNotServed =
    "NOT EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = l.uid AND r.revision = l.revision AND r.state = 'served')";

// The same where the source is read apart: the letters first, then what the source has now, then those go whose text is another.
// One that was written meanwhile is no longer what was compared, and stays.
void settle_apart(Transaction& tx, const SourceShape& source, const Revision& revision) {
    const Params whose = Params::of(revision.tables.uid, revision.number);
    const Rows letters = tx.exec({"dead_letters_to_settle",
                                  "SELECT key::text, encode(content_hash, 'hex') FROM homeostat.dead_letter"
                                  " WHERE uid = $1::bigint AND revision = $2::int"},
                                 whose);
    std::vector<Key> keys;
    for (int i = 0; i < letters.size(); ++i) keys.push_back(parse_text_array(letters.view(i, 0)));
    const SourceRows now = SourceRows::of_keys(tx, source, keys, {.hash = true, .metadata = false});
    std::vector<std::string_view> gone_keys;
    std::vector<std::string_view> gone_hashes;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const auto row = static_cast<int>(i);
        if (now.present(i) && now.hash(i) == letters.view(row, 1)) continue;
        gone_keys.push_back(letters.view(row, 0));
        gone_hashes.push_back(letters.view(row, 1));
    }
    Params params = whose;
    params.bytes(binary_array(gone_keys)).bytes(binary_array(gone_hashes));
    tx.exec({"dead_letters_settle",
             "DELETE FROM homeostat.dead_letter l WHERE l.uid = $1::bigint AND CASE WHEN l.revision <> $2::int THEN " +
                 std::string(kNotServed) +
                 " ELSE EXISTS (SELECT FROM unnest($3::text[], $4::text[]) AS w(key, hash) WHERE l.key = w.key::text[]"
                 " AND l.content_hash = decode(w.hash, 'hex')) END"},
            params);
}

}  // namespace

Status settle_dead_letters(Transaction& tx, const SourceShape& source, const Revision& revision) {
    if (source.reader.apart()) return guarded([&] { settle_apart(tx, source, revision); });
    return guarded([&] {
        std::string match;
        for (std::size_t i = 0; i < source.key.size(); ++i) {
            match += fmt::format(" AND s.{} = l.key[{}]::{}{}", source.key[i].quoted, i + 1, source.key[i].type,
                                 source.key[i].collate);
        }
        tx.exec({revision.tables.prefix + "_settle_dead",
                 fmt::format(
                     "DELETE FROM homeostat.dead_letter l WHERE l.uid = $1::bigint AND CASE WHEN l.revision <> $2::int THEN {}"
                     " ELSE NOT EXISTS (SELECT FROM {} s WHERE {} = l.content_hash{}) END",
                     kNotServed, source.relation, source.content_hash(), match)},
                Params::of(revision.tables.uid, revision.number));
    });
}

void count_source_as_stored(Transaction& tx, const SourceShape& source, const Revision& revision) {
    std::string match;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        match += fmt::format("{}d.key_{} = l.key[{}]::{}{}", i == 0 ? "" : " AND ", i + 1, i + 1, source.key[i].type,
                             source.key[i].collate);
    }
    if (!source.search_path.empty()) tx.exec("SET LOCAL search_path = pg_catalog" + source.search_path);
    tx.exec({revision.tables.prefix + "_source_count", fmt::format(R"sql(
        UPDATE homeostat.pipeline_status s SET source_documents = s.documents + (
            SELECT count(*) FROM homeostat.dead_letter l WHERE l.uid = $1::bigint AND l.revision = $2::int
                AND NOT EXISTS (SELECT FROM {} d WHERE {}))
        WHERE s.uid = $1::bigint)sql",
                                                                   revision.tables.document, match)},
            Params::of(revision.tables.uid, revision.number));
    if (!source.search_path.empty()) tx.exec("SET LOCAL search_path = pg_catalog");
}

Result<ContentSize> content_size(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys) {
    return guarded([&] {
        Params params;
        add_keys(params, keys, source.key.size());
        std::string columns;
        std::string arrays;
        std::string match;
        for (std::size_t i = 0; i < source.key.size(); ++i) {
            columns += fmt::format("{}k{}", i == 0 ? "" : ", ", i + 1);
            arrays += fmt::format("{}${}::text[]", i == 0 ? "" : ", ", i + 1);
            match += fmt::format("{}s.{} = w.k{}::{}{}", i == 0 ? "" : " AND ", source.key[i].quoted, i + 1, source.key[i].type,
                                 source.key[i].collate);
        }
        const Rows rows = tx.source(source.reader)
                              .exec({"content_size", fmt::format("SELECT coalesce(sum(octet_length({})), 0), count(*)"
                                                                 " FROM unnest({}) AS w({}) JOIN {} s ON {}",
                                                                 source.content, arrays, columns, source.relation, match)},
                                    params);
        return ContentSize{rows.i64(0, 0), rows.i64(0, 1)};
    });
}

Result<std::vector<std::int64_t>> stray_chunks(Session& session, const Revision& revision, std::size_t limit) {
    return guarded([&] {
        std::vector<std::int64_t> ids;
        std::int64_t after = 0;
        while (ids.size() < limit) {
            const std::optional<std::int64_t> first = next_document(session, revision, "chunks", revision.tables.chunk, after);
            if (!first) break;
            after = *first + kIdsAtOnce / 4;  // of each, some chunks
            const Rows rows = session.exec(
                {revision.tables.prefix + "_strays",
                 fmt::format("SELECT DISTINCT c.document_id FROM {} c LEFT JOIN {} d ON d.document_id = c.document_id"
                             " AND d.document_id >= $1::bigint AND d.document_id <= $2::bigint"
                             " WHERE c.document_id >= $1::bigint AND c.document_id <= $2::bigint AND d.document_id IS NULL"
                             // What was superseded is put away without being asked for.
                             " AND c.document_id NOT IN (SELECT unnest(b.keys)::bigint FROM homeostat.batch b"
                             "  WHERE b.uid = $4::bigint AND b.kind = 'stray') ORDER BY 1 LIMIT $3::bigint",
                             revision.tables.chunk, revision.tables.document)},
                Params::of(*first, after, static_cast<std::int64_t>(limit - ids.size()), revision.tables.uid));
            for (int i = 0; i < rows.size(); ++i) ids.push_back(rows.i64(i, 0));
        }
        return ids;
    });
}

}  // namespace homeostat
