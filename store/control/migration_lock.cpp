#include "store/control/migration_lock.hpp"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

// Of versions before this one; it only has to differ from the locks other programs take in the same database.
constexpr std::int64_t kLockKey = 0x686F6D656F;
// Of each try for it. A replica that migrates is done in a moment.
constexpr int kTries = 6;
constexpr int kTrySeconds = 10;

const Statement kLedgerExists{"migration_ledger",
                              "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                              " WHERE n.nspname = 'homeostat' AND c.relname = 'migration')"};

// The login, process and right to migrate of whoever holds one of the two. One that is prepared and left has no session.
const Statement kHolder{"migration_holder", R"sql(
    SELECT format('role %I, process %s', r.rolname, l.pid),
        CASE WHEN o.relowner IS NULL THEN has_database_privilege(r.oid, current_database(), 'CREATE')
             ELSE pg_has_role(r.oid, o.relowner, 'MEMBER') END
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_roles r ON r.oid = a.usesysid
    LEFT JOIN (SELECT c.oid, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'homeostat' AND c.relname = 'migration') o ON true
    WHERE l.granted AND l.pid <> pg_backend_pid() AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND CASE WHEN $1::boolean THEN l.locktype = 'advisory' AND l.objsubid = 1
                    AND (l.classid::bigint << 32) + l.objid::bigint = $2::bigint
               ELSE l.locktype = 'relation' AND l.relation = o.oid
                    AND l.mode = ANY ('{ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}') END
    ORDER BY 2 DESC, 1 LIMIT 1)sql"};

const Statement kTryLock{"migration_try", "SELECT pg_try_advisory_xact_lock($1::bigint)"};

struct Holder {
    std::string who;
    bool may_migrate = false;
};

std::optional<Holder> holder(Transaction& tx, bool advisory) {
    const Rows rows = tx.exec(kHolder, Params::of(advisory, kLockKey));
    if (rows.empty()) return std::nullopt;
    return Holder{rows.text(0, 0), rows.boolean(0, 1)};
}

StoreFailure held_by(const std::optional<Holder>& who) {
    return StoreFailure({.cls = ErrorClass::db_transient,
                         .message = fmt::format("another program is migrating this database ({}), and was waited for; try again "
                                                "when it is done, or end that session",
                                                who ? who->who : "who has ended meanwhile"),
                         .origin = Origin::theirs,
                         .code = std::string(kLockNotAvailable)});
}

// Whether `sql` had its lock in time.
bool locked(Transaction& tx, int seconds, const std::string& sql) {
    tx.exec(fmt::format("SAVEPOINT migration_lock; SET LOCAL lock_timeout = '{}s'", seconds));
    try {
        tx.exec(sql);
    } catch (const StoreFailure& failure) {
        if (failure.error.code != kLockNotAvailable) throw;
        tx.exec("ROLLBACK TO SAVEPOINT migration_lock");
        return false;
    }
    tx.exec("RELEASE SAVEPOINT migration_lock");
    return true;
}

StoreFailure raced(StoreFailure failure) {
    failure.error.code = kLedgerRaced;
    return failure;
}

// Whoever makes it holds it.
void make_ledger(Transaction& tx) {
    try {
        tx.exec(
            "CREATE SCHEMA IF NOT EXISTS homeostat;"
            "CREATE TABLE homeostat.migration (number int PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
    } catch (const StoreFailure& failure) {
        const std::string& code = failure.error.code;
        if (code == "23505" || code == "42P06" || code == "42P07") throw raced(failure);
        throw;
    }
}

void lock_ledger(Transaction& tx) {
    try {
        if (!locked(tx, kTries * kTrySeconds, "LOCK TABLE homeostat.migration IN SHARE UPDATE EXCLUSIVE MODE"))
            throw held_by(holder(tx, false));
    } catch (const StoreFailure& failure) {
        if (failure.error.code == "42P01" || failure.error.code == "3F000") throw raced(failure);
        throw;
    }
}

// Against programs of earlier versions. Whoever may not migrate is none of those, and what he holds is not waited for.
void lock_as_before(Transaction& tx) {
    const Params key = Params::of(kLockKey);
    for (int tries = 0; !tx.exec(kTryLock, key).boolean(0, 0); ++tries) {
        const std::optional<Holder> who = holder(tx, true);
        if (who && !who->may_migrate) return;
        if (tries == kTries) throw held_by(who);
        if (locked(tx, kTrySeconds, fmt::format("SELECT pg_advisory_xact_lock({})", kLockKey))) return;
    }
}

}  // namespace

bool ledger_exists(Transaction& tx) { return tx.exec(kLedgerExists).boolean(0, 0); }
bool ledger_exists(Session& session) { return session.exec(kLedgerExists).boolean(0, 0); }

bool lock_migrations(Transaction& tx, bool make) {
    const bool there = ledger_exists(tx);
    if (there) {
        lock_ledger(tx);
    } else if (make) {
        make_ledger(tx);
    }
    lock_as_before(tx);
    tx.exec(fmt::format("SET LOCAL lock_timeout = '{}s'", kTries * kTrySeconds));
    return there || make;
}

}  // namespace homeostat
