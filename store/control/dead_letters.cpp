#include "store/control/dead_letters.hpp"

#include "store/pg/text_array.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

#define FILTERED                                                                                     \
    " p.uid = l.uid AND p.deletion_requested_at IS NULL AND ($1::text IS NULL OR p.name = $1::text)" \
    " AND ($2::text[] IS NULL OR l.key = $2::text[]) AND ($3::text IS NULL OR l.class = $3::text)"

const Statement kList{"dead_letters_of_all",
                      "SELECT p.name, l.key::text, l.class, l.strategy, l.message, l.attempts, l.trace_id, l.created_at::text,"
                      " count(*) OVER () FROM homeostat.own_dead_letter l, homeostat.pipeline p WHERE" FILTERED
                      " ORDER BY p.name, l.updated_at DESC, l.key LIMIT $4::bigint"};

const Statement kRetry{
    "dead_letters_retry",
    "WITH gone AS (DELETE FROM homeostat.own_dead_letter l USING homeostat.pipeline p WHERE" FILTERED
    " RETURNING l.uid),"
    " counted AS (SELECT uid, count(*) AS n FROM gone GROUP BY uid),"
    " asked AS (UPDATE homeostat.pipeline p SET reconcile_requested = $4 || gen_random_uuid()::text FROM counted c"
    "  WHERE p.uid = c.uid)"
    " SELECT p.name, c.n FROM counted c JOIN homeostat.pipeline p USING (uid) ORDER BY p.name"};

#undef FILTERED

Params params_of(const DeadLetterFilter& filter) {
    Params params = Params::of(filter.pipeline);
    if (filter.key) {
        params.add(format_text_array(*filter.key));
    } else {
        params.add(nullptr);
    }
    return params.add(filter.cls), params;
}

}  // namespace

Result<DeadLetterList> list_dead_letters(Session& session, const DeadLetterFilter& filter, std::int64_t limit) {
    return guarded([&] {
        Params params = params_of(filter);
        params.add(limit);
        const Rows rows = session.exec(kList, params);
        DeadLetterList out;
        for (int i = 0; i < rows.size(); ++i) {
            DeadLetter letter{.key = parse_text_array(rows.view(i, 1)),
                              .content_hash = {},
                              .cls = rows.text(i, 2),
                              .strategy = rows.text(i, 3),
                              .message = rows.text(i, 4),
                              .attempts = static_cast<std::int32_t>(rows.i64(i, 5)),
                              .trace_id = rows.text(i, 6)};
            out.lines.push_back({rows.text(i, 0), std::move(letter), parse_timestamp(rows.view(i, 7))});
            out.total = rows.i64(i, 8);
        }
        return out;
    });
}

Result<std::vector<std::pair<std::string, std::int64_t>>> retry_dead_letters(Session& session, const DeadLetterFilter& filter) {
    return guarded([&] {
        Params params = params_of(filter);
        params.add(kRetriesRefused);
        const Rows rows = session.exec(kRetry, params);
        std::vector<std::pair<std::string, std::int64_t>> out;
        for (int i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0), rows.i64(i, 1));
        return out;
    });
}

}  // namespace homeostat
