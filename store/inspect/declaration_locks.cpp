#include "store/inspect/declaration_locks.hpp"

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// Sessions of the controller's own are known by their name and their role: names alone are anybody's to give.
const Statement kLocks{"declaration_locks", R"sql(
    SELECT format('PID %s (%s), whose transaction began %s s ago and holds %s on %s', l.pid,
            concat_ws(', ', nullif(a.application_name, ''), 'role ' || quote_ident(a.usename)),
            extract(epoch FROM clock_timestamp() - a.xact_start)::bigint,
            CASE WHEN bool_and(l.mode IN ('RowShareLock', 'RowExclusiveLock')) THEN 'rows' ELSE 'a lock' END,
            string_agg(DISTINCT format('%I.%I', n.nspname, c.relname), ', ')),
        l.pid::text, quote_ident(a.usename), bool_and(l.mode IN ('RowShareLock', 'RowExclusiveLock')),
        bool_or(l.mode = 'AccessExclusiveLock')
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid() AND n.nspname = 'homeostat'
        AND c.relkind IN ('r', 'p') AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
            OR l.mode IN ('RowShareLock', 'RowExclusiveLock') AND c.relname IN ('pipeline', 'provider', 'target_view'))
        AND a.xact_start < clock_timestamp() - interval '5 seconds'
        AND NOT (a.application_name LIKE 'homeostat%' AND coalesce((SELECT pg_has_role(a.usesysid, r.oid, 'MEMBER')
            FROM pg_roles r WHERE r.rolname = 'homeostat_controller'), true))
    GROUP BY l.pid, a.application_name, a.usename, a.xact_start
    ORDER BY a.xact_start)sql"};

}  // namespace

Result<std::vector<DeclarationLock>> declaration_locks(Session& session) {
    return guarded([&] {
        return all_of(session.exec(kLocks),
                      [](RowReader c) { return DeclarationLock{c.text(), c.text(), c.text(), c.boolean(), c.boolean()}; });
    });
}

}  // namespace homeostat
