#include "store/data/dependents.hpp"

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// A view depends by its rule, a foreign key by its constraint; both are told as the relation that has them.
const Statement kDependents{"dependents", R"sql(
    WITH ours AS MATERIALIZED (SELECT pg_catalog.to_regclass(n) AS oid FROM unnest($1::text[]) n),
    resting AS (
        SELECT DISTINCT coalesce(pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, r.ev_class, 0),
                                 pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, nullif(k.conrelid, 0), 0),
                                 pg_catalog.pg_describe_object(d.classid, d.objid, 0)) AS what
        FROM pg_catalog.pg_depend d
        LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
        WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid IN (SELECT oid FROM ours) AND d.deptype = 'n'
            AND NOT EXISTS (SELECT FROM ours o WHERE o.oid IN (r.ev_class, k.conrelid)
                                OR (d.classid = 'pg_catalog.pg_class'::regclass AND o.oid = d.objid)))
    SELECT coalesce(string_agg(what, ', ' ORDER BY what), '') FROM (SELECT what FROM resting ORDER BY what LIMIT 10) w)sql"};

}  // namespace

std::string dependents_of(Transaction& tx, const std::vector<std::string>& relations) {
    return tx.exec(kDependents, Params::of(format_text_array(relations))).text(0, 0);
}

}  // namespace homeostat
