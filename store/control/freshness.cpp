#include "store/control/freshness.hpp"

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kSwept{"swept_note", R"sql(
    INSERT INTO homeostat.swept AS s (uid, run_id, revision, generation, sees, began_at)
    SELECT u.uid, u.id, u.revision, u.generation, u.sees, u.started_at FROM homeostat.run u WHERE u.id = $1::bigint
    ON CONFLICT (uid) DO UPDATE SET run_id = excluded.run_id, revision = excluded.revision, generation = excluded.generation,
        sees = excluded.sees, cluster = excluded.cluster, ended_at = excluded.ended_at, began_at = excluded.began_at)sql"};

const Statement kAge{"batch_age", R"sql(
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - b.created_at))::float8 FROM homeostat.batch b WHERE b.id = $1::bigint)sql"};

const Statement kStaleness{"staleness", R"sql(
    SELECT s.uid, s.pipeline, coalesce(s.evidence, ''), (extract(epoch FROM s.age) * 1000)::bigint,
        (extract(epoch FROM s.max_staleness) * 1000)::bigint, coalesce(c.status, ''), coalesce(c.reason, '')
    FROM homeostat.staleness s LEFT JOIN homeostat.own_condition c ON c.uid = s.uid AND c.type = 'Fresh'
    WHERE $1::boolean OR s.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE p.max_staleness IS NOT NULL
        UNION ALL SELECT o.uid FROM homeostat.own_condition o WHERE o.type = 'Fresh' AND o.reason <> 'NoPromise'))sql"};

Evidence evidence_of(std::string_view word) {
    return word == "feed" ? Evidence::feed : word == "sweep" ? Evidence::sweep : Evidence::none;
}

}  // namespace

void read_age(Transaction& tx, const Batch& batch, std::optional<double>& seconds) {
    tx.later(kAge, Params::of(batch.id), [&seconds](const Rows& rows) {
        if (!rows.empty()) seconds = RowReader(rows, 0).real();
    });
}

Result<std::vector<Staleness>> read_staleness(Session& session, bool all) {
    return guarded([&] {
        const Rows rows = session.exec(kStaleness, Params::of(all));
        std::vector<Staleness> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            Staleness& s = out.emplace_back();
            s.uid = c.integer();
            s.name = c.text();
            s.evidence = evidence_of(c.view());
            s.age = c.maybe_millis();
            s.promised = c.maybe_millis();
            s.told_status = c.text();
            s.told_reason = c.text();
        }
        return out;
    });
}

void note_swept(Transaction& tx, const Run& run) { tx.exec(kSwept, Params::of(run.id)); }

}  // namespace homeostat
