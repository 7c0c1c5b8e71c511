#include "store/migrator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "store/migrations_embedded.hpp"

namespace homeostat {

namespace {

// Any constant will do; it only has to differ from the locks other programs take in the same database.
constexpr std::int64_t kLockKey = 0x686F6D656F;

const Statement kLedgerExists{"migration_ledger", "SELECT to_regclass('homeostat.migration') IS NOT NULL"};
const Statement kVersion{"migration_version", "SELECT coalesce(max(number), 0) FROM homeostat.migration"};
const Statement kRecord{"migration_record", "INSERT INTO homeostat.migration (number, name) VALUES ($1::int, $2)"};
const Statement kForget{"migration_forget", "DELETE FROM homeostat.migration WHERE number = $1::int"};
const Statement kList{"migration_list", "SELECT number, name, applied_at::text FROM homeostat.migration ORDER BY number"};

// The lock is waited for: another replica is migrating, and will be done in a moment. The search path is the usual one, because
// CREATE EXTENSION puts its types there.
void prepare(Transaction& tx) {
    tx.exec("SET LOCAL search_path = public, pg_catalog; SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '5min'");
    tx.exec(fmt::format("SELECT pg_advisory_xact_lock({})", kLockKey));
}

void ensure_ledger(Transaction& tx) {
    if (tx.exec(kLedgerExists).boolean(0, 0)) return;
    tx.exec(
        "CREATE SCHEMA IF NOT EXISTS homeostat;"
        "CREATE TABLE homeostat.migration (number int PRIMARY KEY, name text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
}

int version_in(Transaction& tx) { return static_cast<int>(tx.exec(kVersion).i64(0, 0)); }

Error naming(Error e, const EmbeddedMigration& m) {
    e.message = fmt::format("migration {:04} ({}): {}", m.number, m.name, e.message);
    if (e.code == "42501") e.message += "; migrate as the owner of the database";
    return e;
}

}  // namespace

int newest_migration() {
    const auto all = embedded_migrations();
    return all.empty() ? 0 : all.back().number;
}

Result<int> migrate_up(Session& session, std::optional<int> to) {
    return guarded([&]() -> Result<int> {
        int done = 0;
        for (const EmbeddedMigration& m : embedded_migrations()) {
            if (to && m.number > *to) break;
            try {
                Transaction tx = session.begin();
                prepare(tx);
                ensure_ledger(tx);
                if (version_in(tx) >= m.number) continue;
                tx.exec(m.up);
                tx.exec(kRecord, Params::of(m.number, m.name));
                tx.commit();
                ++done;
            } catch (StoreFailure& failure) {
                return naming(std::move(failure.error), m);
            }
        }
        return done;
    });
}

Result<int> migrate_down(Session& session, int to) {
    return guarded([&]() -> Result<int> {
        int done = 0;
        const auto all = embedded_migrations();
        for (auto m = all.rbegin(); m != all.rend() && m->number > to; ++m) {
            try {
                Transaction tx = session.begin();
                prepare(tx);
                if (!tx.exec(kLedgerExists).boolean(0, 0)) break;
                const int now = version_in(tx);
                if (now > all.back().number) {
                    return invalid(
                        fmt::format("the schema is at {}, which this binary ({}) does not know how to take back; use the "
                                    "binary that migrated it",
                                    now, all.back().number));
                }
                if (now < m->number) continue;
                tx.exec(m->down);
                tx.exec(kForget, Params::of(m->number));
                if (m->number == 1) tx.exec("DROP TABLE homeostat.migration; DROP SCHEMA homeostat");
                tx.commit();
                ++done;
            } catch (StoreFailure& failure) {
                return naming(std::move(failure.error), *m);
            }
        }
        return done;
    });
}

Result<std::vector<MigrationState>> migration_status(Session& session) {
    return guarded([&] {
        std::map<int, MigrationState> states;
        for (const EmbeddedMigration& m : embedded_migrations()) states[m.number] = {m.number, std::string(m.name), {}, true};
        if (session.exec(kLedgerExists).boolean(0, 0)) {
            const Rows rows = session.exec(kList);
            for (int i = 0; i < rows.size(); ++i) {
                const int number = static_cast<int>(rows.i64(i, 0));
                auto [it, unknown] = states.try_emplace(number, MigrationState{number, rows.text(i, 1), {}, false});
                it->second.applied_at = rows.maybe(i, 2);
            }
        }
        std::vector<MigrationState> out;
        for (auto& [number, state] : states) out.push_back(std::move(state));
        return out;
    });
}

Result<int> schema_version(Session& session) {
    return guarded([&] {
        if (!session.exec(kLedgerExists).boolean(0, 0)) return 0;
        return static_cast<int>(session.exec(kVersion).i64(0, 0));
    });
}

}  // namespace homeostat
