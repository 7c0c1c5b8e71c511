#include "store/pg/lock_holders.hpp"

#include <fmt/format.h>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kHolder{"lock_holder", R"sql(
    WITH RECURSIVE locked (oid) AS (
        SELECT to_regclass(w.name)::oid FROM unnest($1::text[]) w(name)
        UNION SELECT i.inhrelid FROM locked k JOIN pg_inherits i ON i.inhparent = k.oid
    )
    SELECT format('PID %s (%s), %s holds a lock on %s', l.pid,
        concat_ws(', ', nullif(a.application_name, ''), 'role ' || quote_ident(a.usename)),
        -- Since when, only pg_read_all_stats and members of that role may see.
        coalesce('whose transaction began ' || extract(epoch FROM clock_timestamp() - a.xact_start)::bigint || ' s ago and', 'which'),
        l.relation::regclass)
    FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
        AND ($2 = 'everybody' OR $2 = 'writers' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
            OR l.mode = 'AccessExclusiveLock')
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation IN (SELECT oid FROM locked)
    ORDER BY a.xact_start LIMIT 1)sql"};

constexpr std::string_view name_of(InTheWay who) {
    return who == InTheWay::everybody ? "everybody" : who == InTheWay::writers ? "writers" : "owners";
}

// Who waits to change a row holds, or queues for, a lock of the server's on that version of it, named by its place.
const Statement kWaitedFor{"rows_waited_for", R"sql(
    WITH waited AS MATERIALIZED (SELECT l.relation, format('(%s,%s)', l.page, l.tuple)::tid AS place FROM pg_locks l
        WHERE l.locktype = 'tuple' AND l.mode IN ('ExclusiveLock', 'AccessExclusiveLock')
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.relation IN ('homeostat.pipeline'::regclass, 'homeostat.lease'::regclass))
    SELECT p.uid::text FROM waited w JOIN homeostat.pipeline p ON p.ctid = w.place WHERE w.relation = 'homeostat.pipeline'::regclass
    UNION SELECT substr(l.resource, 10) FROM waited w JOIN homeostat.lease l ON l.ctid = w.place
        WHERE w.relation = 'homeostat.lease'::regclass AND l.resource LIKE 'pipeline/%')sql"};

const Statement kTimeout{"lock_timeout_now", "SELECT current_setting('lock_timeout')"};
const Statement kTimeoutBack{"lock_timeout_back", "SELECT set_config('lock_timeout', $1, true)"};

}  // namespace

Result<std::optional<std::string>> lock_holder(Session& session, const std::vector<std::string>& relations, InTheWay who) {
    return guarded([&]() -> std::optional<std::string> {
        const Rows rows = session.exec(kHolder, Params::of(format_text_array(relations), name_of(who)));
        if (rows.empty()) return std::nullopt;
        return rows.text(0, 0);
    });
}

Result<std::set<std::int64_t>> pipelines_waited_for(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kWaitedFor);
        std::set<std::int64_t> out;
        for (int i = 0; i < rows.size(); ++i) out.insert(std::stoll(rows.text(i, 0)));
        return out;
    });
}

void with_short_locks(Transaction& tx, const std::vector<std::string>& relations, const std::function<void()>& ddl) {
    const std::string before = tx.exec(kTimeout).text(0, 0);
    tx.exec("SAVEPOINT short_locks");
    tx.exec(kShortLock);
    try {
        ddl();
    } catch (const StoreFailure& failure) {
        if (failure.error.code != kLockNotAvailable) throw;
        // Takes the timeout back too.
        tx.exec("ROLLBACK TO SAVEPOINT short_locks");
        const Rows rows = tx.exec(kHolder, Params::of(format_text_array(relations), name_of(InTheWay::everybody)));
        Error e = failure.error;
        e.code = kLockHeld;
        e.message = fmt::format("tables and views of ours could not be altered: they wait for {}",
                                rows.empty() ? "a lock that somebody held a moment ago" : rows.text(0, 0));
        throw StoreFailure(std::move(e));
    }
    tx.exec("RELEASE SAVEPOINT short_locks");
    tx.exec(kTimeoutBack, Params::of(before));
}

}  // namespace homeostat
