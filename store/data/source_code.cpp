#include "store/data/source_code.hpp"

#include <fmt/format.h>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// From the relation down: a view to what its rule names, a table to what reading or planning evaluates (policies, expressions of
// indexes, checks and statistics, its children), a type to its checks, casts to and from text and comparisons. What a function
// calls is its owner's to answer for. What comes with the server is not in pg_depend; of that, functions that act or read what
// their arguments say are looked for in the trees of those who are not trusted.
//
// $1 relation, $2 columns, $3 trusted roles, $4 whether the relation itself is read by another login.
const Statement kUntrusted{"source_untrusted_code", R"sql(
    WITH RECURSIVE trusted AS MATERIALIZED (
        SELECT r.oid FROM pg_roles r WHERE r.rolsuper OR r.rolname = current_user OR r.rolname = ANY ($3::text[])
            OR r.oid = (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'homeostat')
    ), part (class, oid, by_class, by) AS (
        SELECT w.* FROM (SELECT to_regclass($1)::oid) AS c(oid) CROSS JOIN LATERAL (
            SELECT 'pg_class'::regclass::oid, c.oid, 'pg_class'::regclass::oid, c.oid WHERE NOT $4::boolean
            UNION ALL
            SELECT 'pg_type'::regclass::oid, a.atttypid, 'pg_class'::regclass::oid, c.oid FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
              AND ($2::text[] = '{}' OR a.attname = ANY ($2::text[]))) AS w
        UNION
        SELECT n.class, n.oid, p.class, p.oid FROM part p CROSS JOIN LATERAL (
            -- What an object is made of. A table is not read because another is: only what its rules, policies and expressions say is.
            SELECT d.refclassid, d.refobjid FROM pg_depend d
            WHERE d.classid = p.class AND d.objid = p.oid AND p.class <> 'pg_proc'::regclass
              AND (d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
                   OR (d.refclassid = 'pg_type'::regclass AND (p.class <> 'pg_class'::regclass
                       OR EXISTS (SELECT FROM pg_class c WHERE c.oid = p.oid AND c.relkind = 'c')))
                   OR (d.refclassid = 'pg_class'::regclass AND (p.class IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
                       OR (p.class = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.refobjid AND c.relkind = 'c')))))
            UNION ALL
            SELECT 'pg_rewrite'::regclass, w.oid FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class AND c.relkind = 'v'
            WHERE p.class = 'pg_class'::regclass AND w.ev_class = p.oid AND w.ev_type = '1'
            UNION ALL
            SELECT 'pg_policy'::regclass, y.oid FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid AND c.relrowsecurity
            WHERE p.class = 'pg_class'::regclass AND y.polrelid = p.oid
            UNION ALL
            SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i
            WHERE p.class = 'pg_class'::regclass AND i.indrelid = p.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
            UNION ALL
            SELECT 'pg_class'::regclass, i.inhrelid FROM pg_inherits i WHERE p.class = 'pg_class'::regclass AND i.inhparent = p.oid
            UNION ALL
            SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
            WHERE k.contype = 'c' AND (p.class = 'pg_class'::regclass AND k.conrelid = p.oid)
            UNION ALL
            SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
            WHERE k.contype = 'c' AND (p.class = 'pg_type'::regclass AND k.contypid = p.oid)
            UNION ALL
            SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s WHERE p.class = 'pg_class'::regclass AND s.stxrelid = p.oid
            UNION ALL
            SELECT 'pg_attrdef'::regclass, f.oid FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
            WHERE p.class = 'pg_class'::regclass AND f.adrelid = p.oid AND a.attgenerated = 'v'
            UNION ALL
            SELECT 'pg_cast'::regclass, k.oid FROM pg_cast k WHERE p.class = 'pg_type'::regclass
              AND ((k.castsource = p.oid AND k.casttarget = 'text'::regtype) OR (k.casttarget = p.oid AND k.castsource = 'text'::regtype))
            UNION ALL
            SELECT 'pg_operator'::regclass, o.oid FROM pg_operator o JOIN pg_type t ON t.oid = p.oid
            WHERE p.class = 'pg_type'::regclass AND o.oprleft = p.oid AND o.oprright = p.oid
              AND o.oprnamespace IN (t.typnamespace, 'pg_catalog'::regnamespace)
              AND o.oprname IN ('=', '<>', '<', '<=', '>', '>=')) AS n(class, oid)
    ), tree (class, oid, owner, body) AS (
        SELECT p.class, p.oid, c.relowner, w.ev_action::text FROM part p JOIN pg_rewrite w ON w.oid = p.oid JOIN pg_class c ON c.oid = w.ev_class
        WHERE p.class = 'pg_rewrite'::regclass
        UNION
        SELECT p.class, p.oid, c.relowner, y.polqual::text FROM part p JOIN pg_policy y ON y.oid = p.oid JOIN pg_class c ON c.oid = y.polrelid
        WHERE p.class = 'pg_policy'::regclass
        UNION
        SELECT p.class, p.oid, coalesce(c.relowner, t.typowner), k.conbin::text FROM part p JOIN pg_constraint k ON k.oid = p.oid
            LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid WHERE p.class = 'pg_constraint'::regclass
    )
    SELECT pg_describe_object('pg_proc'::regclass, f.oid, 0), pg_describe_object(p.by_class, p.by, 0), pg_get_userbyid(f.proowner), current_user,
           false
    FROM part p JOIN pg_proc f ON f.oid = p.oid
    WHERE p.class = 'pg_proc'::regclass AND f.proowner NOT IN (SELECT t.oid FROM trusted t)
    UNION ALL
    SELECT pg_describe_object('pg_proc'::regclass, f.oid, 0), pg_describe_object(t.class, t.oid, 0), pg_get_userbyid(t.owner), current_user, true
    FROM tree t CROSS JOIN LATERAL regexp_matches(t.body, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') AS m(ids)
    JOIN pg_proc f ON f.oid = m.ids[1]::oid JOIN pg_language l ON l.oid = f.prolang
    WHERE t.owner NOT IN (SELECT u.oid FROM trusted u) AND l.lanname IN ('internal', 'c')
      AND ((f.provolatile = 'v' AND f.proname NOT IN ('random', 'random_normal', 'clock_timestamp', 'timeofday', 'gen_random_uuid', 'uuidv4',
                                                      'uuidv7', 'uuid_generate_v1', 'uuid_generate_v4'))
           OR f.proname ~ '^(table|query|cursor|schema|database)_to_xml' OR f.proname ~ '^(crosstab|connectby|xpath_table|dblink|ts_rewrite$|ts_stat$)')
    ORDER BY 5, 1, 2 LIMIT 1)sql"};

}  // namespace

void refuse_untrusted_code(Transaction& tx, SourceReader reader, const std::string& subject, const std::string& relation,
                           const std::vector<std::string>& columns) {
    const ConnectOptions& o = tx.options();
    const Rows rows = tx.exec(
        kUntrusted, Params::of(relation, format_text_array(columns), format_text_array(o.trusted_owners), reader.apart()));
    if (rows.empty()) return;
    const std::string what = rows.text(0, 0);
    const std::string by = rows.text(0, 1);
    const std::string role = rows.text(0, 2);
    const std::string why =
        rows.boolean(0, 4) ? fmt::format("{} of role \"{}\" calls {}, which acts", by, role, what)
                           : fmt::format("{} is called by {} and belongs to role \"{}\", so its code would run", what, by, role);
    throw StoreFailure(
        {.cls = ErrorClass::db_permanent,
         .message = fmt::format(
             "{}: {} with the rights of role \"{}\"; name \"{}\" in source.trusted_owners where that role may have them{}",
             subject, why, rows.view(0, 3), role,
             reader.apart() ? "" : ", or have sources read by a login of their own (database.reader_url)"),
         .origin = Origin::user,
         .code = "42501"});
}

}  // namespace homeostat
