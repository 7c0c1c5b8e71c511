// What keeps the tables of revisions in shape and small: statistics, revisions that nobody will go back to.
#include <fmt/format.h>

#include <algorithm>

#include "store/data/revisions.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

// A retired revision goes once a later one is served; the count keeps some to go back to. What was never whole cannot be gone
// back to, and does not take the place of what can.
const Statement kOld{"revision_old", R"sql(
    SELECT o.revision FROM (
        SELECT r.revision, r.retired_at, row_number() OVER (ORDER BY r.served_at IS NULL, r.retired_at DESC NULLS LAST, r.revision DESC) AS place
        FROM homeostat.revision r WHERE r.uid = $1::bigint AND r.state = 'retired') o
    WHERE o.place > $2::int OR ($3::int > 0 AND o.retired_at < clock_timestamp() - $3::int * interval '1 day')
    ORDER BY o.place DESC LIMIT 1)sql"};
const Statement kForget{"revision_forget", R"sql(
    WITH letters AS (DELETE FROM homeostat.dead_letter WHERE uid = $1::bigint AND revision = $2::int),
        candidates AS (DELETE FROM homeostat.prune_candidate WHERE uid = $1::bigint AND revision = $2::int)
    DELETE FROM homeostat.revision WHERE uid = $1::bigint AND revision = $2::int)sql"};
const Statement kNext{"revision_next", R"sql(
    SELECT greatest(coalesce((SELECT max(r.revision) FROM homeostat.revision r WHERE r.uid = $1::bigint), 0),
                    coalesce((SELECT s.last_revision FROM homeostat.pipeline_status s WHERE s.uid = $1::bigint), 0)) + 1)sql"};

}  // namespace

Status tend_tables(Session& session, const Revision& revision) {
    return guarded([&] {
        session.exec(fmt::format("VACUUM (ANALYZE) {}", revision.tables.document));
        session.exec(fmt::format("ANALYZE {} (document_id, number)", revision.tables.chunk));
    });
}

std::int32_t next_revision_number(Transaction& tx, std::int64_t uid) {
    return static_cast<std::int32_t>(tx.exec(kNext, Params::of(uid)).i64(0, 0));
}

void drop_revision(Transaction& tx, const RevisionTables& t) {
    with_short_locks(tx, {t.document, t.chunk, t.journal}, [&] {
        tx.exec(fmt::format("DROP TABLE IF EXISTS {}, {}, {}", t.journal, t.chunk, t.document));
        tx.exec(kForget, Params::of(t.uid, t.revision));
    });
}

Status drop_old_revision(Transaction& tx, std::int64_t uid, int keep, int days) {
    return guarded([&] {
        const Rows rows = tx.exec(kOld, Params::of(uid, std::max(keep - 1, 0), days));
        if (rows.empty()) return;
        try {
            drop_revision(tx, RevisionTables::of(uid, static_cast<std::int32_t>(rows.i64(0, 0))));
        } catch (const StoreFailure& failure) {
            if (failure.error.code != kLockHeld) throw;  // a dump reads them; they go when the next run ends
        }
    });
}

}  // namespace homeostat
