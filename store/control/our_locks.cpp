#include "store/control/our_locks.hpp"

#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

// Of those that keep readers or writers out; who keeps out both first.
const Statement kHolder{"our_locks", R"sql(
    SELECT format('; it waited for PID %s (%s)%s holds a lock on %s', l.pid,
        concat_ws(', ', nullif(a.application_name, ''), 'role ' || quote_ident(a.usename)),
        coalesce(', whose transaction began ' || extract(epoch FROM clock_timestamp() - a.xact_start)::bigint || ' s ago and',
            ', which'), l.relation::regclass)
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
        AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relnamespace IN (to_regnamespace('homeostat'), to_regnamespace('homeostat_data')) AND c.relkind IN ('r', 'p')
    ORDER BY l.mode = 'AccessExclusiveLock' DESC, a.xact_start LIMIT 1)sql"};

}  // namespace

std::string who_locks_ours(Pool& reads, const Error& error) {
    if (error.code != kLockNotAvailable) return "";
    const Result<Pool::Lease> session = reads.acquire(Context{});
    if (!session) return "";
    const Result<std::string> holder = guarded([&] {
        const Rows rows = (**session).exec(kHolder);
        return rows.empty() ? std::string() : rows.text(0, 0);
    });
    return holder ? *holder : "";
}

}  // namespace homeostat
