#include "store/control/rollbacks.hpp"

#include <fmt/format.h>

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kPoints{"points_read", R"sql(
    SELECT EXISTS (SELECT FROM homeostat.checkpoint c WHERE c.uid = $1::bigint AND c.state = 'requested'), r.id, r.checkpoint,
        r.revision, r.entry, r.dry_run, r.state = 'running', r.requested_by, r.reason, r.planned, r.unverified_run,
        EXISTS (SELECT FROM homeostat.adoption a WHERE a.uid = $1::bigint AND a.ended_at IS NULL)
    FROM (VALUES (1)) AS one LEFT JOIN homeostat.rollback r ON r.uid = $1::bigint AND r.state IN ('requested', 'running')
    ORDER BY r.id)sql"};
const Statement kOpen{"checkpoint_open", R"sql(
    INSERT INTO homeostat.checkpoint (uid, revision, run_id, name, documents, chunks, entry)
    VALUES ($1::bigint, $2::int, $3::bigint, 'run-' || $3, $4::bigint, $5::bigint, $6::bigint))sql"};
const Statement kTake{"checkpoint_take", R"sql(
    UPDATE homeostat.checkpoint SET state = 'ready', revision = $2::int, documents = $3::bigint, chunks = $4::bigint,
        entry = $5::bigint, created_at = clock_timestamp()
    WHERE uid = $1::bigint AND state = 'requested')sql"};
const Statement kWhyNot{"rollback_why_not", R"sql(
    SELECT CASE
        WHEN r.revision IS NULL OR r.state <> 'served' THEN format('revision %s is not the one that is served any more', $2::int)
        WHEN EXISTS (SELECT FROM homeostat.revision b WHERE b.uid = $1::bigint AND b.state = 'building')
            THEN 'another revision is being filled since it was asked for'
        WHEN r.journal_from > $3::bigint OR to_regclass(format('homeostat_data.p%s_r%s_journal', $1::bigint, $2::int)) IS NULL
            THEN 'its journal is gone'
        ELSE '' END
    FROM (VALUES (1)) AS one LEFT JOIN homeostat.revision r ON r.uid = $1::bigint AND r.revision = $2::int)sql"};
const Statement kRefuse{"rollback_refuse",
                        "UPDATE homeostat.rollback SET state = 'refused', message = $2, ended_at = clock_timestamp()"
                        " WHERE id = $1::bigint"};
// What its own gate has suspended stays so, for a person to look at, and says that it is not what it was.
const Statement kUnpin{"rollback_unpin", R"sql(
    UPDATE homeostat.pipeline SET suspend = $2::text IS NOT NULL, pinned = NULL,
        suspend_reason = left(format('%s; the run is not rolled back: %s', $2::text, $3::text), 1024)
    WHERE uid = $1::bigint AND pinned = 'rollback')sql"};
// All that would stop it, under the lock of the pipeline's row, which keeps the journal from being trimmed.
const Statement kUndoRun{"rollback_undo_run", R"sql(
    WITH asked AS (
        INSERT INTO homeostat.rollback (uid, pipeline, checkpoint, reason, revision, entry, requested_by, unverified_run)
        SELECT p.uid, p.name, c.name, $3::text, c.revision, c.entry, 'homeostat', c.run_id
        FROM homeostat.checkpoint c JOIN homeostat.pipeline p ON p.uid = c.uid
        JOIN homeostat.revision r ON r.uid = c.uid AND r.revision = c.revision AND r.state = 'served'
        WHERE c.uid = $1::bigint AND c.run_id = $2::bigint AND NOT c.named AND c.entry >= r.journal_from AND NOT p.suspend
            AND p.management = 'Manage' AND to_regclass(format('homeostat_data.p%s_r%s_journal', r.uid, r.revision)) IS NOT NULL
            AND NOT EXISTS (SELECT FROM homeostat.revision b WHERE b.uid = c.uid AND b.state = 'building')
        ON CONFLICT DO NOTHING RETURNING uid, checkpoint)
    UPDATE homeostat.pipeline p SET suspend = true, pinned = 'rollback', suspend_until = NULL, suspended_by = 'homeostat',
        suspend_reason = left(format('rolled back to checkpoint "%s": %s', a.checkpoint, $3::text), 1024)
    FROM asked a WHERE p.uid = a.uid)sql"};
// What a sweep has found to be served is not, from here on.
const Statement kBegin{"rollback_begin", R"sql(
    WITH begun AS (UPDATE homeostat.rollback SET state = 'running' WHERE id = $1::bigint RETURNING uid)
    DELETE FROM homeostat.swept s USING begun b WHERE s.uid = b.uid)sql"};
const Statement kPlanned{"rollback_planned",
                         "UPDATE homeostat.rollback SET planned = true, restored = $2::bigint, brought_back = $3::bigint,"
                         " removed = $4::bigint WHERE id = $1::bigint"};
const Statement kBatches{"rollback_batches",
                         "DELETE FROM homeostat.batch WHERE uid = $1::bigint AND (kind <> 'stray' OR claim_token IS NOT NULL)"};
const Statement kRuns{"rollback_runs", R"sql(
    UPDATE homeostat.run_history h SET status = 'rolled_back'
    WHERE h.uid = $1::bigint AND h.revision = $2::int AND h.healed <> '{}'
        AND (h.started_at >= (SELECT min(c.created_at) FROM homeostat.checkpoint c WHERE c.uid = $1::bigint AND c.name = $4)
             OR h.id IN (SELECT c.run_id FROM homeostat.checkpoint c WHERE c.uid = $1::bigint AND c.revision = $2::int
                         AND NOT c.named AND c.entry >= $3::bigint)))sql"};
const Statement kLaterPoints{
    "rollback_later_points",
    "DELETE FROM homeostat.checkpoint WHERE uid = $1::bigint AND revision = $2::int AND entry > $3::bigint"};
const Statement kStatus{"rollback_status", R"sql(
    UPDATE homeostat.pipeline_status SET documents = $2::bigint, chunks = $3::bigint, next_attempt_at = NULL,
        last_deep_sweep_at = NULL, blocked_prunes = 0, blocked_plan = '' WHERE uid = $1::bigint)sql"};
const Statement kDone{"rollback_done",
                      "UPDATE homeostat.rollback SET state = 'done', ended_at = clock_timestamp() WHERE id = $1::bigint"};
const Statement kDryRun{"rollback_dry_run", R"sql(
    UPDATE homeostat.rollback SET state = 'done', restored = $2::bigint, brought_back = $3::bigint, removed = $4::bigint,
        ended_at = clock_timestamp() WHERE id = $1::bigint)sql"};
const Statement kAsk{"rollback_ask",
                     "INSERT INTO homeostat.own_rollback (pipeline, checkpoint, run, dry_run, reason)"
                     " VALUES ($1, $2, $3::bigint, $4::boolean, $5) RETURNING id"};
const Statement kRead{"rollback_read",
                      "SELECT id, pipeline, coalesce(checkpoint, ''), dry_run, state, message, restored, brought_back, removed,"
                      " requested_by, requested_at::text, ended_at::text FROM homeostat.own_rollback WHERE id = $1::bigint"};
const Statement kAskPoint{"checkpoint_ask", "INSERT INTO homeostat.own_checkpoint (pipeline, name) VALUES ($1, $2) RETURNING id"};
const Statement kTaken{"checkpoint_taken", "SELECT state = 'ready' FROM homeostat.own_checkpoint WHERE id = $1::bigint"};
const Statement kDrop{"checkpoint_drop",
                      "DELETE FROM homeostat.own_checkpoint WHERE name = $2 AND uid IN (SELECT p.uid FROM homeostat.pipeline p"
                      " WHERE p.name = $1 AND p.deletion_requested_at IS NULL)"};
const Statement kLimit{"journal_limit_read",
                       "SELECT journal_limit FROM homeostat.revision WHERE uid = $1::bigint AND state = 'served'"};

}  // namespace

Result<PointRequests> read_points(Session& session, std::int64_t uid) {
    return guarded([&] {
        PointRequests out;
        const Rows rows = session.exec(kPoints, Params::of(uid));
        for (int i = 0; i < rows.size(); ++i) {
            out.checkpoints = rows.boolean(i, 0);
            out.adoption = rows.boolean(i, 11);
            if (rows.null(i, 1)) continue;
            RowReader c(rows, i);
            c.skip();
            RollbackRequest r;
            r.id = c.integer();
            r.checkpoint = c.text();
            r.revision = c.integer<std::int32_t>();
            r.entry = c.integer();
            r.dry_run = c.boolean();
            r.running = c.boolean();
            r.requested_by = c.text();
            r.reason = c.text();
            r.planned = c.boolean();
            r.unverified_run = c.maybe_integer<std::int64_t>();
            (r.dry_run ? out.dry_run : out.rollback) = std::move(r);
        }
        return out;
    });
}

void open_checkpoint(Transaction& tx, const Revision& revision, std::int64_t run_id, const Totals& stored) {
    tx.exec(kOpen,
            Params::of(revision.tables.uid, revision.number, run_id, stored.documents, stored.chunks, journal_end(tx, revision)));
}

std::int64_t take_checkpoints(Transaction& tx, const Revision& revision, const Totals& stored) {
    return tx
        .exec(kTake, Params::of(revision.tables.uid, revision.number, stored.documents, stored.chunks, journal_end(tx, revision)))
        .affected();
}

std::string why_not_now(Transaction& tx, const RollbackRequest& request, std::int64_t uid) {
    return tx.exec(kWhyNot, Params::of(uid, request.revision, request.entry)).text(0, 0);
}

bool ask_to_undo_run(Transaction& tx, std::int64_t uid, std::int64_t run_id, std::string_view why) {
    hold_writers(tx, uid);
    return tx.exec(kUndoRun, Params::of(uid, run_id, why)).affected() > 0;
}

void refuse_rollback(Transaction& tx, std::int64_t uid, const RollbackRequest& request, std::string_view why) {
    tx.exec(kRefuse, Params::of(request.id, why));
    const auto stays = request.unverified_run ? std::optional<std::string>(request.reason) : std::nullopt;
    tx.exec(kUnpin, Params::of(uid, stays, why));
}

void begin_rollback(Transaction& tx, std::int64_t id) { tx.exec(kBegin, Params::of(id)); }

void rollback_is_planned(Transaction& tx, std::int64_t id, const UndoCounts& n) {
    tx.exec(kPlanned, Params::of(id, n.restored, n.brought_back, n.removed));
}

void discard_all_batches(Transaction& tx, std::int64_t uid) { tx.exec(kBatches, Params::of(uid)); }

void end_rollback(Transaction& tx, std::int64_t uid, const RollbackRequest& request, const Totals& stored) {
    tx.exec(kRuns, Params::of(uid, request.revision, request.entry, request.checkpoint));
    tx.exec(kLaterPoints, Params::of(uid, request.revision, request.entry));
    tx.exec(kStatus, Params::of(uid, stored.documents, stored.chunks));
    tx.exec(kDone, Params::of(request.id));
}

void end_dry_run(Transaction& tx, std::int64_t id, const UndoCounts& n) {
    tx.exec(kDryRun, Params::of(id, n.restored, n.brought_back, n.removed));
}

Result<std::int64_t> request_rollback(Session& session, const RollbackWish& w) {
    return guarded(
        [&] { return session.exec(kAsk, Params::of(w.pipeline, w.checkpoint, w.run, w.dry_run, w.reason)).i64(0, 0); });
}

Result<std::optional<Rollback>> read_rollback(Session& session, std::int64_t id) {
    return guarded([&]() -> std::optional<Rollback> {
        const Rows rows = session.exec(kRead, Params::of(id));
        if (rows.empty()) return std::nullopt;
        RowReader c(rows, 0);
        Rollback r;
        r.id = c.integer();
        r.pipeline = c.text();
        r.checkpoint = c.text();
        r.dry_run = c.boolean();
        r.state = c.text();
        r.message = c.text();
        r.counts = {c.integer(), c.integer(), c.integer()};
        r.requested_by = c.text();
        r.requested_at = c.stamp();
        r.ended_at = c.maybe_stamp();
        return r;
    });
}

Result<std::int64_t> request_checkpoint(Session& session, const std::string& pipeline, const std::string& name) {
    return guarded([&] { return session.exec(kAskPoint, Params::of(pipeline, name)).i64(0, 0); });
}

Result<bool> checkpoint_is_taken(Session& session, std::int64_t id) {
    return guarded([&]() -> Result<bool> {
        const Rows rows = session.exec(kTaken, Params::of(id));
        if (rows.empty()) return not_found("the checkpoint was dropped before it was taken");
        return rows.boolean(0, 0);
    });
}

Result<bool> drop_checkpoint(Session& session, const std::string& pipeline, const std::string& name) {
    return guarded([&] { return session.exec(kDrop, Params::of(pipeline, name)).affected() > 0; });
}

Result<std::string> read_journal_limit(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kLimit, Params::of(uid));
        return rows.empty() ? std::string() : rows.text(0, 0);
    });
}

}  // namespace homeostat
