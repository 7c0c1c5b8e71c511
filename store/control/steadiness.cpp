#include "store/control/steadiness.hpp"

#include <fmt/format.h>

#include "store/data/source_fingerprint.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/data/watched_columns.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// What was never noted, or without the columns, was compared by a program before this one: it is taken to hold.
const Statement kOutdated{"versions_outdated", R"sql(
    WITH outdated AS (
        SELECT $4 AND coalesce((SELECT s.compared_under <> $3 AND NOT starts_with($3, s.compared_under || ':')
            FROM homeostat.pipeline_status s WHERE s.uid = $1::bigint), false) AS outdated
    ), noted AS (
        UPDATE homeostat.run SET compared_under = $3, deep = deep OR o.outdated FROM outdated o WHERE id = $2::bigint
    )
    SELECT outdated FROM outdated)sql"};

const Statement kAdopt{"versions_adopt", R"sql(
    UPDATE homeostat.pipeline_status SET compared_under = $2
    WHERE uid = $1::bigint AND compared_under IS DISTINCT FROM $2)sql"};

const Statement kCompared{"versions_compared", R"sql(
    INSERT INTO homeostat.pipeline_status AS s (uid, compared_under)
    SELECT r.uid, r.compared_under FROM homeostat.run r WHERE r.id = $1::bigint AND r.compared_under IS NOT NULL
    ON CONFLICT (uid) DO UPDATE SET compared_under = excluded.compared_under
        WHERE ($2 OR s.compared_under IS NULL) AND s.compared_under IS DISTINCT FROM excluded.compared_under)sql"};

const Statement kCluster{"versions_cluster", R"sql(
    SELECT concat_ws(':', (SELECT system_identifier FROM pg_control_system()), to_regclass(p.source)::oid)
    FROM homeostat.pipeline p WHERE p.uid = $1::bigint)sql"};

// Columns by their place and type, and types by what they call their values. A row keeps its version while a column changes
// places with another, is dropped and added with a default, or has its type's values renamed, and says something else then.
const Statement kColumns{"versions_columns", R"sql(
    WITH RECURSIVE read AS (
        SELECT a.attname, a.attnum, a.atttypid, a.atttypmod FROM homeostat.pipeline p
        JOIN pg_attribute a ON a.attrelid = to_regclass(p.source) AND a.attname = ANY ($2::text[])
        WHERE p.uid = $1::bigint AND a.attnum > 0 AND NOT a.attisdropped
    ), type (oid) AS (
        SELECT atttypid FROM read WHERE atttypid >= 16384
        UNION
        SELECT n.oid FROM type t JOIN pg_type y ON y.oid = t.oid CROSS JOIN LATERAL (
            VALUES (y.typelem), (y.typbasetype), ((SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = y.oid))
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0) n(oid)
        WHERE n.oid >= 16384
    )
    SELECT md5(concat_ws('|',
        (SELECT string_agg(concat_ws(':', attname, attnum, atttypid, atttypmod), ',' ORDER BY attname) FROM read),
        (SELECT string_agg(concat_ws(':', l.oid, l.enumlabel), ',' ORDER BY l.oid) FROM type t JOIN pg_enum l ON l.enumtypid = t.oid),
        (SELECT string_agg(concat_ws(':', a.attrelid, a.attnum, a.atttypid, a.attisdropped), ',' ORDER BY a.attrelid, a.attnum)
         FROM type t JOIN pg_type y ON y.oid = t.oid JOIN pg_attribute a ON a.attrelid = y.typrelid AND a.attnum > 0))))sql"};

const Statement kKnown{"unsteady_known", R"sql(
    SELECT u.key IS NOT NULL FROM unnest($2::text[]) WITH ORDINALITY AS w(key, i)
    LEFT JOIN homeostat.unsteady u ON u.uid = $1::bigint AND u.key = w.key::text[] ORDER BY w.i)sql"};

const Statement kNote{"unsteady_note", R"sql(
    INSERT INTO homeostat.unsteady (uid, key, run_id) SELECT DISTINCT $1::bigint, w.key::text[], $2::bigint FROM unnest($3::text[]) w(key)
    ON CONFLICT (uid, key) DO UPDATE SET run_id = excluded.run_id, seen_at = clock_timestamp())sql"};

const Statement kForget{"unsteady_forget", "DELETE FROM homeostat.unsteady WHERE uid = $1::bigint AND run_id <> $2::bigint"};
const Statement kLeft{
    "unsteady_left",
    "SELECT count(*), coalesce(array_to_string(min(key), ', '), '') FROM homeostat.unsteady WHERE uid = $1::bigint"};

// Each key as the text of an array.
std::vector<std::string> key_texts(const std::vector<Key>& keys) {
    std::vector<std::string> out;
    out.reserve(keys.size());
    for (const Key& key : keys) out.push_back(format_text_array(key));
    return out;
}

std::vector<std::string_view> views(const std::vector<std::string>& texts) { return {texts.begin(), texts.end()}; }

// A version of the row's own depends on the cluster, the table, and the columns that are read; one of the user's on all that the
// source is made of. And on the revision that was compared: one that was kept meanwhile, and is gone back to, was not.
std::string basis(Transaction& tx, const PipelineSpec& spec, const Run& run, VersionKind kind) {
    const std::string cluster = tx.exec(kCluster, Params::of(spec.uid)).text(0, 0);
    if (kind == VersionKind::column)
        return fmt::format("{}:{}:{}", cluster, read_source_fingerprints(tx, {spec.uid}).front(), run.revision);
    std::vector<std::string> columns = watched_columns(spec);
    columns.insert(columns.end(), spec.key.begin(), spec.key.end());
    const Rows columns_now = tx.exec(kColumns, Params::of(spec.uid, format_text_array(columns)));
    return fmt::format("{}:{}:{}", cluster, columns_now.view(0, 0), run.revision);
}

}  // namespace

bool versions_outdated(Transaction& tx, const PipelineSpec& spec, const Run& run, VersionKind kind, bool stored) {
    if (kind == VersionKind::hash) return false;
    const std::string now = basis(tx, spec, run, kind);
    const bool outdated = tx.exec(kOutdated, Params::of(spec.uid, run.id, now, stored)).boolean(0, 0);
    if (!outdated) tx.exec(kAdopt, Params::of(spec.uid, now));
    return outdated;
}

void note_versions_hold(Transaction& tx, const Run& run) { tx.exec(kCompared, Params::of(run.id, run.deep)); }

Result<std::vector<std::string>> read_hashes(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys) {
    return guarded([&] {
        Params params;
        add_keys(params, keys, source.key.size());
        std::string whole = source.content;
        for (const ColumnShape& m : source.metadata) whole += fmt::format(", s.{}::text", m.quoted);
        const Rows rows =
            tx.source(source.reader)
                .exec({"steadiness_hashes",
                       fmt::format("SELECT md5(h.text) FROM unnest({}) WITH ORDINALITY AS w({}, i)"
                                   " LEFT JOIN LATERAL (SELECT concat_ws(E'\\x1f', {}) AS text FROM {} s WHERE {} LIMIT 1)"
                                   " h ON true ORDER BY w.i",
                                   numbered(source.key.size(), "${}::text[]"), numbered(source.key.size(), "k{}"), whole,
                                   source.relation, match_source(source, "w.k{0}::{1}{2}"))},
                      params);
        std::vector<std::string> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.text(i, 0));
        return out;
    });
}

Result<std::vector<bool>> written_by_run(Transaction& tx, const Revision& revision, std::int64_t run_id,
                                         const std::vector<std::int64_t>& documents) {
    return guarded([&] {
        Params params;
        params.bytes(binary_array(documents)).add(run_id);
        const Rows rows =
            tx.exec({revision.tables.prefix + "_by_run",
                     fmt::format("SELECT EXISTS (SELECT FROM {} d WHERE d.document_id = w.id AND d.run_id = $2::bigint)"
                                 " FROM unnest($1::bigint[]) WITH ORDINALITY AS w(id, i) ORDER BY w.i",
                                 revision.tables.document)},
                    params);
        std::vector<bool> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.boolean(i, 0));
        return out;
    });
}

Result<std::vector<bool>> known_unsteady(Transaction& tx, std::int64_t uid, const std::vector<Key>& keys) {
    return guarded([&] {
        const std::vector<std::string> texts = key_texts(keys);
        Params params = Params::of(uid);
        params.bytes(binary_array(views(texts)));
        const Rows rows = tx.exec(kKnown, params);
        std::vector<bool> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.boolean(i, 0));
        return out;
    });
}

void note_unsteady(Transaction& tx, std::int64_t uid, std::int64_t run_id, const std::vector<Key>& keys) {
    const std::vector<std::string> texts = key_texts(keys);
    Params params = Params::of(uid, run_id);
    params.bytes(binary_array(views(texts)));
    tx.exec(kNote, params);
}

Unsteady settle_unsteady(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    tx.exec(kForget, Params::of(uid, run_id));
    const Rows rows = tx.exec(kLeft, Params::of(uid));
    return {rows.i64(0, 0), rows.text(0, 1)};
}

}  // namespace homeostat
