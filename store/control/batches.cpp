#include "store/control/batches.hpp"

#include <fmt/format.h>

#include <array>

#include "core/fault_point.hpp"
#include "store/control/budgets.hpp"
#include "store/control/leases.hpp"
#include "store/control/named_keys.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/named_statement.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 4> kKinds{"heal", "move", "prune", "stray"};

// Claims, and what is done under them, need not be on the disk at once: a crash that loses a commit gives the batch back, and
// what was lost is done again. But it sets the sequence back with it, while whoever drew a number from it may live on: hence the
// chance in each.
const std::string kToken = "nextval('homeostat.claim_token') * 1048576 + trunc(random() * 1048576)::bigint";
const std::string kNotAtOnce = "set_config('synchronous_commit', 'off', true)";

// Of a revision that is pinned, whoever made it embeds it: what is declared may be another provider, that fails.
const NamedStatement kInsert{"batch_insert", fmt::format(R"sql(
    INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,
        claimed_by, claim_token, claim_expires_at, created_at, provider)
    SELECT :uid::bigint, :revision::int, :generation::bigint, :epoch::bigint, :run_id::bigint, :traceparent, w.kind, w.class,
        w.priority, w.keys::text[], w.documents, CASE WHEN w.i <= :limit::int THEN :replica END,
        CASE WHEN w.i <= :limit::int THEN {} END,
        CASE WHEN w.i <= :limit::int THEN clock_timestamp() + :ttl::bigint * interval '1 ms' END,
        clock_timestamp() - :waited::bigint * interval '1 ms', coalesce(:provider, (
            SELECT r.provider FROM homeostat.pipeline p JOIN homeostat.revision r ON r.uid = p.uid AND r.revision = :revision::int
            WHERE p.uid = :uid::bigint AND p.revision_pin IS NOT NULL AND r.provider <> p.provider))
    FROM unnest(:kinds::text[], :classes::text[], :priorities::int[], :keys::text[], :documents::int[]) WITH ORDINALITY
        AS w(kind, class, priority, keys, documents, i)
    RETURNING id, claim_token)sql",
                                                         kToken)};

// Only kinds this binary knows: a newer one's work is left to it. What was planned for an earlier declaration, or under an
// earlier lease that its new owner has not adopted yet, would be refused when it is paid for. The condition of suspicion is that
// of the index batch_suspect and of kSuspects. How a pipeline is named among what is blocked: blocked_pipeline.hpp.
const Statement kClaim{
    "batch_claim",
    "WITH ready AS (SELECT b.id, coalesce(b.provider, p.provider) AS provider, o.uid AS o, o.generation AS g FROM "
    "homeostat.batch b"
    "  JOIN homeostat.pipeline p USING (uid) JOIN homeostat.lease l ON l.resource = 'pipeline/' || b.uid AND l.epoch = b.epoch"
    "  LEFT JOIN homeostat.provider o ON o.name = coalesce(b.provider, p.provider)"
    "  WHERE b.claim_token IS NULL AND b.run_after <= clock_timestamp() AND NOT p.suspend AND p.deletion_requested_at IS NULL "
    "  AND b.generation = p.generation AND b.kind IN ('heal', 'move', 'prune', 'stray')"
    "  AND (b.deaths > 0 OR b.marks >= 3) = $4::boolean AND (b.kind <> 'heal' OR NOT ARRAY[coalesce(b.provider, p.provider),"
    "    E'\\npipeline ' || b.uid, coalesce(concat_ws(E'\\n', coalesce(b.provider, p.provider), o.uid, o.generation), '')]"
    "    && $5::text[])"
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
        LEFT JOIN homeostat.provider o ON o.name = coalesce(b.provider, p.provider)
        WHERE (b.deaths > 0 OR b.marks >= 3) AND b.claim_token IS NULL AND b.run_after <= clock_timestamp()
            AND NOT p.suspend AND p.deletion_requested_at IS NULL AND b.generation = p.generation
            AND b.kind IN ('heal', 'move', 'prune', 'stray') AND (b.kind <> 'heal' OR (coalesce(b.provider, p.provider) <> ALL ($1::text[])
                AND coalesce(concat_ws(E'\n', coalesce(b.provider, p.provider), o.uid, o.generation), '') <> ALL ($1::text[])
                AND E'\npipeline ' || b.uid <> ALL ($1::text[])))))sql"};

// Whose row is held is being written, which nobody else can claim meanwhile: one long write must not keep all others from being
// kept alive.
const Statement kHeartbeat{"batch_heartbeat", R"sql(
    WITH mine AS MATERIALIZED (
        SELECT b.id FROM unnest($1::bigint[], $2::bigint[]) AS w(id, token)
        JOIN homeostat.batch b ON b.id = w.id AND b.claim_token = w.token),
    free AS MATERIALIZED (
        SELECT b.id FROM homeostat.batch b JOIN unnest($1::bigint[], $2::bigint[]) AS w(id, token)
            ON b.id = w.id AND b.claim_token = w.token ORDER BY b.id FOR UPDATE OF b SKIP LOCKED),
    kept AS (
        UPDATE homeostat.batch b SET claim_expires_at = clock_timestamp() + $3::bigint * interval '1 ms' FROM free f
        WHERE b.id = f.id)
    SELECT id FROM mine)sql"};

const Statement kFence{
    "batch_fence",
    "SELECT b.generation = p.generation, p.suspend, p.deletion_requested_at IS NOT NULL, b.epoch = l.epoch, b.documents = "
    "$3::int, " +
        kNotAtOnce +
        " FROM homeostat.batch b JOIN homeostat.pipeline p ON p.uid = b.uid"
        " JOIN homeostat.lease l ON l.resource = 'pipeline/' || b.uid"
        " WHERE b.id = $1::bigint AND b.claim_token = $2::bigint FOR UPDATE OF b FOR SHARE OF p FOR KEY SHARE OF l"};

const NamedStatement kFinish{"batch_finish", R"sql(
    WITH gone AS (DELETE FROM homeostat.batch WHERE id = :id::bigint AND claim_token = :token::bigint
        RETURNING id, uid, run_id, kind, class, documents, tokens, wasted_tokens)
    INSERT INTO homeostat.batch_history (id, uid, run_id, kind, class, outcome, claim_token, claimed_by, documents, written,
        dropped, removed, chunks, embedded, tokens, wasted_tokens, error_class, error_code, message, saved_tokens)
    SELECT id, uid, run_id, kind, class, :outcome, :token::bigint, :replica, documents, :written::int, :dropped::int,
        :removed::int, :chunks::int, :embedded::int, tokens + :tokens::bigint, wasted_tokens + :wasted::bigint, :error_class,
        :error_code, left(:message, 1024), :saved::bigint
    FROM gone RETURNING id)sql"};

// Of a revision that was replaced under way nothing is left to be done.
const Statement kRest{
    "batch_rest",
    "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,"
    "  attempts, deaths, marks, run_after, last_error, created_at, provider)"
    " SELECT uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, $2::text[], $3::int, $4::int,"
    "  CASE WHEN documents = 1 THEN deaths ELSE 0 END, CASE WHEN deaths > 0 THEN greatest(marks, 3) ELSE marks END,"
    "  clock_timestamp() + $5::bigint * interval '1 ms', $6, created_at, provider FROM homeostat.batch b WHERE b.id = $1::bigint"
    "  AND NOT EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = b.uid AND r.revision = b.revision AND r.state = "
    "'retired')"};

// As urgent as what a sweep finds of that kind: not at all.
const Statement kPutAway{
    "batch_put_away",
    "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, traceparent, kind, class, priority, keys, documents,"
    "  run_after)"
    " SELECT uid, revision, generation, epoch, run_id, traceparent, 'stray', class, 0, $2::text[], $3::int,"
    "  clock_timestamp() + $4::bigint * interval '1 ms' FROM homeostat.batch WHERE id = $1::bigint"};

// Where another revision has taken over meanwhile nothing is left to be tried again.
const Statement kRelease{"batch_release", R"sql(
    WITH held AS (SELECT b.id, EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = b.uid AND r.revision = b.revision
            AND r.state = 'retired') AS over
        FROM homeostat.batch b WHERE b.id = $1::bigint AND b.claim_token = $2::bigint),
    gone AS (DELETE FROM homeostat.batch b USING held h WHERE b.id = h.id AND h.over AND b.claim_token = $2::bigint)
    UPDATE homeostat.batch b SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL, attempts = attempts + $3::int,
        run_after = clock_timestamp() + $4::bigint * interval '1 ms', last_error = CASE WHEN $5 = '' THEN last_error ELSE $5 END,
        tokens = tokens + $6::bigint, wasted_tokens = wasted_tokens + $7::bigint
    FROM held h WHERE b.id = h.id AND NOT h.over AND b.claim_token = $2::bigint)sql"};

const Statement kOpen{
    "batch_open",
    "SELECT count(*) FILTER (WHERE run_id = $3::bigint), coalesce(sum(documents) FILTER (WHERE run_id = $3::bigint), 0),"
    " count(*) FILTER (WHERE attempts > 0 OR last_error <> ''),"
    " coalesce((array_agg(last_error ORDER BY id DESC) FILTER (WHERE last_error <> ''))[1], ''),"
    " CASE WHEN bool_or(claim_token IS NOT NULL OR run_after <= clock_timestamp()) FILTER (WHERE run_id = $3::bigint) THEN NULL"
    "      ELSE greatest(0, extract(epoch FROM min(run_after) FILTER (WHERE run_id = $3::bigint) - clock_timestamp()) * "
    "1000)::bigint END,"
    " coalesce(bool_or(epoch <> $2::bigint), false) FROM homeostat.batch WHERE uid = $1::bigint"};

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
    Params params = kInsert.with({{"uid", like.uid},
                                  {"revision", like.revision},
                                  {"generation", like.generation},
                                  {"epoch", like.epoch},
                                  {"run_id", like.run_id},
                                  {"traceparent", like.traceparent},
                                  {"kinds", binary_array(kinds)},
                                  {"classes", binary_array(classes)},
                                  {"priorities", binary_array(priorities)},
                                  {"keys", binary_array(key_views)},
                                  {"documents", binary_array(documents)},
                                  {"limit", limit},
                                  {"replica", claimant.replica},
                                  {"ttl", claimant.ttl.count()},
                                  {"waited", like.waited.count()},
                                  {"provider", like.beside ? std::optional<std::string_view>(like.provider) : std::nullopt}});
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
    tx.at_commit(kInsert.statement(), std::move(params),
                 [claimed = std::move(claimed), take = std::move(take)](const Rows& rows) mutable {
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
            RowReader c(rows, i);
            b.id = c.integer();
            b.uid = c.integer();
            b.revision = c.integer<std::int32_t>();
            b.generation = c.integer();
            b.epoch = c.integer();
            b.run_id = c.integer();
            const std::string_view kind = c.view();
            for (std::size_t k = 0; k < kKinds.size(); ++k) {
                if (kind == kKinds[k]) b.kind = static_cast<BatchKind>(k);
            }
            b.cls = c.text();
            b.priority = c.integer<std::int32_t>();
            const auto width = static_cast<std::size_t>(c.maybe_integer<std::int64_t>().value_or(0));
            b.keys = keys_of(parse_text_array(c.view()), width);
            b.attempts = c.integer<std::int32_t>();
            b.deaths = c.integer<std::int32_t>();
            b.marks = c.integer<std::int32_t>();
            b.token = c.integer();
            b.traceparent = c.text();
            b.provider = c.text();
            b.provider_uid = c.maybe_integer<std::int64_t>().value_or(0);
            b.provider_generation = c.maybe_integer<std::int64_t>().value_or(0);
            b.fed = c.boolean();
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
    tx.later(kFence, Params::of(batch.id, batch.token, batch.keys.size()), [id = batch.id](const Rows& rows) {
        const auto refuse = [&](std::string_view why) { throw StoreFailure(fenced(fmt::format("batch {}: {}", id, why))); };
        if (rows.empty()) refuse("its claim is no longer ours");
        if (!rows.boolean(0, 0)) refuse("the pipeline has a newer generation");
        if (rows.boolean(0, 1)) refuse("the pipeline is suspended");
        if (rows.boolean(0, 2)) refuse("the pipeline is being deleted");
        if (!rows.boolean(0, 3)) refuse("the lease has a newer epoch");
        if (!rows.boolean(0, 4)) {
            Error taken = fenced(fmt::format("batch {}: documents of it were erased", id));
            taken.code = kKeysTaken;
            throw StoreFailure(std::move(taken));
        }
    });
}

void finish_batch(Transaction& tx, const Batch& batch, std::string_view replica, const BatchResult& r) {
    const Error none;
    const Error& error = r.error ? *r.error : none;
    if (batch.budgeted) settle_budget(tx, batch.uid, batch.run_id, batch.paid);
    tx.later(kFinish.statement(), kFinish.with({{"id", batch.id},
                                                {"token", batch.token},
                                                {"replica", replica},
                                                {"outcome", r.outcome},
                                                {"written", r.written},
                                                {"dropped", r.dropped},
                                                {"removed", r.removed},
                                                {"chunks", r.chunks},
                                                {"embedded", r.embedded},
                                                {"tokens", batch.tokens},
                                                {"wasted", batch.wasted_tokens},
                                                {"saved", batch.saved_tokens},
                                                {"error_class", r.error ? to_string(error.cls) : std::string_view()},
                                                {"error_code", error.code},
                                                {"message", error.message}}));
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
    const Params params = Params::of(batch.id, batch.token, counts_attempt ? 1 : 0, delay.count(), error.substr(0, 1024),
                                     batch.tokens, batch.wasted_tokens);
    return guarded([&] {
        if (!batch.budgeted) {
            session.exec(kRelease, params);
            return;
        }
        // What was paid was paid, whosever the claim is by now.
        Transaction tx = session.begin();
        tx.exec(kRelease, params);
        settle_budget(tx, batch.uid, batch.run_id, batch.paid);
        tx.commit();
    });
}

Result<OpenBatches> open_batches(Session& session, std::int64_t uid, std::int64_t epoch, std::int64_t run_id) {
    return guarded([&] {
        const Rows rows = session.exec(kOpen, Params::of(uid, epoch, run_id));
        RowReader c(rows, 0);
        OpenBatches o{c.integer(), c.integer(), c.integer(), c.text(), c.maybe_millis(), c.boolean()};
        if (o.batches == 0) o.next_in.reset();
        return o;
    });
}

}  // namespace homeostat
