#include "store/control/batches.hpp"

#include <fmt/format.h>

#include <array>

#include "core/fault_point.hpp"
#include "store/control/leases.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 4> kKinds{"heal", "move", "prune", "stray"};

// Claims, and what is done under them, need not be on the disk at once: a crash that loses a commit gives the batch back, and
// what was lost is done again. But it sets the sequence back with it, while whoever drew a number from it may live on: hence the
// chance in each.
const std::string kToken = "nextval('homeostat.claim_token') * 1048576 + trunc(random() * 1048576)::bigint";
const std::string kNotAtOnce = "set_config('synchronous_commit', 'off', true)";

const Statement kInsert{
    "batch_insert",
    "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,"
    "  claimed_by, claim_token, claim_expires_at, created_at)"
    " SELECT $1::bigint, $2::int, $3::bigint, $4::bigint, $5::bigint, $6, w.kind, w.class, w.priority, w.keys::text[], "
    "w.documents, CASE WHEN w.i <= $12::int THEN $13 END, CASE WHEN w.i <= $12::int THEN " +
        kToken +
        " END, CASE WHEN w.i <= $12::int THEN clock_timestamp() + $14::bigint * interval '1 ms' END,"
        "  clock_timestamp() - $15::bigint * interval '1 ms'"
        " FROM unnest($7::text[], $8::text[], $9::int[], $10::text[], $11::int[]) WITH ORDINALITY"
        "  AS w(kind, class, priority, keys, documents, i) RETURNING id, claim_token"};

// Only kinds this binary knows: a newer one's work is left to it. What was planned for an earlier declaration, or under an
// earlier lease that its new owner has not adopted yet, would be refused when it is paid for. The condition of suspicion is that
// of the index batch_suspect and of kSuspects. How a pipeline is named among what is blocked: blocked_pipeline.hpp.
const Statement kClaim{
    "batch_claim",
    "WITH ready AS (SELECT b.id, p.provider, o.uid AS o, o.generation AS g FROM homeostat.batch b"
    "  JOIN homeostat.pipeline p USING (uid) JOIN homeostat.lease l ON l.resource = 'pipeline/' || b.uid AND l.epoch = b.epoch"
    "  LEFT JOIN homeostat.provider o ON o.name = p.provider"
    "  WHERE b.claim_token IS NULL AND b.run_after <= clock_timestamp() AND NOT p.suspend AND p.deletion_requested_at IS NULL "
    "  AND b.generation = p.generation AND b.kind IN ('heal', 'move', 'prune', 'stray')"
    "  AND (b.deaths > 0 OR b.marks >= 3) = $4::boolean AND (b.kind <> 'heal' OR NOT ARRAY[p.provider, E'\\npipeline ' || b.uid,"
    "    coalesce(concat_ws(E'\\n', p.provider, o.uid, o.generation), '')] && $5::text[])"
    "  AND ($6::bigint = 0 OR NOT EXISTS (SELECT FROM homeostat.run r JOIN homeostat.batch e USING (uid) WHERE r.id = b.run_id"
    "    AND r.phase <> 'sweeping' AND r.planned_in_sweep < $6::bigint AND e.run_id = r.id AND e.id <> b.id AND (e.claim_token"
    "    IS NOT NULL OR (e.id < b.id AND e.run_after <= clock_timestamp() AND (e.kind <> 'heal' OR b.kind = 'heal')"
    "    AND e.deaths = 0 AND e.marks < 3))))"
    "  ORDER BY b.priority DESC, b.id LIMIT $2::int FOR UPDATE OF b SKIP LOCKED)"
    " UPDATE homeostat.batch b SET claimed_by = $1, claim_token = " +
        kToken +
        ", claim_expires_at = clock_timestamp() + $3::bigint * interval '1 ms' FROM ready WHERE b.id = ready.id"
        " RETURNING b.id, b.uid, b.revision, b.generation, b.epoch, b.run_id, b.kind, b.class, b.priority,"
        "  array_length(b.keys, 1), ARRAY(SELECT unnest(b.keys))::text, b.attempts, b.deaths, b.marks, b.claim_token,"
        "  b.traceparent, ready.provider, ready.o, ready.g,"
        "  EXISTS (SELECT FROM homeostat.feed f WHERE f.uid = b.uid AND f.run_id = b.run_id), " +
        kNotAtOnce};

const Statement kSuspects{"batch_suspects", R"sql(
    SELECT EXISTS (SELECT FROM homeostat.batch b JOIN homeostat.pipeline p ON p.uid = b.uid
        JOIN homeostat.lease l ON l.resource = 'pipeline/' || b.uid AND l.epoch = b.epoch
        LEFT JOIN homeostat.provider o ON o.name = p.provider
        WHERE (b.deaths > 0 OR b.marks >= 3) AND b.claim_token IS NULL AND b.run_after <= clock_timestamp()
            AND NOT p.suspend AND p.deletion_requested_at IS NULL AND b.generation = p.generation
            AND b.kind IN ('heal', 'move', 'prune', 'stray') AND (b.kind <> 'heal' OR (p.provider <> ALL ($1::text[])
                AND coalesce(concat_ws(E'\n', p.provider, o.uid, o.generation), '') <> ALL ($1::text[])
                AND E'\npipeline ' || b.uid <> ALL ($1::text[])))))sql"};

const Statement kHeartbeat{
    "batch_heartbeat",
    "UPDATE homeostat.batch b SET claim_expires_at = clock_timestamp() + $3::bigint * interval '1 ms'"
    " FROM unnest($1::bigint[], $2::bigint[]) AS w(id, token) WHERE b.id = w.id AND b.claim_token = w.token RETURNING b.id"};

const Statement kFence{
    "batch_fence",
    "SELECT b.generation = p.generation, p.suspend, p.deletion_requested_at IS NOT NULL, b.epoch = l.epoch, " + kNotAtOnce +
        " FROM homeostat.batch b JOIN homeostat.pipeline p ON p.uid = b.uid"
        " JOIN homeostat.lease l ON l.resource = 'pipeline/' || b.uid"
        " WHERE b.id = $1::bigint AND b.claim_token = $2::bigint FOR UPDATE OF b FOR SHARE OF p FOR KEY SHARE OF l"};

const Statement kFinish{
    "batch_finish",
    "WITH gone AS (DELETE FROM homeostat.batch WHERE id = $1::bigint AND claim_token = $2::bigint"
    "  RETURNING id, uid, run_id, kind, class, documents, tokens, wasted_tokens)"
    " INSERT INTO homeostat.batch_history (id, uid, run_id, kind, class, outcome, claim_token, claimed_by, documents, written,"
    "  dropped, removed, chunks, embedded, tokens, wasted_tokens, error_class, error_code, message, saved_tokens)"
    " SELECT id, uid, run_id, kind, class, $4, $2::bigint, $3, documents, $5::int, $6::int, $7::int, $8::int, $9::int,"
    "  tokens + $10::bigint, wasted_tokens + $14::bigint, $11, $12, left($13, 1024), $15::bigint"
    " FROM gone RETURNING id"};

const Statement kRest{
    "batch_rest",
    "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,"
    "  attempts, deaths, marks, run_after, last_error, created_at)"
    " SELECT uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, $2::text[], $3::int, $4::int,"
    "  CASE WHEN documents = 1 THEN deaths ELSE 0 END, CASE WHEN deaths > 0 THEN greatest(marks, 3) ELSE marks END,"
    "  clock_timestamp() + $5::bigint * interval '1 ms', $6, created_at FROM homeostat.batch WHERE id = $1::bigint"};

// As urgent as what a sweep finds of that kind: not at all.
const Statement kPutAway{
    "batch_put_away",
    "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,"
    "  run_after)"
    " SELECT uid, revision, generation, epoch, run_id, traceparent, 'stray', class, 0, $2::text[], $3::int,"
    "  clock_timestamp() + $4::bigint * interval '1 ms' FROM homeostat.batch WHERE id = $1::bigint"};

const Statement kRelease{
    "batch_release",
    "UPDATE homeostat.batch SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL, attempts = attempts + $3::int,"
    " run_after = clock_timestamp() + $4::bigint * interval '1 ms', last_error = CASE WHEN $5 = '' THEN last_error ELSE $5 END,"
    " tokens = tokens + $6::bigint, wasted_tokens = wasted_tokens + $7::bigint"
    " WHERE id = $1::bigint AND claim_token = $2::bigint"};

const Statement kHealedLetters{"dead_letters_healed", R"sql(
    DELETE FROM homeostat.dead_letter l USING unnest($3::text[]) AS w(key)
    WHERE l.uid = $1::bigint AND l.revision = $2::int AND l.key = w.key::text[]
        AND EXISTS (SELECT FROM homeostat.dead_letter o WHERE o.uid = $1::bigint))sql"};
const Statement kLockStatus{"dead_letters_lock", "SELECT uid FROM homeostat.pipeline_status WHERE uid = $1::bigint FOR UPDATE"};
const Statement kRecount{"dead_letters_recount", R"sql(
    UPDATE homeostat.pipeline_status s SET dead_letters = homeostat.dead_letters_of(s.uid), updated_at = clock_timestamp()
    WHERE s.uid = $1::bigint AND ($2::boolean OR s.dead_letters > 0) AND s.dead_letters <> homeostat.dead_letters_of(s.uid))sql"};

// A chunk without a document is one whatever is declared, so that is still done, but not to tables of another revision.
const Statement kDiscard{"batch_discard", R"sql(
    DELETE FROM homeostat.batch b WHERE b.uid = $1::bigint
        AND (b.revision <> $3::int OR (b.generation <> $2::bigint AND b.kind <> 'stray')))sql"};
const Statement kDiscardRun{"batch_discard_run",
                            "DELETE FROM homeostat.batch WHERE uid = $1::bigint AND run_id = $2::bigint AND kind <> 'stray'"};
const Statement kRestamp{
    "batch_restamp",
    "UPDATE homeostat.batch b SET generation = p.generation FROM homeostat.pipeline p WHERE p.uid = $1::bigint AND b.uid = p.uid"
    " AND b.kind = 'stray' AND b.generation <> p.generation"};
const Statement kWithdraw{
    "batch_withdraw",
    "DELETE FROM homeostat.batch WHERE id = ANY (ARRAY(SELECT id FROM homeostat.batch WHERE uid = $1::bigint"
    " AND run_id = $2::bigint AND kind = 'heal' AND claim_token IS NULL FOR UPDATE SKIP LOCKED)) RETURNING id"};
const Statement kAdopt{"batch_adopt",
                       "UPDATE homeostat.batch SET epoch = $2::bigint WHERE uid = $1::bigint AND epoch <> $2::bigint"};

const Statement kOpen{
    "batch_open",
    "SELECT count(*) FILTER (WHERE run_id = $3::bigint), coalesce(sum(documents) FILTER (WHERE run_id = $3::bigint), 0),"
    " count(*) FILTER (WHERE attempts > 0 OR last_error <> ''),"
    " coalesce((array_agg(last_error ORDER BY id DESC) FILTER (WHERE last_error <> ''))[1], ''),"
    " CASE WHEN bool_or(claim_token IS NOT NULL OR run_after <= clock_timestamp()) FILTER (WHERE run_id = $3::bigint) THEN NULL"
    "      ELSE greatest(0, extract(epoch FROM min(run_after) FILTER (WHERE run_id = $3::bigint) - clock_timestamp()) * "
    "1000)::bigint END,"
    " coalesce(bool_or(epoch <> $2::bigint), false) FROM homeostat.batch WHERE uid = $1::bigint"};

const Statement kDead{
    "dead_letter_add",
    "INSERT INTO homeostat.dead_letter AS l (uid, revision, key, content_hash, class, strategy, message, attempts, trace_id)"
    " VALUES ($1::bigint, $2::int, $3::text[], $4::bytea, $5, $6, left($7, 1024), $8::int, $9)"
    " ON CONFLICT (uid, revision, key) DO UPDATE SET content_hash = excluded.content_hash, class = excluded.class,"
    " strategy = excluded.strategy, message = excluded.message, attempts = excluded.attempts, trace_id = excluded.trace_id,"
    " updated_at = clock_timestamp()"};

Bytes key_matrix(const std::vector<Key>& keys) {
    const std::size_t columns = keys.empty() ? 0 : keys.front().size();
    std::vector<std::string_view> values;
    values.reserve(keys.size() * columns);
    for (std::size_t c = 0; c < columns; ++c) {
        for (const Key& key : keys) values.push_back(key[c]);
    }
    return binary_matrix(values, columns);
}

std::vector<Key> keys_of(const std::vector<std::string>& flat, std::size_t columns) {
    const std::size_t n = columns == 0 ? 0 : flat.size() / columns;
    std::vector<Key> keys(n);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < columns; ++c) keys[i].push_back(flat[c * n + i]);
    }
    return keys;
}

}  // namespace

std::string_view to_string(BatchKind k) noexcept { return kKinds[static_cast<std::size_t>(k)]; }

void insert_batches(Transaction& tx, std::int64_t uid, std::int32_t revision, std::int64_t generation, std::int64_t epoch,
                    std::int64_t run_id, const std::string& traceparent, const std::vector<PlannedBatch>& batches) {
    Batch like;
    like.uid = uid;
    like.revision = revision;
    like.generation = generation;
    like.epoch = epoch;
    like.run_id = run_id;
    like.traceparent = traceparent;
    insert_claimed(tx, like, batches, {}, 0, nullptr);
}

void insert_claimed(Transaction& tx, const Batch& like, const std::vector<PlannedBatch>& batches, const Claimant& claimant,
                    int limit, std::function<void(std::vector<Batch>)> take) {
    if (batches.empty()) return;
    std::vector<std::string_view> kinds;
    std::vector<std::string_view> classes;
    std::vector<std::int32_t> priorities;
    std::vector<std::string> keys;
    std::vector<std::int32_t> documents;
    for (const PlannedBatch& b : batches) {
        kinds.push_back(to_string(b.kind));
        classes.push_back(to_string(b.cls));
        priorities.push_back(b.priority);
        keys.push_back(format_text_columns(b.keys));
        documents.push_back(static_cast<std::int32_t>(b.keys.size()));
    }
    const std::vector<std::string_view> key_views(keys.begin(), keys.end());
    Params params = Params::of(like.uid, like.revision, like.generation, like.epoch, like.run_id, like.traceparent);
    params.bytes(binary_array(kinds)).bytes(binary_array(classes)).bytes(binary_array(priorities));
    params.bytes(binary_array(key_views)).bytes(binary_array(documents));
    params.add(limit).add(claimant.replica).add(claimant.ttl.count()).add(like.waited.count());
    std::vector<Batch> claimed;
    for (const PlannedBatch& planned : batches) {
        if (static_cast<int>(claimed.size()) == limit) break;
        Batch b = like;
        b.kind = planned.kind;
        b.cls = to_string(planned.cls);
        b.priority = planned.priority;
        b.keys = planned.keys;
        claimed.push_back(std::move(b));
    }
    tx.at_commit(kInsert, std::move(params), [claimed = std::move(claimed), take = std::move(take)](const Rows& rows) mutable {
        for (std::size_t i = 0; i < claimed.size(); ++i) {
            claimed[i].id = rows.i64(static_cast<int>(i), 0);
            claimed[i].token = rows.i64(static_cast<int>(i), 1);
        }
        if (take) take(std::move(claimed));
    });
}

Result<std::vector<Batch>> claim_batches(Session& session, std::string_view replica, int limit, std::chrono::milliseconds ttl,
                                         bool suspects, const std::vector<std::string>& blocked, std::int64_t parallel_from) {
    return guarded([&] {
        const Rows rows =
            session.exec(kClaim, Params::of(replica, limit, ttl.count(), suspects, format_text_array(blocked), parallel_from));
        std::vector<Batch> out;
        for (int i = 0; i < rows.size(); ++i) {
            Batch b;
            b.id = rows.i64(i, 0);
            b.uid = rows.i64(i, 1);
            b.revision = static_cast<std::int32_t>(rows.i64(i, 2));
            b.generation = rows.i64(i, 3);
            b.epoch = rows.i64(i, 4);
            b.run_id = rows.i64(i, 5);
            for (std::size_t k = 0; k < kKinds.size(); ++k) {
                if (rows.view(i, 6) == kKinds[k]) b.kind = static_cast<BatchKind>(k);
            }
            b.cls = rows.text(i, 7);
            b.priority = static_cast<std::int32_t>(rows.i64(i, 8));
            b.keys = keys_of(parse_text_array(rows.view(i, 10)), static_cast<std::size_t>(rows.maybe_i64(i, 9).value_or(0)));
            b.attempts = static_cast<std::int32_t>(rows.i64(i, 11));
            b.deaths = static_cast<std::int32_t>(rows.i64(i, 12));
            b.marks = static_cast<std::int32_t>(rows.i64(i, 13));
            b.token = rows.i64(i, 14);
            b.traceparent = rows.text(i, 15);
            b.provider = rows.text(i, 16);
            b.provider_uid = rows.maybe_i64(i, 17).value_or(0);
            b.provider_generation = rows.maybe_i64(i, 18).value_or(0);
            b.fed = rows.boolean(i, 19);
            out.push_back(std::move(b));
        }
        return out;
    });
}

Result<bool> suspects_wait(Session& session, const std::vector<std::string>& blocked) {
    return guarded([&] { return session.exec(kSuspects, Params::of(format_text_array(blocked))).boolean(0, 0); });
}

Result<std::vector<std::int64_t>> heartbeat_batches(Session& session, const std::vector<std::int64_t>& ids,
                                                    const std::vector<std::int64_t>& tokens, std::chrono::milliseconds ttl) {
    return guarded([&] {
        Params params;
        params.bytes(binary_array(ids)).bytes(binary_array(tokens)).add(ttl.count());
        const Rows rows = session.exec(kHeartbeat, params);
        std::vector<std::int64_t> alive;
        for (int i = 0; i < rows.size(); ++i) alive.push_back(rows.i64(i, 0));
        return alive;
    });
}

void fence_batch(Transaction& tx, const Batch& batch) {
    if (HOMEOSTAT_PLANTED("fence")) return;
    tx.later(kFence, Params::of(batch.id, batch.token), [id = batch.id](const Rows& rows) {
        const auto refuse = [&](std::string_view why) { throw StoreFailure(fenced(fmt::format("batch {}: {}", id, why))); };
        if (rows.empty()) refuse("its claim is no longer ours");
        if (!rows.boolean(0, 0)) refuse("the pipeline has a newer generation");
        if (rows.boolean(0, 1)) refuse("the pipeline is suspended");
        if (rows.boolean(0, 2)) refuse("the pipeline is being deleted");
        if (!rows.boolean(0, 3)) refuse("the lease has a newer epoch");
    });
}

void finish_batch(Transaction& tx, const Batch& batch, std::string_view replica, const BatchResult& r) {
    tx.later(kFinish, Params::of(batch.id, batch.token, replica, r.outcome, r.written, r.dropped, r.removed, r.chunks, r.embedded,
                                 batch.tokens, r.error ? to_string(r.error->cls) : std::string_view(),
                                 r.error ? r.error->code : std::string(), r.error ? r.error->message : std::string(),
                                 batch.wasted_tokens, batch.saved_tokens));
}

void insert_rest(Transaction& tx, const Batch& batch, const std::vector<std::vector<Key>>& parts, std::int32_t attempts,
                 std::chrono::milliseconds delay, std::string_view error) {
    for (const std::vector<Key>& part : parts) {
        Params params = Params::of(batch.id);
        params.bytes(key_matrix(part)).add(part.size()).add(attempts).add(delay.count()).add(error);
        tx.later(kRest, std::move(params));
    }
}

void insert_put_away(Transaction& tx, const Batch& batch, const std::vector<std::int64_t>& ids, std::chrono::milliseconds delay) {
    std::vector<Key> keys;
    for (const std::int64_t id : ids) keys.push_back({std::to_string(id)});
    Params params = Params::of(batch.id);
    params.bytes(key_matrix(keys)).add(keys.size()).add(delay.count());
    tx.later(kPutAway, std::move(params));
}

Status release_batch(Session& session, const Batch& batch, bool counts_attempt, std::chrono::milliseconds delay,
                     std::string_view error) {
    return guarded([&] {
        session.exec(kRelease, Params::of(batch.id, batch.token, counts_attempt ? 1 : 0, delay.count(), error.substr(0, 1024),
                                          batch.tokens, batch.wasted_tokens));
    });
}

void discard_outdated_batches(Transaction& tx, std::int64_t uid, std::int64_t generation, std::int32_t revision) {
    tx.exec(kDiscard, Params::of(uid, generation, revision));
    tx.exec(kRestamp, Params::of(uid));
}
void discard_run_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    tx.exec(kDiscardRun, Params::of(uid, run_id));
}
std::int64_t withdraw_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    return tx.exec(kWithdraw, Params::of(uid, run_id)).size();
}
void adopt_batches(Transaction& tx, std::int64_t uid, std::int64_t epoch) { tx.exec(kAdopt, Params::of(uid, epoch)); }

Result<OpenBatches> open_batches(Session& session, std::int64_t uid, std::int64_t epoch, std::int64_t run_id) {
    return guarded([&] {
        const Rows rows = session.exec(kOpen, Params::of(uid, epoch, run_id));
        OpenBatches o{rows.i64(0, 0), rows.i64(0, 1), rows.i64(0, 2), rows.text(0, 3), {}, rows.boolean(0, 5)};
        if (const auto ms = rows.maybe_i64(0, 4); ms && o.batches > 0) o.next_in = std::chrono::milliseconds(*ms);
        return o;
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
            out.push_back({parse_text_array(rows.view(i, 0)), "", rows.text(i, 1), rows.text(i, 2), rows.text(i, 3),
                           static_cast<std::int32_t>(rows.i64(i, 4)), rows.text(i, 5)});
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
