#include "store/inspect/diagnosis.hpp"

#include <fmt/format.h>

#include "core/clock.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kServer{
    "diagnosis_server",
    "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint, pg_is_in_recovery(),"
    " current_setting('transaction_read_only') = 'on', (SELECT timeline_id FROM pg_control_checkpoint()), current_database(),"
    " current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
    " current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " extract(epoch FROM clock_timestamp())::float8,"
    " (SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
    " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"};

// Who reads and writes the server's files, or runs programs there, is a superuser in a few more words.
const Statement kUnbounded{
    "diagnosis_unbounded",
    "SELECT format('role \"%s\" %s', session_user, CASE WHEN r.rolname <> session_user THEN format('is a member of role \"%s\"', "
    "r.rolname) ELSE 'is a superuser' END || CASE WHEN r.rolsuper AND r.rolname <> session_user THEN ', a superuser' ELSE '' END)"
    " FROM pg_roles r WHERE (r.rolsuper OR r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', "
    "'pg_write_server_files')) AND pg_has_role(session_user, r.oid, 'MEMBER')"
    " ORDER BY r.rolname <> session_user, NOT r.rolsuper, r.rolname LIMIT 1"};

const Statement kHorizon{
    "diagnosis_horizon",
    "SELECT coalesce(h.age, 0), coalesce(h.held_by, ''), (SELECT max(age(datfrozenxid)) FROM pg_database),"
    " coalesce(w.bytes, 0)::bigint, coalesce(w.slot, '') FROM (SELECT) AS one"
    " LEFT JOIN LATERAL (SELECT age, held_by FROM ("
    "   SELECT age(backend_xmin), format('process %s (%s)', pid, application_name) AS held_by FROM pg_stat_activity"
    "    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
    "   UNION ALL SELECT greatest(age(xmin), age(catalog_xmin)), format('replication slot %s', slot_name) FROM "
    "pg_replication_slots"
    "   UNION ALL SELECT age(transaction), format('prepared transaction %s', gid) FROM pg_prepared_xacts) AS x"
    "   WHERE age IS NOT NULL ORDER BY age DESC LIMIT 1) AS h ON true"
    " LEFT JOIN LATERAL (SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bytes, slot_name::text AS slot"
    "   FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY restart_lsn LIMIT 1) AS w ON true"};

const Statement kRights{
    "diagnosis_rights",
    // schemas of ours
    "SELECT format('%s in schema %s', w.privilege, w.schema), format('GRANT %s ON SCHEMA %s TO %I', w.privilege, w.schema, "
    "current_user),"
    "  '' FROM (VALUES ('homeostat', 'USAGE'), ('homeostat_data', 'USAGE'), ('homeostat_data', 'CREATE')) AS w(schema, privilege)"
    "  WHERE NOT has_schema_privilege(w.schema, w.privilege)"
    // its tables: the declared half is only read, the observed half is written
    " UNION ALL SELECT format('%s on homeostat.%I', w.privilege, c.relname),"
    "  format('GRANT %s ON homeostat.%I TO %I', w.privilege, c.relname, current_user), ''"
    "  FROM pg_class c CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS w(privilege)"
    "  WHERE c.relnamespace = 'homeostat'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    "  AND (w.privilege = 'SELECT' OR c.relname NOT IN ('pipeline', 'provider', 'target_view')) AND NOT "
    "has_table_privilege(c.oid, w.privilege) "
    "ORDER BY 1"};

// Where views are to be made.
const Statement kTargetRights{"diagnosis_target_rights",
                              "SELECT format('CREATE in schema %I, where %s is to be served', w.schema, p.target),"
                              "  format('GRANT CREATE ON SCHEMA %I TO %I', w.schema, current_user), p.name"
                              "  FROM homeostat.pipeline p CROSS JOIN LATERAL (SELECT (parse_ident(p.target))[1] AS schema) AS w"
                              "  JOIN pg_namespace n ON n.nspname = w.schema"
                              "  WHERE p.deletion_requested_at IS NULL AND NOT has_schema_privilege(n.oid, 'CREATE') ORDER BY 3"};

const Statement kRoles{"diagnosis_roles",
                       "SELECT w.name FROM unnest('{homeostat_owner,homeostat_controller,homeostat_declarer}'::text[]) AS w(name)"
                       " WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.name)"};

// Sequences of columns follow their tables.
const Statement kOwners{"diagnosis_owners", R"sql(
    SELECT pg_get_userbyid(o.owner), count(*), min(o.name), format($fix$
        DO $do$ DECLARE o record; BEGIN FOR o IN
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name
            FROM pg_class c WHERE c.relnamespace = 'homeostat_data'::regnamespace AND c.relowner = %1$L::regrole
                AND c.relkind IN ('r', 'p', 'S', 'v') AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                    AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
            UNION ALL SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc p
            WHERE p.pronamespace = 'homeostat_data'::regnamespace AND p.proowner = %1$L::regrole
        LOOP EXECUTE format('ALTER %%s %%s OWNER TO homeostat_controller', o.kind, o.name); END LOOP; END $do$ $fix$,
        quote_ident(pg_get_userbyid(o.owner)))
    FROM (
        SELECT c.relowner AS owner, c.oid::regclass::text AS name FROM pg_class c
        WHERE c.relnamespace = to_regnamespace('homeostat_data') AND c.relkind IN ('r', 'p', 'S', 'v') AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
        UNION ALL SELECT p.proowner, p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = to_regnamespace('homeostat_data')) o
    WHERE o.owner <> (SELECT r.oid FROM pg_roles r WHERE r.rolname = 'homeostat_controller')
    GROUP BY o.owner ORDER BY 1)sql"};

// On one line, as it is shown.
std::string on_one_line(const std::string& sql) {
    std::string out;
    for (const char c : sql) {
        const bool blank = c == ' ' || c == '\n';
        if (!blank) {
            out += c;
        } else if (!out.empty() && out.back() != ' ') {
            out += ' ';
        }
    }
    if (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
}

}  // namespace

Result<ServerFacts> read_server_facts(Session& session) {
    return guarded([&] {
        const Rows r = session.exec(kServer);
        ServerFacts f;
        RowReader c(r, 0);
        f.version = c.text();
        f.version_number = c.integer();
        f.in_recovery = c.boolean();
        f.read_only = c.boolean();
        f.timeline = c.integer();
        f.database = c.text();
        f.role = c.text();
        f.superuser = c.boolean();
        f.max_connections = c.integer();
        f.connections = c.integer();
        f.clock = c.real();
        f.vector = c.maybe();
        f.vector_available = c.maybe();
        return f;
    });
}

Result<std::string> unbounded_login(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kUnbounded);
        return rows.empty() ? std::string() : rows.text(0, 0);
    });
}

Result<HorizonFacts> read_horizon_facts(Session& session) {
    return guarded([&] {
        const Rows r = session.exec(kHorizon);
        return HorizonFacts{r.i64(0, 0), r.text(0, 1), r.i64(0, 2), r.i64(0, 3), r.text(0, 4)};
    });
}

Result<std::vector<MissingRight>> missing_rights(Session& session) {
    return guarded([&] {
        std::vector<MissingRight> out;
        const auto add = [&](const Rows& rows) {
            for (int i = 0; i < rows.size(); ++i) out.push_back({rows.text(i, 0), rows.text(i, 1), rows.text(i, 2)});
        };
        add(session.exec(kRights));
        // Who may not read the pipelines cannot be told about their targets yet.
        if (out.empty()) add(session.exec(kTargetRights));
        return out;
    });
}

Result<std::vector<std::string>> missing_roles(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kRoles);
        std::vector<std::string> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.text(i, 0));
        return out;
    });
}

Result<std::vector<ForeignOwner>> foreign_owners(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kOwners);
        std::vector<ForeignOwner> out;
        for (int i = 0; i < rows.size(); ++i)
            out.push_back({rows.text(i, 0), rows.i64(i, 1), rows.text(i, 2), on_one_line(rows.text(i, 3))});
        return out;
    });
}

Result<std::optional<std::chrono::microseconds>> notification_trip(const ConnectOptions& options, const std::string& token) {
    Result<std::unique_ptr<Session>> listener = Session::connect(options);
    if (!listener) return listener.error();
    Result<std::unique_ptr<Session>> sender = Session::connect(options);
    if (!sender) return sender.error();
    return guarded([&]() -> std::optional<std::chrono::microseconds> {
        bool arrived = false;
        (*listener)->listen("homeostat_doctor", [&](std::string_view payload) { arrived = arrived || payload == token; });
        const SystemClock clock;
        const SteadyTime sent = clock.steady_now();
        (*sender)->exec({"diagnosis_notify", "SELECT pg_notify('homeostat_doctor', $1)"}, Params::of(token));
        while (!arrived && clock.steady_now() - sent < std::chrono::seconds(2)) (*listener)->await_notification(200);
        if (!arrived) return std::nullopt;
        return std::chrono::duration_cast<std::chrono::microseconds>(clock.steady_now() - sent);
    });
}

}  // namespace homeostat
