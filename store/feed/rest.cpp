#include "store/feed/rest.hpp"

#include <fmt/format.h>

#include <map>

#include "store/data/source_fingerprint.hpp"
#include "store/data/target_mark.hpp"
#include "store/feed/capture.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

// Triggers are found by the range of their names, so that those of other pipelines on the same table are not visited.
const Statement kMarks{"rest_marks", R"(
    SELECT w.uid, md5(concat_ws(E'\n', p.xmin, s.xmin, f.xmin, t.oid, obj_description(t.oid, 'pg_class'),
        current_setting('temp_file_limit'), (SELECT concat_ws(',', count(*), sum(g.xmin::text::bigint)) FROM pg_db_role_setting g),
        (SELECT CASE WHEN has_sequence_privilege(q, 'SELECT') THEN pg_sequence_last_value(q) END
         FROM to_regclass(format('homeostat_data.p%s_full', w.uid)) q), to_regclass(p.target)::oid,
        (SELECT string_agg(concat_ws(':', o.oid, o.xmin), ',' ORDER BY o.oid) FROM pg_class o
         WHERE o.oid IN (t.oid, to_regclass('homeostat.feed_bell'), to_regclass(format('homeostat_data.p%s_named', w.uid)),
                         to_regclass(format('homeostat_data.p%s_room', w.uid)), to_regclass(format('homeostat_data.p%s_full', w.uid)))),
        (SELECT string_agg(a.xmin::text, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0),
        (SELECT string_agg(h.xmin::text, ',' ORDER BY h.nspname) FROM pg_namespace h
         WHERE h.nspname IN ('homeostat', 'homeostat_data')),
        (SELECT string_agg(r.xmin::text, ',' ORDER BY r.revision) FROM homeostat.revision r WHERE r.uid = w.uid),
        (SELECT string_agg(c.xmin::text, ',' ORDER BY c.type) FROM homeostat.condition c WHERE c.uid = w.uid),
        (SELECT string_agg(m.mark, ';' ORDER BY m.oid) FROM (
            SELECT m.oid, concat_ws(' ', m.oid,
                (SELECT string_agg(a.xmin::text, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = m.oid AND a.attnum > 0),
                (SELECT string_agg(concat_ws(':', g.oid, g.xmin, g.tgenabled, x.oid, x.xmin,
                                                          has_table_privilege(x.proowner, t.oid, 'INSERT')), ',' ORDER BY g.oid)
                 FROM pg_trigger g LEFT JOIN pg_proc x ON x.oid = g.tgfoid
                 WHERE g.tgrelid = m.oid AND g.tgname >= format('homeostat_p%s_', w.uid)::name
                   AND g.tgname < format('homeostat_p%s`', w.uid)::name)) AS mark
            FROM (WITH RECURSIVE base AS MATERIALIZED (
                      SELECT to_regclass(p.source)::oid AS oid
                      UNION SELECT to_regclass(b.value ->> 'table')::oid FROM jsonb_array_elements(p.capture_from) b),
                  member AS (
                      SELECT b.oid FROM base b
                      UNION SELECT i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.oid)
                  SELECT oid FROM member) m) m)))
    FROM unnest($1::bigint[]) AS w(uid)
    JOIN homeostat.pipeline p USING (uid) JOIN homeostat.pipeline_status s USING (uid) JOIN homeostat.feed f USING (uid)
    CROSS JOIN LATERAL (SELECT to_regclass(format('homeostat_data.p%s_change', w.uid))::oid) AS t(oid)
    WHERE t.oid IS NOT NULL AND f.trusted_since IS NOT NULL
      AND NOT EXISTS (SELECT FROM homeostat.run u WHERE u.uid = w.uid)
      AND NOT EXISTS (SELECT FROM homeostat.batch u WHERE u.uid = w.uid))"};

// Changes that nobody was told of: their pipelines do not rest.
void leave_out_changed(Transaction& tx, std::map<std::int64_t, std::string>& marks) {
    std::string sql;
    for (const auto& [uid, mark] : marks) {
        sql += fmt::format("{}SELECT {} WHERE EXISTS (SELECT FROM {})", sql.empty() ? "" : " UNION ALL ", uid, change_table(uid));
    }
    if (sql.empty()) return;
    const Rows rows = tx.exec(sql);
    for (int i = 0; i < rows.size(); ++i) marks.erase(rows.i64(i, 0));
}

}  // namespace

Result<std::vector<std::string>> read_rest_marks(Session& session, const std::vector<std::int64_t>& uids) {
    // Of the source and the provider, as batches are told; before the rest, as each is only compared with itself.
    std::vector<TargetName> targets;
    for (const std::int64_t uid : uids) targets.push_back({uid, 0});
    Result<std::vector<std::string>> marks = read_target_marks(session, targets);
    if (!marks) return marks;
    return guarded([&] {
        Transaction tx = session.begin(TxMode::read_only);
        const std::vector<std::string> sources = read_source_fingerprints(tx, uids);
        const Rows rows = tx.exec(kMarks, Params().bytes(binary_array(uids)));
        std::map<std::int64_t, std::string> resting;
        for (int i = 0; i < rows.size(); ++i) resting[rows.i64(i, 0)] = rows.text(i, 1);
        leave_out_changed(tx, resting);
        for (std::size_t i = 0; i < uids.size(); ++i) {
            const auto found = resting.find(uids[i]);
            (*marks)[i] = found == resting.end() ? "" : (*marks)[i] + sources[i] + found->second;
        }
        return *std::move(marks);
    });
}

}  // namespace homeostat
