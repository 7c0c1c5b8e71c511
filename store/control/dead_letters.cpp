#include "store/control/dead_letters.hpp"

#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"
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
    // Not those of what is searched while the next revision is built: no sweep looks at that one, and the next one tries anew.
    "WITH gone AS (DELETE FROM homeostat.own_dead_letter l USING homeostat.pipeline p WHERE" FILTERED
    " AND NOT EXISTS (SELECT FROM homeostat.revision r JOIN homeostat.revision n ON n.uid = r.uid AND n.state = 'building'"
    "  WHERE r.uid = l.uid AND r.revision = l.revision AND r.state = 'served') RETURNING l.uid),"
    " counted AS (SELECT uid, count(*) AS n FROM gone GROUP BY uid),"
    " asked AS (UPDATE homeostat.pipeline p SET reconcile_requested = $4 || gen_random_uuid()::text FROM counted c"
    "  WHERE p.uid = c.uid)"
    " SELECT p.name, c.n FROM counted c JOIN homeostat.pipeline p USING (uid) ORDER BY p.name"};

#undef FILTERED

const Statement kHealedLetters{"dead_letters_healed", R"sql(
    DELETE FROM homeostat.dead_letter l USING unnest($3::text[]) AS w(key)
    WHERE l.uid = $1::bigint AND l.revision = $2::int AND l.key = w.key::text[]
        AND EXISTS (SELECT FROM homeostat.dead_letter o WHERE o.uid = $1::bigint))sql"};
const Statement kLockStatus{"dead_letters_lock", "SELECT uid FROM homeostat.pipeline_status WHERE uid = $1::bigint FOR UPDATE"};
const Statement kRecount{"dead_letters_recount", R"sql(
    UPDATE homeostat.pipeline_status s SET dead_letters = homeostat.dead_letters_of(s.uid), updated_at = clock_timestamp()
    WHERE s.uid = $1::bigint AND ($2::boolean OR s.dead_letters > 0) AND s.dead_letters <> homeostat.dead_letters_of(s.uid))sql"};
const Statement kDead{
    "dead_letter_add",
    "INSERT INTO homeostat.dead_letter AS l (uid, revision, key, content_hash, class, strategy, message, attempts, trace_id)"
    " VALUES ($1::bigint, $2::int, $3::text[], $4::bytea, $5, $6, left($7, 1024), $8::int, $9)"
    " ON CONFLICT (uid, revision, key) DO UPDATE SET content_hash = excluded.content_hash, class = excluded.class,"
    " strategy = excluded.strategy, message = excluded.message, attempts = excluded.attempts, trace_id = excluded.trace_id,"
    " updated_at = clock_timestamp()"};

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
            RowReader c(rows, i);
            std::string pipeline = c.text();
            DeadLetter letter{.key = c.words(),
                              .content_hash = {},
                              .cls = c.text(),
                              .strategy = c.text(),
                              .message = c.text(),
                              .attempts = c.integer<std::int32_t>(),
                              .trace_id = c.text()};
            const WallTime at = c.stamp();
            out.lines.push_back({std::move(pipeline), std::move(letter), at});
            out.total = c.integer();
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

void add_dead_letters(Transaction& tx, std::int64_t uid, std::int32_t revision, const std::vector<DeadLetter>& letters) {
    for (const DeadLetter& l : letters) {
        Params params = Params::of(uid, revision, format_text_array(l.key));
        const auto* p = reinterpret_cast<const std::byte*>(l.content_hash.data());
        params.bytes(Bytes(p, p + l.content_hash.size()));
        params.add(l.cls).add(l.strategy).add(l.message).add(l.attempts).add(l.trace_id);
        tx.exec(kDead, params);
    }
}

void remove_dead_letters(Transaction& tx, std::int64_t uid, std::int32_t revision, const std::vector<Key>& keys) {
    if (keys.empty()) return;
    std::vector<std::string> texts;
    for (const Key& key : keys) texts.push_back(format_text_array(key));
    Params params = Params::of(uid, revision);
    params.bytes(binary_array(std::vector<std::string_view>(texts.begin(), texts.end())));
    tx.later(kHealedLetters, std::move(params));
}

void recount_dead_letters(Transaction& tx, std::int64_t uid, bool added) {
    // Two who add at the same time each count what the other has committed.
    if (added) tx.later(kLockStatus, Params::of(uid));
    tx.later(kRecount, Params::of(uid, added));
}

Result<std::vector<DeadLetter>> read_dead_letters(Session& session, std::int64_t uid, int limit) {
    return guarded([&] {
        const Rows rows =
            session.exec({"dead_letter_list",
                          "SELECT key::text, class, strategy, message, attempts, trace_id FROM homeostat.own_dead_letter"
                          " WHERE uid = $1::bigint ORDER BY updated_at DESC LIMIT $2::int"},
                         Params::of(uid, limit));
        std::vector<DeadLetter> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            out.push_back({parse_text_array(c.view()), "", c.text(), c.text(), c.text(), c.integer<std::int32_t>(), c.text()});
        }
        return out;
    });
}

Result<std::int64_t> count_dead_letters(Session& session, std::int64_t uid) {
    return guarded([&] {
        return session
            .exec({"dead_letter_count", "SELECT count(*) FROM homeostat.dead_letter WHERE uid = $1::bigint"}, Params::of(uid))
            .i64(0, 0);
    });
}

}  // namespace homeostat
