#include "store/data/source_fingerprint.hpp"

#include <map>

#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

// From each source down: a view to what it reads and calls, a table to those that inherit from it, a function to what it is known
// to use. A materialised view is looked at no deeper: what it has it keeps until it is refreshed.
const Statement kFingerprints{"source_fingerprints", R"sql(
    WITH RECURSIVE wanted AS (
        SELECT w.uid, p.source, p.capture_from FROM unnest($1::bigint[]) AS w(uid) JOIN homeostat.pipeline p USING (uid)
    ), part (uid, class, oid) AS (
        SELECT n.uid, 'pg_class'::regclass::oid, to_regclass(n.name)::oid
        FROM (SELECT uid, source FROM wanted
              UNION SELECT uid, b.value ->> 'table' FROM wanted CROSS JOIN LATERAL jsonb_array_elements(capture_from) b) n(uid, name)
        WHERE to_regclass(n.name) IS NOT NULL
        UNION
        SELECT p.uid, n.class, n.oid FROM part p CROSS JOIN LATERAL (
            SELECT d.refclassid, d.refobjid FROM pg_class c JOIN pg_rewrite w ON w.ev_class = c.oid
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            WHERE p.class = 'pg_class'::regclass AND c.oid = p.oid AND c.relkind = 'v'
              AND d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass)
            UNION ALL
            SELECT p.class, i.inhrelid FROM pg_inherits i WHERE p.class = 'pg_class'::regclass AND i.inhparent = p.oid
            UNION ALL
            SELECT d.refclassid, d.refobjid FROM pg_depend d
            WHERE p.class = 'pg_proc'::regclass AND d.classid = p.class AND d.objid = p.oid
              AND d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass)) n(class, oid)
    ), each AS (
        SELECT DISTINCT class, oid FROM part
    ), type (class_oid, oid) AS (
        SELECT e.oid, a.atttypid FROM each e JOIN pg_attribute a ON a.attrelid = e.oid AND a.attnum > 0
        WHERE e.class = 'pg_class'::regclass AND a.atttypid >= 16384
        UNION
        SELECT t.class_oid, n.oid FROM type t JOIN pg_type y ON y.oid = t.oid CROSS JOIN LATERAL (
            VALUES (y.typelem), (y.typbasetype), ((SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = y.oid))
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0) n(oid)
        WHERE n.oid >= 16384
    ), told AS (
        SELECT 'pg_class'::regclass::oid AS class, c.oid, concat_ws('|', c.oid, c.relkind, c.relrowsecurity, c.relforcerowsecurity,
            CASE WHEN c.relkind = 'v' THEN concat(c.relowner, c.reloptions) END,
            (SELECT string_agg(concat_ws(':', a.attnum, a.xmin), ',' ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
            (SELECT string_agg(concat_ws(':', i.inhrelid, i.xmin, i.inhdetachpending), ',' ORDER BY i.inhrelid)
             FROM pg_inherits i WHERE i.inhparent = c.oid),
            (SELECT string_agg(concat_ws(':', w.oid, w.xmin), ',' ORDER BY w.oid)
             FROM pg_rewrite w WHERE w.ev_class = c.oid AND c.relkind = 'v'),
            (SELECT string_agg(concat_ws(':', p.oid, p.xmin), ',' ORDER BY p.oid) FROM pg_policy p WHERE p.polrelid = c.oid),
            (SELECT string_agg(concat_ws(':', s.srsubid, s.srrelid), ',' ORDER BY s.srsubid)
             FROM pg_subscription_rel s WHERE s.srrelid = c.oid),
            -- What values are called that rows have by number; and of what rows within rows are made.
            (SELECT string_agg(concat_ws(':', l.oid, l.xmin), ',' ORDER BY l.oid)
             FROM type t JOIN pg_enum l ON l.enumtypid = t.oid WHERE t.class_oid = c.oid),
            (SELECT string_agg(concat_ws(':', a.attrelid, a.attnum, a.xmin), ',' ORDER BY a.attrelid, a.attnum)
             FROM type t JOIN pg_type y ON y.oid = t.oid JOIN pg_attribute a ON a.attrelid = y.typrelid AND a.attnum > 0
             WHERE t.class_oid = c.oid)) AS text
        FROM each e JOIN pg_class c ON c.oid = e.oid WHERE e.class = 'pg_class'::regclass
        UNION ALL
        SELECT e.class, f.oid, concat_ws('|', f.oid, f.xmin) FROM each e JOIN pg_proc f ON f.oid = e.oid
        WHERE e.class = 'pg_proc'::regclass
    ), system AS MATERIALIZED (
        SELECT system_identifier FROM pg_control_system()
    )
    SELECT p.uid, md5((SELECT system_identifier FROM system) || string_agg(t.text, E'\n' ORDER BY t.class, t.oid))
    FROM part p JOIN told t USING (class, oid) GROUP BY p.uid)sql"};

// Sums rather than maxima: a row that is deleted counts as well.
const Statement kCatalog{"catalog_fingerprint", R"sql(
    SELECT concat_ws(':',
        -- How large the copies may be that triggers of statements have.
        current_setting('temp_file_limit'), (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_db_role_setting),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_inherits),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_rewrite),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_policy),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_auth_members),
        (SELECT concat_ws(',', count(*), sum(srrelid::bigint)) FROM pg_subscription_rel),
        (SELECT concat_ws(',', count(*), sum(oid::bigint)) FROM pg_class WHERE relrowsecurity),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_enum),
        (SELECT concat_ws(',', count(*), sum(a.xmin::text::bigint)) FROM pg_attribute a WHERE a.attrelid IN (
            SELECT c.oid FROM pg_class c WHERE c.relkind = 'c')),
        (SELECT concat_ws(',', count(*), sum(xmin::text::bigint)) FROM pg_proc WHERE oid >= 16384),
        (SELECT concat_ws(',', count(*), sum(a.xmin::text::bigint)) FROM pg_attribute a WHERE a.attrelid IN (
            SELECT t.tgrelid FROM pg_trigger t WHERE t.tgname >= 'homeostat_p' AND t.tgname < 'homeostat_q')),
        -- Of sources that no triggers of ours are on: the relation of that name, and its columns.
        (SELECT concat_ws(',', count(*), sum(c.oid::bigint), sum((SELECT sum(a.xmin::text::bigint) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0)))
         FROM (SELECT parse_ident(p.source) AS name FROM homeostat.pipeline p WHERE NOT EXISTS (SELECT FROM homeostat.condition n
               WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.status = 'True')) s
         JOIN pg_namespace n ON n.nspname = s.name[1]::name
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.name[2]::name),
        -- Of our own triggers: dropped, switched off or on.
        (SELECT concat_ws(',', count(*), sum(t.xmin::text::bigint)) FROM pg_trigger t
         WHERE t.tgname >= 'homeostat_p' AND t.tgname < 'homeostat_q'),
        -- Renamed, given away, granted; vacuum and analyze leave it as it is.
        (SELECT concat_ws(',', count(*), sum(c.xmin::text::bigint)) FROM pg_class c WHERE c.oid IN (
            SELECT t.tgrelid FROM pg_trigger t WHERE t.tgname >= 'homeostat_p' AND t.tgname < 'homeostat_q'))))sql"};

}  // namespace

std::vector<std::string> read_source_fingerprints(Transaction& tx, const std::vector<std::int64_t>& uids) {
    const Rows rows = tx.exec(kFingerprints, Params().bytes(binary_array(uids)));
    std::map<std::int64_t, std::string> found;
    for (int i = 0; i < rows.size(); ++i) found.emplace(rows.i64(i, 0), rows.text(i, 1));
    std::vector<std::string> out;
    out.reserve(uids.size());
    for (const std::int64_t uid : uids) out.push_back(found[uid]);
    return out;
}

Result<std::string> read_catalog_fingerprint(Session& session) {
    return guarded([&] { return session.exec(kCatalog).text(0, 0); });
}

}  // namespace homeostat
