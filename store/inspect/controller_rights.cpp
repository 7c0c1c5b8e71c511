#include "store/inspect/controller_rights.hpp"

#include "store/data/source_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// A superuser is a member of everything, and still not who runs it.
const Statement kRole{"controller_rights_role", R"sql(
    SELECT w.role, w.role = current_user, quote_ident(CASE WHEN g.oid IS NOT NULL AND pg_has_role(w.role, g.oid, 'USAGE')
            AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.role AND r.rolsuper) THEN g.rolname ELSE w.role END),
        coalesce((SELECT p.declared_by = current_user FROM homeostat.pipeline p WHERE p.uid = $1::bigint), false)
    FROM (SELECT) one LEFT JOIN pg_roles g ON g.rolname = 'homeostat_controller'
    CROSS JOIN LATERAL (SELECT coalesce(
        (SELECT a.usename FROM homeostat.replica r JOIN pg_stat_activity a ON a.pid = r.backend_pid
            WHERE r.ended_at IS NULL AND r.heartbeat_at > clock_timestamp() - interval '30 s' AND a.datname = current_database()
                AND a.usename IS NOT NULL ORDER BY r.heartbeat_at DESC LIMIT 1),
        CASE WHEN g.oid IS NULL OR pg_has_role(g.oid, 'USAGE') THEN current_user ELSE g.rolname END) AS role) w)sql"};

const Statement kMissing{"controller_rights_missing", R"sql(
    WITH source AS (SELECT c.oid, c.relnamespace AS schema, format('%s', c.oid::regclass) AS name
        FROM pg_class c WHERE c.oid = to_regclass($1::text)),
    target AS (SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname = (parse_ident($2::text))[1])
    SELECT format('USAGE on schema %s', s.schema::regnamespace), format('GRANT USAGE ON SCHEMA %s TO %s', s.schema::regnamespace, $4::text)
        FROM source s WHERE $5::boolean AND NOT has_schema_privilege($3::name, s.schema, 'USAGE')
    UNION ALL
    SELECT format('SELECT on %s', s.name), format('GRANT SELECT ON %s TO %s', s.name, $4::text)
        FROM source s WHERE $5::boolean AND NOT has_table_privilege($3::name, s.oid, 'SELECT') AND EXISTS (SELECT FROM unnest($6::text[]) u(name)
            JOIN pg_attribute a ON a.attrelid = s.oid AND a.attname = u.name AND a.attnum > 0 AND NOT a.attisdropped
            WHERE NOT has_column_privilege($3::name, s.oid, a.attnum, 'SELECT'))
    UNION ALL
    SELECT format('CREATE in schema %I, where the view is to be served', t.nspname),
        format('GRANT USAGE, CREATE ON SCHEMA %I TO %s', t.nspname, $4::text)
        FROM target t WHERE NOT has_schema_privilege($3::name, t.oid, 'CREATE'))sql"};

const Statement kTriggers{"controller_rights_triggers",
                          "SELECT coalesce(has_table_privilege($1::name, to_regclass(t.name), 'TRIGGER'), false)"
                          " FROM unnest($2::text[]) WITH ORDINALITY AS t(name, i) ORDER BY t.i"};

}  // namespace

Result<ControllerRights> read_controller_rights(Transaction& tx, const PipelineSpec& spec, const UsedColumns& used) {
    return guarded([&] {
        const Rows who = tx.exec(kRole, Params::of(spec.uid));
        ControllerRights out{who.text(0, 0), who.boolean(0, 1), who.boolean(0, 3), {}};
        std::vector<std::string> names;
        for (const UsedColumn& c : used.columns) names.push_back(c.name);
        const bool reads = !reader_of_pipeline(tx, spec.uid).apart();
        const Rows rows =
            tx.exec(kMissing, Params::of(spec.source, spec.target, out.role, who.view(0, 2), reads, format_text_array(names)));
        for (int i = 0; i < rows.size(); ++i) out.missing.push_back({rows.text(i, 0), rows.text(i, 1), spec.name});
        return out;
    });
}

Status note_trigger_rights(Transaction& tx, const std::string& role, Lineage& lineage) {
    return guarded([&] {
        std::vector<std::string> names;
        for (const BaseTable& t : lineage.tables) names.push_back(t.name);
        const Rows rows = tx.exec(kTriggers, Params::of(role, format_text_array(names)));
        for (int i = 0; i < rows.size(); ++i) {
            BaseTable& t = lineage.tables[static_cast<std::size_t>(i)];
            t.may_trigger = (t.kind == 'r' || t.kind == 'p') && rows.boolean(i, 0);
        }
    });
}

}  // namespace homeostat
