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

constexpr const char* kFacts = R"sql(
    SELECT s.uid, s.pipeline, coalesce(s.evidence, ''), (extract(epoch FROM s.age) * 1000)::bigint,
        (extract(epoch FROM s.max_staleness) * 1000)::bigint, coalesce(c.status, ''), coalesce(c.reason, '')
    FROM homeostat.staleness s LEFT JOIN homeostat.own_condition c ON c.uid = s.uid AND c.type = 'Fresh')sql";
const Statement kStaleness{"staleness", kFacts};
// What waits is counted for each pipeline that is asked for: by its number, so that the server looks at no other.
const Statement kStalenessOf{"staleness_of", std::string(kFacts) + " WHERE s.uid = $1::bigint"};
// Of very many some at a time; all of them are looked at now and then anyway.
const Statement kPromised{
    "staleness_promised",
    "SELECT q.uid FROM (SELECT p.uid FROM homeostat.pipeline p WHERE p.max_staleness IS NOT NULL"
    " UNION SELECT o.uid FROM homeostat.own_condition o WHERE o.type = 'Fresh' AND o.reason <> 'NoPromise') q"
    " ORDER BY random() LIMIT 50"};

Evidence evidence_of(std::string_view word) {
    return word == "feed" ? Evidence::feed : word == "sweep" ? Evidence::sweep : Evidence::none;
}

void add_staleness(const Rows& rows, std::vector<Staleness>& out) {
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
}

}  // namespace

void read_age(Transaction& tx, const Batch& batch, std::optional<double>& seconds) {
    tx.later(kAge, Params::of(batch.id), [&seconds](const Rows& rows) {
        if (!rows.empty()) seconds = RowReader(rows, 0).real();
    });
}

Result<std::vector<Staleness>> read_staleness(Session& session, bool all) {
    return guarded([&] {
        std::vector<Staleness> out;
        if (all) {
            add_staleness(session.exec(kStaleness), out);
            return out;
        }
        const Rows promised = session.exec(kPromised);
        for (int i = 0; i < promised.size(); ++i) add_staleness(session.exec(kStalenessOf, Params::of(promised.i64(i, 0))), out);
        return out;
    });
}

void note_swept(Transaction& tx, const Run& run) { tx.exec(kSwept, Params::of(run.id)); }

}  // namespace homeostat
