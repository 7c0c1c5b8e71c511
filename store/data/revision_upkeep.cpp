// What keeps the tables of revisions in shape and small: statistics, revisions that nobody will go back to.
#include <fmt/format.h>

#include <algorithm>

#include "store/data/revisions.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

// A retired revision goes once a later one is served; the count keeps some to go back to.
const Statement kOld{
    "revision_old",
    "SELECT revision FROM homeostat.revision WHERE uid = $1::bigint AND state = 'retired' ORDER BY revision DESC OFFSET $2::int"};
const Statement kForget{"revision_forget", "DELETE FROM homeostat.revision WHERE uid = $1::bigint AND revision = $2::int"};

}  // namespace

Status tend_tables(Session& session, const Revision& revision) {
    return guarded([&] {
        session.exec(fmt::format("VACUUM (ANALYZE) {}", revision.tables.document));
        session.exec(fmt::format("ANALYZE {} (document_id, number)", revision.tables.chunk));
    });
}

Status drop_old_revisions(Transaction& tx, std::int64_t uid, int keep) {
    return guarded([&] {
        const Rows rows = tx.exec(kOld, Params::of(uid, std::max(keep - 1, 0)));
        for (int i = 0; i < rows.size(); ++i) {
            const RevisionTables t = RevisionTables::of(uid, static_cast<std::int32_t>(rows.i64(i, 0)));
            try {
                with_short_locks(tx, {t.document, t.chunk, t.journal}, [&] {
                    tx.exec(fmt::format("DROP TABLE IF EXISTS {}, {}, {}", t.journal, t.chunk, t.document));
                    tx.exec(kForget, Params::of(uid, rows.i64(i, 0)));
                });
            } catch (const StoreFailure& failure) {
                if (failure.error.code != kLockHeld) throw;
                return;  // a dump reads them; they go when the next run ends
            }
        }
    });
}

}  // namespace homeostat
