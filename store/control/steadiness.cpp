#include "store/control/steadiness.hpp"

#include <fmt/format.h>

#include "store/data/source_fingerprint.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// What was never noted was compared by a version before this one: it is taken to hold.
const Statement kOutdated{"versions_outdated", R"sql(
    WITH outdated AS (
        SELECT coalesce((SELECT s.compared_under <> $3 FROM homeostat.pipeline_status s WHERE s.uid = $1::bigint), false) AS outdated
    ), noted AS (
        UPDATE homeostat.run SET compared_under = $3, deep = deep OR o.outdated FROM outdated o WHERE id = $2::bigint
    )
    SELECT outdated FROM outdated)sql"};

const Statement kAdopt{"versions_adopt", R"sql(
    UPDATE homeostat.pipeline_status SET compared_under = $2 WHERE uid = $1::bigint AND compared_under IS NULL)sql"};

const Statement kCompared{"versions_compared", R"sql(
    UPDATE homeostat.pipeline_status s SET compared_under = r.compared_under FROM homeostat.run r
    WHERE s.uid = $1::bigint AND r.id = $2::bigint AND s.compared_under IS DISTINCT FROM r.compared_under)sql"};

const Statement kCluster{"versions_cluster", R"sql(
    SELECT concat_ws(':', (SELECT system_identifier FROM pg_control_system()), to_regclass(p.source)::oid)
    FROM homeostat.pipeline p WHERE p.uid = $1::bigint)sql"};

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

// A version of the row's own depends on the cluster alone; one of the user's on what the source is made of.
std::string basis(Transaction& tx, std::int64_t uid, VersionKind kind) {
    std::string out = tx.exec(kCluster, Params::of(uid)).text(0, 0);
    if (kind == VersionKind::column) out += ":" + read_source_fingerprints(tx, {uid}).front();
    return out;
}

}  // namespace

bool versions_outdated(Transaction& tx, std::int64_t uid, std::int64_t run_id, VersionKind kind) {
    if (kind == VersionKind::hash) return false;
    const std::string now = basis(tx, uid, kind);
    const bool outdated = tx.exec(kOutdated, Params::of(uid, run_id, now)).boolean(0, 0);
    if (!outdated) tx.exec(kAdopt, Params::of(uid, now));
    return outdated;
}

void note_contents_compared(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    tx.exec(kCompared, Params::of(uid, run_id));
}

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
