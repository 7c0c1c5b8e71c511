// Batches that are given up, or handed on, by whoever knows who sees to their documents from then on.
#include "store/control/batches.hpp"

namespace homeostat {

namespace {

// A chunk without a document is one whatever is declared, so that is still done, but not to tables of another revision.
const Statement kDiscard{"batch_discard", R"sql(
    DELETE FROM homeostat.batch b WHERE b.uid = $1::bigint
        AND (b.revision <> $3::int OR (b.generation <> $2::bigint AND b.kind <> 'stray'))
        AND NOT EXISTS (SELECT FROM homeostat.revision r JOIN homeostat.pipeline p USING (uid)
            WHERE r.uid = b.uid AND r.revision = b.revision AND r.state = 'served' AND r.revision <> $3::int
                AND b.run_id = (SELECT f.run_id FROM homeostat.feed f WHERE f.uid = b.uid)
                AND (b.kind IN ('heal', 'move') OR (b.kind = 'prune' AND p.prune = 'Auto'))))sql"};
// What was planned for the served revision when it was the one that is worked on says no provider of its own.
const Statement kRestamp{"batch_restamp", R"sql(
    UPDATE homeostat.batch b SET generation = p.generation, provider = CASE WHEN b.kind = 'stray' OR b.revision = $2::int
            THEN b.provider ELSE coalesce(b.provider, (SELECT r.provider FROM homeostat.revision r
                WHERE r.uid = b.uid AND r.revision = b.revision)) END
    FROM homeostat.pipeline p WHERE p.uid = $1::bigint AND b.uid = p.uid AND (b.kind = 'stray' OR b.revision <> $2::int)
        AND b.generation <> p.generation)sql"};
const Statement kTakeAlong{"batch_take_along", R"sql(
    UPDATE homeostat.batch b SET generation = p.generation, run_after = least(b.run_after, clock_timestamp()), last_error = '',
        provider = CASE WHEN EXISTS (SELECT FROM homeostat.revision n WHERE n.uid = b.uid AND n.revision > b.revision
                                     AND n.state = 'building') THEN coalesce(b.provider, r.provider) ELSE b.provider END
    FROM homeostat.pipeline p JOIN homeostat.revision r ON r.uid = p.uid AND r.state = 'served'
    JOIN homeostat.feed f ON f.uid = p.uid
    WHERE p.uid = $1::bigint AND b.uid = p.uid AND b.revision = r.revision AND b.run_id = f.run_id AND b.kind IN ('heal', 'move')
        AND b.generation <> p.generation AND b.claim_token IS NULL)sql"};
// Not those whose writer holds them and waits for the row of the pipeline that our transaction holds: it would wait for itself.
const Statement kSupersede{"batch_supersede", R"sql(
    DELETE FROM homeostat.batch WHERE id = ANY (ARRAY(SELECT b.id FROM homeostat.batch b
        WHERE b.uid = $1::bigint AND b.revision <> $2::int FOR UPDATE SKIP LOCKED)))sql"};
const Statement kDiscardRun{"batch_discard_run",
                            "DELETE FROM homeostat.batch WHERE uid = $1::bigint AND run_id = $2::bigint AND kind <> 'stray'"};
const Statement kWithdraw{
    "batch_withdraw",
    "DELETE FROM homeostat.batch WHERE id = ANY (ARRAY(SELECT id FROM homeostat.batch WHERE uid = $1::bigint"
    " AND run_id = $2::bigint AND kind = 'heal' AND claim_token IS NULL FOR UPDATE SKIP LOCKED)) RETURNING id"};
const Statement kAdopt{"batch_adopt",
                       "UPDATE homeostat.batch SET epoch = $2::bigint WHERE uid = $1::bigint AND epoch <> $2::bigint"};

}  // namespace

void discard_outdated_batches(Transaction& tx, std::int64_t uid, std::int64_t generation, std::int32_t revision) {
    tx.exec(kDiscard, Params::of(uid, generation, revision));
    tx.exec(kRestamp, Params::of(uid, revision));
}

void take_feed_batches_along(Transaction& tx, std::int64_t uid) { tx.exec(kTakeAlong, Params::of(uid)); }

void discard_superseded_batches(Transaction& tx, std::int64_t uid, std::int32_t revision) {
    tx.exec(kSupersede, Params::of(uid, revision));
}

void discard_run_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    tx.exec(kDiscardRun, Params::of(uid, run_id));
}

std::int64_t withdraw_batches(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    return tx.exec(kWithdraw, Params::of(uid, run_id)).size();
}

void adopt_batches(Transaction& tx, std::int64_t uid, std::int64_t epoch) { tx.exec(kAdopt, Params::of(uid, epoch)); }

}  // namespace homeostat
