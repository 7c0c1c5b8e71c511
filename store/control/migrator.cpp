#include "store/control/migrator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "store/control/migration_lock.hpp"
#include "store/control/migrations_embedded.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

const Statement kVersion{"migration_version", "SELECT coalesce(max(number), 0) FROM homeostat.migration"};
const Statement kRecord{"migration_record", "INSERT INTO homeostat.migration (number, name) VALUES ($1::int, $2)"};
const Statement kForget{"migration_forget", "DELETE FROM homeostat.migration WHERE number = $1::int"};
const Statement kList{"migration_list", "SELECT number, name, applied_at::text FROM homeostat.migration ORDER BY number"};

// In no other schema a name is looked for: who may create in one of the user's could put a function there whose arguments fit
// better than the server's own, and it would be called with the rights of whoever migrates.
constexpr std::string_view kPath = "SET LOCAL search_path = pg_catalog, pg_temp";

// Whether there is anything to migrate. The lock is waited for: another replica is migrating, and will be done in a moment.
bool prepare(Transaction& tx, bool make) {
    tx.exec(fmt::format("{}; SET LOCAL statement_timeout = '5min'", kPath));
    return lock_migrations(tx, make);
}

const Statement kExtensionHome{"migration_extension",
                               "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
                               " WHERE e.extname = 'vector'"};
const Statement kPublic{"migration_public", "SELECT to_regnamespace('public') IS NOT NULL"};

// Where pgvector is not there yet: into the schema where people look for it, not the first of the path.
void ensure_extension(Transaction& tx) {
    if (!tx.exec(kExtensionHome).empty()) return;
    if (tx.exec(kPublic).boolean(0, 0)) {
        tx.exec("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public");
    } else {
        tx.exec("CREATE SCHEMA IF NOT EXISTS extensions; CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions");
    }
}

// The statements of migration 3 that name types of pgvector without the schema they are in: for these it is in the path, after
// pg_catalog. What they make binds an operator that somebody may have put there; it is not called, and made anew by migration 19.
void run_text(Transaction& tx, const EmbeddedMigration& m, std::string_view text) {
    constexpr std::string_view kOfVectors = "FUNCTION homeostat.vector_ok(";
    const std::size_t first = m.number == 3 ? text.find(kOfVectors) : std::string_view::npos;
    if (first == std::string_view::npos) {
        tx.exec(text);
        return;
    }
    const std::size_t begin = text.rfind('\n', first) + 1;
    const std::size_t end = text.find(';', text.rfind(kOfVectors)) + 1;
    tx.exec(text.substr(0, begin));
    // Where the extension was dropped since, they went with it: there is nothing to take back.
    if (const Rows home = tx.exec(kExtensionHome); !home.empty()) {
        tx.exec(fmt::format("SET LOCAL search_path = pg_catalog, {}, pg_temp", home.view(0, 0)));
        tx.exec(text.substr(begin, end - begin));
        tx.exec(kPath);
    }
    tx.exec(text.substr(end));
}

int version_in(Transaction& tx) { return static_cast<int>(tx.exec(kVersion).i64(0, 0)); }

Error naming(Error e, const EmbeddedMigration& m) {
    e.message = fmt::format("migration {:04} ({}): {}", m.number, m.name, e.message);
    if (e.code == "42501") {
        e.message += "; migrate as the owner of the database";
        e.said.clear();  // there is no more to be said of it
    }
    return e;
}

// Replicas that run meanwhile lock the same tables in an order of their own. Of two that wait for each other the server ends one;
// where that was us, nothing is done, the other goes on, and we try again. Likewise of two who begin from nothing.
constexpr int kTries = 40;
constexpr int kAtOnce = 30;
bool was_deadlock(const Error& e) { return e.code == "40P01" || e.code == kLedgerRaced; }

bool apply(Session& session, const EmbeddedMigration& m) {
    Transaction tx = session.begin();
    // Whoever only finds that nothing is to be done needs no right to do it, and waits for nobody.
    if (ledger_exists(tx) && version_in(tx) >= m.number) return false;
    prepare(tx, true);
    if (version_in(tx) >= m.number) return false;
    if (m.number == 1 || m.number == 3) ensure_extension(tx);
    run_text(tx, m, m.up);
    tx.exec(kRecord, Params::of(m.number, m.name));
    tx.commit();
    return true;
}

// What replicas and writers lock all the time, at once or soon not at all: so nobody waits for us who has what we wait for. Views
// come first, as whoever reads one has it before what it reads. Tables that are searched are locked by what alters them, and no
// sooner.
void hold_what_is_busy(Transaction& tx) {
    static const Statement kOurs{"migrate_ours", R"sql(
        SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.relkind = 'v' DESC, c.oid), current_setting('lock_timeout')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND (n.nspname = 'homeostat'
            OR (n.nspname = 'homeostat_data' AND c.relname ~ '^p[0-9]+_change$'
                -- A server has room for so many locks and no more.
                AND (SELECT count(*) < 1000 FROM pg_class d WHERE d.relnamespace = n.oid AND d.relname ~ '^p[0-9]+_change$'))))sql"};
    const Rows ours = tx.exec(kOurs);
    if (!ours.maybe(0, 0)) return;
    tx.exec("SET LOCAL lock_timeout = '700ms'");
    tx.exec(fmt::format("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", ours.text(0, 0)));
    tx.exec(fmt::format("SET LOCAL lock_timeout = '{}'", ours.text(0, 1)));
}

// All of it or nothing: half a schema serves nobody, and what a view of the user's holds up is found at the end.
Result<int> take_back(Session& session, int to, bool at_once) {
    const auto all = embedded_migrations();
    Transaction tx = session.begin();
    if (!prepare(tx, false)) return 0;
    const int now = version_in(tx);
    if (now > all.back().number) {
        return invalid(
            fmt::format("the schema is at {}, which this binary ({}) does not know how to take back; use the "
                        "binary that migrated it",
                        now, all.back().number));
    }
    if (at_once && now > to) {
        try {
            hold_what_is_busy(tx);
        } catch (StoreFailure& failure) {
            return std::move(failure.error);
        }
    }
    int done = 0;
    for (auto m = all.rbegin(); m != all.rend() && m->number > to; ++m) {
        if (now < m->number) continue;
        try {
            run_text(tx, *m, m->down);
            tx.exec(kForget, Params::of(m->number));
            if (m->number == 1) tx.exec("DROP TABLE homeostat.migration; DROP SCHEMA homeostat");
            ++done;
        } catch (StoreFailure& failure) {
            failure.error.message += "; nothing was taken back";
            return naming(std::move(failure.error), *m);
        }
    }
    tx.commit();
    return done;
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
            for (int tries = 1;; ++tries) {
                try {
                    done += apply(session, m) ? 1 : 0;
                    break;
                } catch (StoreFailure& failure) {
                    if (!was_deadlock(failure.error) || tries == kTries) return naming(std::move(failure.error), m);
                }
            }
        }
        return done;
    });
}

Result<int> migrate_down(Session& session, int to) {
    return guarded([&]() -> Result<int> {
        for (int tries = 1;; ++tries) {
            // Where somebody keeps a lock for long, the last tries wait for him, and who that is is told meanwhile.
            const bool at_once = tries <= kAtOnce;
            Result<int> done = take_back(session, to, at_once);
            if (done || tries == kTries) return done;
            const std::string& code = done.error().code;
            if (!was_deadlock(done.error()) && !(at_once && (code == kLockNotAvailable || code == "42501"))) return done;
        }
    });
}

Result<std::vector<MigrationState>> migration_status(Session& session) {
    return guarded([&] {
        std::map<int, MigrationState> states;
        for (const EmbeddedMigration& m : embedded_migrations()) states[m.number] = {m.number, std::string(m.name), {}, true};
        if (ledger_exists(session)) {
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

Status make_roles(Session& session) {
    const Status made = guarded([&] {
        Transaction tx = session.begin();
        prepare(tx, false);
        tx.exec("SELECT homeostat.make_roles()");
        tx.commit();
    });
    if (made) return {};
    Error e = made.error();
    if (e.code == "42501") {
        e.message += "; do it as the owner of the schemas, with the right to create roles";
        e.said.clear();
    }
    return e.with_prefix("the roles cannot be made");
}

Result<int> schema_version(Session& session) {
    return guarded([&] {
        if (!ledger_exists(session)) return 0;
        return static_cast<int>(session.exec(kVersion).i64(0, 0));
    });
}

}  // namespace homeostat
