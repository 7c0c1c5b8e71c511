#include "store/data/who_looks.hpp"

#include <fmt/format.h>

#include "store/pg/pg_error.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// In the text of an expression: current_user, session_user and the like (SQLValueFunction 9 to 12), or a function of the server
// that answers for whoever calls it.
constexpr std::string_view kTells = R"sql(
    (x.body ~ '\{SQLVALUEFUNCTION :op (9|10|11|12) ' OR EXISTS (
        SELECT FROM regexp_matches(x.body, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS m(ids) JOIN pg_proc f ON f.oid = m.ids[1]::oid
        WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.proname ~
              '^(has_.*_privilege|pg_has_role|row_security_active|current_user|session_user|getpgusername|pg_cursor|pg_prepared_.*|pg_show_.*|pg_stat_get_(activity|backend_.*|progress_.*|wal_.*|subscription|ssl.*))$')))sql";

// The declarer, where what it sees may be less than what the login sees: NULL else.
constexpr std::string_view kDeclarer = R"sql(
    declarer AS MATERIALIZED (
        SELECT r.oid, r.rolname, r.rolbypassrls FROM homeostat.{} d JOIN pg_roles r ON r.rolname = d.declared_by
        WHERE d.uid = $2::bigint AND NOT r.rolsuper))sql";

// Views to what their rules name, by their text: what the server has of its own is not in pg_depend. `as_us`: reached with the
// rights of whoever reads, and not of a view's owner.
constexpr std::string_view kLooks = R"sql(
    WITH RECURSIVE {0}, reach (oid, as_us) AS (
        SELECT to_regclass($1)::oid, true FROM declarer d
        WHERE d.rolname <> current_user AND NOT d.rolname = ANY ($3::text[]) AND NOT pg_has_role(d.oid, current_user::name, 'USAGE')
          AND d.oid <> (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'homeostat')
        UNION
        SELECT m.ids[1]::oid, r.as_us AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
                                                  WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
        FROM reach r JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'v' AND c.oid >= 16384
        JOIN pg_rewrite w ON w.ev_class = c.oid AND w.ev_type = '1'
        CROSS JOIN LATERAL regexp_matches(w.ev_action::text, ':relid ([0-9]+)', 'g') AS m(ids)
        WHERE m.ids[1]::oid NOT IN (0, c.oid)
    )
    SELECT homeostat.relation_text(x.oid), d.rolname, current_user, x.how FROM declarer d CROSS JOIN LATERAL (
        SELECT r.oid, 'shows each role what that role may see' AS how FROM reach r JOIN pg_class c ON c.oid = r.oid
        WHERE r.oid < 16384 AND c.relkind = 'v'
        UNION ALL
        SELECT x.oid, 'tells who looks' FROM (
            SELECT r.oid, w.ev_action::text AS body FROM reach r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
            WHERE r.oid >= 16384) AS x WHERE {1}
        UNION ALL
        SELECT r.oid, 'is read with the user mapping of whoever reads' FROM reach r
        JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'f' JOIN pg_foreign_table f ON f.ftrelid = c.oid JOIN pg_roles o ON o.oid = c.relowner
        WHERE r.as_us AND NOT o.rolsuper AND o.rolname <> current_user AND NOT o.rolname = ANY ($3::text[])
          AND EXISTS (SELECT FROM pg_user_mappings u WHERE u.srvid = f.ftserver AND u.usename = current_user)) AS x
    ORDER BY x.oid LIMIT 1)sql";

// Of the table alone: what a view reads, it reads as its owner, or it is looked at as the table that it names.
// Rows are shown where one of the permissive policies says so and all of the restrictive ones do. So all are shown to the
// declarer too where each that lets the reader see lets the declarer, and each that keeps from the declarer keeps from the
// reader.
constexpr std::string_view kPolicies = R"sql(
    WITH RECURSIVE {0}, us AS MATERIALIZED (SELECT r.oid FROM pg_roles r WHERE r.rolname = $3), reach (oid) AS (
        SELECT to_regclass($1)::oid
        UNION
        SELECT m.ids[1]::oid FROM reach r
        JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'v' AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
            WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
        JOIN pg_rewrite w ON w.ev_class = c.oid AND w.ev_type = '1'
        CROSS JOIN LATERAL regexp_matches(w.ev_action::text, ':relid ([0-9]+)', 'g') AS m(ids)
        WHERE m.ids[1]::oid NOT IN (0, c.oid)
    )
    SELECT x.polname, homeostat.relation_text(x.oid), x.rolname FROM (
        SELECT y.polname, t.oid, d.rolname, y.polpermissive, y.polqual::text AS body,
            EXISTS (SELECT FROM unnest(y.polroles) p WHERE p = 0 OR pg_has_role(u.oid, p, 'USAGE')) AS for_us,
            EXISTS (SELECT FROM unnest(y.polroles) p WHERE p = 0 OR pg_has_role(d.oid, p, 'USAGE')) AS for_declarer
        FROM declarer d CROSS JOIN us u CROSS JOIN reach r JOIN pg_class t ON t.oid = r.oid AND t.relkind IN ('r', 'p') AND t.relrowsecurity
        JOIN pg_policy y ON y.polrelid = t.oid AND y.polcmd IN ('*', 'r')
        WHERE d.oid <> u.oid AND NOT d.rolbypassrls AND NOT pg_has_role(d.oid, u.oid, 'USAGE')
          AND (t.relforcerowsecurity OR NOT pg_has_role(d.oid, t.relowner, 'USAGE'))) AS x
    WHERE CASE WHEN x.polpermissive THEN x.for_us AND NOT x.for_declarer ELSE x.for_declarer AND NOT x.for_us END
       OR (x.for_us OR x.for_declarer) AND {1}
    ORDER BY x.oid, x.polname LIMIT 1)sql";

[[noreturn]] void refuse(std::string message) {
    throw StoreFailure({.cls = ErrorClass::db_permanent,
                        .message = std::move(message),
                        .origin = Origin::user,
                        .code = std::string(kRightOfAnother)});
}

Statement over(std::string_view name, std::string_view sql, const DeclaredIn& declared) {
    return {fmt::format("{}_{}", name, declared.table),
            fmt::format(fmt::runtime(sql), fmt::format(fmt::runtime(kDeclarer), declared.table), kTells)};
}

}  // namespace

void refuse_what_tells_who_looks(Transaction& tx, SourceReader reader, const DeclaredIn& declared, const std::string& relation) {
    if (reader.apart()) return;
    const Rows rows = tx.exec(over("source_tells_who_looks", kLooks, declared),
                              Params::of(relation, declared.uid, format_text_array(tx.options().trusted_owners)));
    if (rows.empty()) return;
    refuse(fmt::format(
        "{}: {} {}, and to role \"{}\" that would be shown which role \"{}\" sees; have a role declare it that may see "
        "all of it, name \"{}\" in source.trusted_owners where that role may have the other's rights, or have "
        "sources read by a login of their own (database.reader_url)",
        declared.subject, rows.view(0, 0), rows.view(0, 3), rows.view(0, 1), rows.view(0, 2), rows.view(0, 1)));
}

void refuse_policy_for_others(Transaction& tx, const DeclaredIn& declared, const std::string& relation,
                              const std::string& reader) {
    const Rows rows = tx.exec(over("source_policy_for_others", kPolicies, declared), Params::of(relation, declared.uid, reader));
    if (rows.empty()) return;
    refuse(
        fmt::format("{}: policy \"{}\" on {} may choose other rows for role \"{}\", which reads, than for role \"{}\", who "
                    "declared it; make the policy one TO both of them that names no user, give role \"{}\" BYPASSRLS, or have "
                    "the table's owner declare it",
                    declared.subject, rows.view(0, 0), rows.view(0, 1), reader, rows.view(0, 2), rows.view(0, 2)));
}

}  // namespace homeostat
