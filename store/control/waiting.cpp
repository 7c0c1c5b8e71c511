#include "store/control/waiting.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kRead{"waiting_read",
                      "SELECT" + std::string(kWaitingColumns) + " FROM homeostat.waiting w WHERE w.uid = $1::bigint"};

// A gap of a feed whose triggers are not all in place is for the ordinary sweeps.
const Statement kWho{"waiting_who", R"sql(
    SELECT b.uid FROM homeostat.batch b WHERE b.kind <> 'stray' GROUP BY b.uid
    HAVING min(b.created_at) < clock_timestamp() - interval '1 second'
    UNION
    SELECT f.uid FROM homeostat.feed f JOIN homeostat.condition n ON n.uid = f.uid AND n.type = 'ChangeFeed'
    LEFT JOIN homeostat.run u ON u.uid = f.uid AND NOT u.feed_trusted AND u.trigger <> 'spec'
    WHERE (u.uid IS NOT NULL OR f.incomplete_since < clock_timestamp() - interval '1 second')
        AND n.reason IN ('Active', 'Overrun', 'Failing', 'Bypassed'))sql"};

const Statement kFeed{"waiting_feed", R"sql(
    SELECT coalesce(o.since < clock_timestamp() - $2::bigint * interval '1 ms' AND o.since > clock_timestamp() - interval '5 seconds', false)
    FROM (SELECT least((SELECT min(b.created_at) FROM homeostat.batch b JOIN homeostat.feed f ON f.uid = b.uid AND f.run_id = b.run_id
                        WHERE b.uid = $1::bigint AND b.kind <> 'stray'),
                       (SELECT c.oldest FROM homeostat.waiting_changes($1::bigint) c))) o(since))sql"};

// Whoever died a moment ago holds it still: what this replica is about to take over, and may have to do, is not left alone.
const Statement kElsewhere{"waiting_elsewhere", R"sql(
    SELECT coalesce(s.observed_generation = p.generation AND w.oldest IS NULL AND w.changes IS NOT NULL
            AND EXISTS (SELECT FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'Ready' AND n.status = 'True'
                        AND n.reason = 'Converged')
            AND NOT EXISTS (SELECT FROM homeostat.run u WHERE u.uid = p.uid)
            AND (EXISTS (SELECT FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.reason = 'Active')
                 OR s.last_sweep_at >= t.since), false), t.since::text,
        p.uid IS NULL OR (p.suspend AND t.since < clock_timestamp() - interval '5 seconds'),
        t.since < clock_timestamp() - interval '5 seconds' AND EXISTS (SELECT FROM homeostat.condition n WHERE n.uid = p.uid AND n.observed_generation = p.generation
            AND n.type IN ('Stalled', 'BudgetSpent', 'PlanHeld') AND n.status = 'True')
    FROM (SELECT coalesce(nullif($2, '')::timestamptz, clock_timestamp())) t(since)
    LEFT JOIN homeostat.pipeline p ON p.uid = $1::bigint
    LEFT JOIN homeostat.pipeline_status s ON s.uid = p.uid
    LEFT JOIN homeostat.waiting w ON w.uid = p.uid)sql"};

}  // namespace

Result<Elsewhere> look_elsewhere(Session& session, std::int64_t uid, std::string& since) {
    return guarded([&] {
        const Rows rows = session.exec(kElsewhere, Params::of(uid, since));
        RowReader c(rows, 0);
        const bool healed = c.boolean();
        since = c.text();
        const bool left = c.boolean();
        const bool failed = c.boolean();
        return healed ? Elsewhere::healed : left ? Elsewhere::left : failed ? Elsewhere::failed : Elsewhere::working;
    });
}

Waiting read_waiting(RowReader& c) {
    Waiting w;
    w.run_documents = c.maybe_integer<std::int64_t>().value_or(0);
    w.feed_documents = c.maybe_integer<std::int64_t>().value_or(0);
    const auto changes = c.maybe_integer<std::int64_t>();
    w.uncounted = !changes;
    w.changes = changes.value_or(0);
    for (std::int64_t* n : {&w.failing, &w.dead_letters}) *n = c.maybe_integer<std::int64_t>().value_or(0);
    for (bool* b : {&w.closed, &w.unnamed, &w.behind}) *b = c.boolean();
    w.oldest = c.maybe_millis();
    w.last_error = c.text();
    return w;
}

Result<Waiting> read_waiting(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return Waiting{};
        RowReader c(rows, 0);
        return read_waiting(c);
    });
}

Waiting read_waiting(Transaction& tx, std::int64_t uid) {
    const Rows rows = tx.exec(kRead, Params::of(uid));
    if (rows.empty()) return {};
    RowReader c(rows, 0);
    return read_waiting(c);
}

Result<std::vector<std::int64_t>> pipelines_that_wait(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kWho);
        std::vector<std::int64_t> uids;
        for (int i = 0; i < rows.size(); ++i) uids.push_back(rows.i64(i, 0));
        return uids;
    });
}

Result<bool> feed_waits(Session& session, std::int64_t uid, Millis ago) {
    return guarded([&] { return session.exec(kFeed, Params::of(uid, ago.count())).boolean(0, 0); });
}

}  // namespace homeostat
