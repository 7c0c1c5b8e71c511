#include "store/lock_holders.hpp"

#include "store/text_array.hpp"

namespace homeostat {

namespace {

const Statement kHolder{"lock_holder", R"sql(
    WITH RECURSIVE locked (oid) AS (
        SELECT to_regclass(w.name)::oid FROM unnest($1::text[]) w(name)
        UNION SELECT i.inhrelid FROM locked k JOIN pg_inherits i ON i.inhparent = k.oid
    )
    SELECT format('PID %s (%s), whose transaction began %s s ago and holds a lock on %s', l.pid,
        concat_ws(', ', nullif(a.application_name, ''), 'role ' || quote_ident(a.usename)),
        coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint::text, 'some'), l.relation::regclass)
    FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
        AND ($2::boolean OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation IN (SELECT oid FROM locked)
    ORDER BY a.xact_start LIMIT 1)sql"};

}  // namespace

Result<std::optional<std::string>> lock_holder(Session& session, const std::vector<std::string>& relations, bool readers) {
    return guarded([&]() -> std::optional<std::string> {
        const Rows rows = session.exec(kHolder, Params::of(format_text_array(relations), readers));
        if (rows.empty()) return std::nullopt;
        return rows.text(0, 0);
    });
}

}  // namespace homeostat
