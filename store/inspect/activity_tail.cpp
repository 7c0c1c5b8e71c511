#include "store/inspect/activity_tail.hpp"

#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

Result<std::vector<TailEvent>> read_event_tail(Session& session, std::int64_t after, std::chrono::seconds age, int limit) {
    static const Statement kTail{"event_tail", R"sql(
        SELECT e.id, CASE WHEN p.uid IS NOT NULL THEN 'pipeline/' || p.name WHEN v.uid IS NOT NULL THEN 'targetview/' || v.name
            WHEN e.uid IS NOT NULL THEN 'uid/' || e.uid ELSE '' END, e.at::text, e.type, e.reason, e.message, e.reconcile_id
        FROM homeostat.own_event e LEFT JOIN homeostat.pipeline p USING (uid) LEFT JOIN homeostat.target_view v USING (uid)
        WHERE e.at > clock_timestamp() - $2::bigint * interval '1 second' AND e.id > $1::bigint
        ORDER BY e.id LIMIT $3::bigint)sql"};
    return guarded([&] {
        return all_of(session.exec(kTail, Params::of(after, age.count(), limit)), [](RowReader r) {
            TailEvent e;
            e.id = r.integer();
            e.object = r.text();
            e.at = r.stamp();
            e.type = r.text();
            e.reason = r.text();
            e.message = r.text();
            e.reconcile_id = r.text();
            return e;
        });
    });
}

Result<std::optional<std::pair<std::int64_t, std::int64_t>>> event_numbers(Session& session) {
    static const Statement kNumbers{"event_numbers", R"sql(
        SELECT (SELECT e.id FROM homeostat.own_event e ORDER BY e.at DESC, e.id DESC LIMIT 1),
            (SELECT e.id FROM homeostat.own_event e ORDER BY e.at, e.id LIMIT 1))sql"};
    return guarded([&]() -> std::optional<std::pair<std::int64_t, std::int64_t>> {
        const Rows rows = session.exec(kNumbers);
        if (rows.empty() || rows.null(0, 0)) return std::nullopt;
        return std::pair(rows.i64(0, 0), rows.i64(0, 1));
    });
}

Result<std::vector<RunTrend>> read_run_trends(Session& session, const std::vector<std::int64_t>& uids, int runs) {
    static const Statement kTrend{"run_trend", R"sql(
        SELECT u.uid, r.ended_at::text, r.planned
        FROM unnest($1::bigint[]) AS u (uid), LATERAL (
            SELECT h.ended_at, h.planned FROM homeostat.own_run_history h WHERE h.uid = u.uid
            ORDER BY h.ended_at DESC LIMIT $2::bigint) r
        ORDER BY u.uid, r.ended_at)sql"};
    return guarded([&] {
        std::vector<std::string> texts;
        for (const std::int64_t uid : uids) texts.push_back(std::to_string(uid));
        std::vector<RunTrend> out;
        const Rows rows = session.exec(kTrend, Params::of(format_text_array(texts), runs));
        for (int i = 0; i < rows.size(); ++i) {
            RowReader r(rows, i);
            const auto uid = r.integer();
            if (out.empty() || out.back().uid != uid) out.push_back({uid, {}});
            TrendPoint point;
            point.at = r.stamp();
            point.planned = r.integer();
            out.back().points.push_back(point);
        }
        return out;
    });
}

}  // namespace homeostat
