#include "store/feed/feed.hpp"

#include <fmt/format.h>

#include <limits>

#include "store/control/batches.hpp"
#include "store/control/leases.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/feed/capture.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// Later than any transaction: what a full feed remembers until it is opened.
constexpr std::int64_t kNotOpened = std::numeric_limits<std::int64_t>::max();

// A feed whose triggers are not yet made anew after an upgrade has no sequences. One that may not be read is made anew by the
// pass that finds it, which must not fail for it, nor must a look at all feeds.
const Statement kRead{"feed_read",
                      "SELECT f.run_id, f.fingerprint, f.trusted_since IS NOT NULL, CASE WHEN f.prune_window_start >"
                      " clock_timestamp() - interval '1 hour' THEN f.pruned_in_window ELSE 0 END,"
                      " coalesce(f.settles = $2::bigint OR s.said >= $3::bigint, false),"
                      " coalesce(f.settles > pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
                      "  AND f.settles < pg_snapshot_xmax(pg_current_snapshot())::text::bigint, false) FROM homeostat.feed f,"
                      " LATERAL (SELECT CASE WHEN has_sequence_privilege(q, 'SELECT') THEN pg_sequence_last_value(q) END AS said"
                      "  FROM to_regclass(format('homeostat_data.p%s_full', f.uid)) q) s"
                      " WHERE f.uid = $1::bigint"};

// The pipeline's row is held so that nothing is planned for a declaration, or for a revision, that is no longer the one worked
// on (and nothing is read for a declarer who was found to lack a right): who changes either waits for this transaction, and
// whatever comes after the change sees it. What a drain commits need not be on the disk at once: a crash that loses it gives the
// changes back with it, and whatever is made of its batches is committed after it, to the disk.
//
// It is held by a statement of its own before it is looked at: one that has waited for the row goes on with what it saw before it
// waited, and a revision that was retired meanwhile would be planned for. (FOR SHARE looks again only at the row that it locks.)
const Statement kHold{"feed_hold", "SELECT FROM homeostat.pipeline p WHERE p.uid = $1::bigint FOR SHARE"};
const Statement kGate{
    "feed_gate",
    "SELECT p.generation, p.suspend OR p.deletion_requested_at IS NOT NULL OR p.management <> 'Manage' OR p.drift_policy <> "
    "'Enforce' OR EXISTS (SELECT FROM homeostat.condition c WHERE c.uid = p.uid AND c.type = 'Ready' AND c.status <> 'True'"
    "  AND c.reason = 'RightMissing'),"
    " (SELECT r.revision FROM homeostat.revision r WHERE r.uid = p.uid AND r.state <> 'retired'"
    "  ORDER BY r.state = 'building' DESC, r.revision DESC LIMIT 1),"
    " (SELECT r.revision FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served'"
    "  AND EXISTS (SELECT FROM homeostat.revision n WHERE n.uid = p.uid AND n.state = 'building')), f.run_id,"
    " EXISTS (SELECT FROM homeostat.run u WHERE u.uid = p.uid), coalesce(s.documents, 0), coalesce(s.source_documents, 0),"
    " CASE WHEN f.prune_window_start > clock_timestamp() - interval '1 hour' THEN f.pruned_in_window ELSE 0 END"
    " + CASE WHEN s.prune_window_start BETWEEN clock_timestamp() - interval '1 hour' AND clock_timestamp() THEN "
    "s.pruned_in_window"
    "   ELSE 0 END"
    ", l.epoch, p.provider, o.uid, o.generation, set_config('synchronous_commit', 'off', true) FROM homeostat.pipeline p JOIN "
    "homeostat.feed f ON f.uid = p.uid "
    "JOIN homeostat.lease l ON l.resource = $2"
    " LEFT JOIN homeostat.pipeline_status s ON s.uid = p.uid LEFT JOIN homeostat.provider o ON o.name = p.provider"
    " WHERE p.uid = $1::bigint FOR SHARE OF p FOR KEY SHARE OF l"};

const Statement kPruned{
    "feed_pruned",
    "UPDATE homeostat.feed SET pruned_in_window = CASE WHEN prune_window_start > clock_timestamp() - interval '1 hour'"
    "  THEN pruned_in_window ELSE 0 END + $2::bigint,"
    " prune_window_start = CASE WHEN prune_window_start > clock_timestamp() - interval '1 hour' THEN prune_window_start"
    "  ELSE clock_timestamp() END WHERE uid = $1::bigint"};

const Statement kKeep{
    "feed_keep",
    "INSERT INTO homeostat.feed AS f (uid, fingerprint, trusted_since, served_gap_since) VALUES ($1::bigint, $2,"
    " CASE WHEN $3::boolean THEN clock_timestamp() END, clock_timestamp()) ON CONFLICT (uid) DO UPDATE SET"
    " fingerprint = excluded.fingerprint, served_gap_since = CASE WHEN f.fingerprint = excluded.fingerprint THEN"
    "  f.served_gap_since ELSE coalesce(f.served_gap_since, excluded.served_gap_since) END,"
    " (trusted_since, settles) = (SELECT CASE WHEN trust THEN coalesce(f.trusted_since, excluded.trusted_since)"
    "                                         WHEN f.fingerprint = excluded.fingerprint THEN f.trusted_since END,"
    "                                    CASE WHEN NOT trust THEN f.settles END"
    "   FROM (SELECT $3::boolean AND coalesce(f.settles <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    // No transaction has that number yet: it is one of the cluster that this database was restored from.
    "     OR (f.settles >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint AND f.settles <> 9223372036854775807), true)) "
    "t(trust)),"
    " updated_at = clock_timestamp() RETURNING f.trusted_since IS NOT NULL"};

const Statement kDistrust{
    "feed_distrust",
    "UPDATE homeostat.feed SET trusted_since = NULL, incomplete_since = least(incomplete_since,"
    "  clock_timestamp() - $2::bigint * interval '1 ms'), served_gap_since = least(served_gap_since,"
    "  clock_timestamp() - $2::bigint * interval '1 ms')"
    " WHERE uid = $1::bigint AND (trusted_since IS NOT NULL OR served_gap_since IS NULL OR $2::bigint > 0)"};

constexpr const char* kTakeBack = R"sql(
    WITH gone (since) AS (DELETE FROM homeostat.batch WHERE id = ANY (ARRAY(
        SELECT id FROM homeostat.batch WHERE uid = $1::bigint AND run_id = $2::bigint AND kind <> 'stray' AND claim_token IS NULL
        FOR UPDATE SKIP LOCKED)) RETURNING created_at)
    SELECT count(*), {} FROM gone)sql";

const Statement kShut{"feed_shut", R"sql(
    UPDATE homeostat.feed SET trusted_since = NULL, settles = $2::bigint,
        served_gap_since = coalesce(served_gap_since, clock_timestamp()) WHERE uid = $1::bigint)sql"};
const Statement kOpened{"feed_opened",
                        "UPDATE homeostat.feed SET settles = pg_current_xact_id()::text::bigint WHERE uid = $1::bigint"};

const Statement kFailed{"feed_batch_failed", R"sql(
    UPDATE homeostat.feed f SET run_id = CASE WHEN b.served AND b.building THEN f.run_id ELSE nextval('homeostat.run_id') END,
        trusted_since = CASE WHEN b.served AND b.building THEN f.trusted_since END,
        served_gap_since = CASE WHEN b.served THEN coalesce(f.served_gap_since, clock_timestamp()) ELSE f.served_gap_since END
    FROM (SELECT coalesce(bool_or(r.state = 'served' AND r.revision = $3::int), false),
                 coalesce(bool_or(r.state = 'building'), false)
          FROM homeostat.revision r WHERE r.uid = $1::bigint) b(served, building)
    WHERE f.uid = $1::bigint AND f.run_id = $2::bigint)sql"};

// Where a run over the served revision is given up, it lacks what that run was to heal for as long as homeostat.waiting said so.
const Statement kServedGap{"feed_served_gap", R"sql(
    UPDATE homeostat.feed f SET served_gap_since = least(f.served_gap_since, clock_timestamp() - $2::bigint * interval '1 ms',
        (SELECT least(u.started_at, CASE WHEN NOT u.feed_trusted THEN f.last_gap_since END) FROM homeostat.run u
         JOIN homeostat.revision r ON r.uid = u.uid AND r.revision = u.revision AND r.state = 'served' WHERE u.uid = f.uid))
    WHERE f.uid = $1::bigint)sql"};
const Statement kServedUnproven{"feed_served_unproven", R"sql(
    UPDATE homeostat.feed f SET served_gap_since = coalesce(f.served_gap_since, clock_timestamp())
    FROM (SELECT h.revision, h.result FROM homeostat.run_history h WHERE h.uid = $1::bigint ORDER BY h.ended_at DESC LIMIT 1) h
    JOIN homeostat.revision r ON r.uid = $1::bigint AND r.revision = h.revision AND r.state = 'served'
    WHERE f.uid = $1::bigint AND h.result = 'Failed')sql"};
const Statement kServedWhole{
    "feed_served_whole",
    "UPDATE homeostat.feed SET served_gap_since = NULL WHERE uid = $1::bigint AND trusted_since IS NOT NULL"};
const Statement kIsWhole{"feed_served_is_whole", "SELECT served_gap_since IS NULL FROM homeostat.feed WHERE uid = $1::bigint"};
const Statement kKeepWhole{"feed_keep_served_whole", "UPDATE homeostat.feed SET served_gap_since = NULL WHERE uid = $1::bigint"};
const Statement kRetiredGap{"feed_retired_gap", R"sql(
    UPDATE homeostat.feed f SET trusted_since = NULL,
        incomplete_since = least(f.incomplete_since, coalesce(r.retired_at, clock_timestamp())),
        served_gap_since = least(f.served_gap_since, coalesce(r.retired_at, clock_timestamp()))
    FROM homeostat.revision r WHERE f.uid = $1::bigint AND r.uid = f.uid AND r.revision = $2::int)sql"};
const Statement kServedNext{"feed_served_next",
                            "UPDATE homeostat.feed SET served_gap_since = incomplete_since WHERE uid = $1::bigint"};

const Statement kBell{"feed_bell", "INSERT INTO homeostat.feed_bell (uid) VALUES ($1::bigint) ON CONFLICT DO NOTHING"};

// A transaction that has sent a notification cannot be prepared: where that is done at all, nobody is asked to call.
const Statement kMaySleep{"feed_may_sleep", "SELECT current_setting('max_prepared_transactions') = '0'"};

// A writer holds the row from when it calls until it commits. Neither of these waits for one: to a writer that has not committed
// the feed is asleep, and a feed that is awake already has nothing to hear.
const Statement kSleep{"feed_sleep", "UPDATE homeostat.feed_bell SET asleep = true WHERE uid = $1::bigint AND NOT asleep"};
const Statement kWake{"feed_wake",
                      "UPDATE homeostat.feed_bell SET asleep = false WHERE uid = (SELECT b.uid FROM homeostat.feed_bell b"
                      " WHERE b.uid = $1::bigint AND b.asleep FOR UPDATE SKIP LOCKED)"};

// A number of its own, given after the change of `asleep` is committed: whoever did not see that has written rows already, so its
// number is smaller. The end of a snapshot would not do: transactions under way may have larger numbers than that.
const Statement kPoint{"feed_point", "SELECT pg_current_xact_id()::text::bigint"};
const Statement kSettled{"feed_settled", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1::bigint"};

// Below zero only while the first run, which counts at its end, goes on. What is not known of the source stays unknown.
const Statement kStored{"feed_stored", R"sql(
    UPDATE homeostat.pipeline_status SET documents = documents + $2::bigint, chunks = chunks + $3::bigint,
        source_documents = greatest(source_documents + $2::bigint, 0), updated_at = clock_timestamp()
    WHERE uid = $1::bigint AND EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = $1::bigint AND r.revision = $4::int
        AND r.state = 'served'))sql"};

// Of a partitioned table it is the partitions that count.
const Statement kRowsChanged{
    "feed_rows_changed",
    "SELECT coalesce(sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid)),"
    " 0)::bigint FROM (SELECT tgrelid AS oid FROM pg_trigger WHERE tgname LIKE $1"
    "  UNION SELECT p.relid FROM pg_trigger t, pg_partition_tree(t.tgrelid) p WHERE t.tgname LIKE $1) r"};

// What was taken up and waits to be healed takes room too, in whichever revision more of it waits.
Statement room(std::int64_t uid) {
    return {fmt::format("p{}_room", uid),
            fmt::format(
                "SELECT setval('{0}'::regclass, pg_sequence_last_value('{1}'::regclass) + greatest(n.room - n.waiting, 0)),"
                " n.room, n.waiting FROM (SELECT greatest({2}, coalesce((SELECT source_documents FROM homeostat.pipeline_status"
                "  WHERE uid = {3}), 0) / {4}), (SELECT coalesce(max(o.documents), 0) FROM (SELECT sum(b.documents)"
                "  AS documents FROM homeostat.batch b JOIN homeostat.feed f ON f.uid = b.uid AND f.run_id = b.run_id"
                "  WHERE b.uid = {3} AND b.kind <> 'stray' GROUP BY b.revision) o))"
                " n(room, waiting)",
                room_sequence(uid), named_sequence(uid), kRoomAtLeast, uid, kRowsForRoom)};
}

FeedGate gate_at(const Rows& rows, const std::string& lease, std::int64_t epoch) {
    FeedGate g;
    if (rows.empty()) return g;
    g.kept = true;
    RowReader c(rows, 0);
    g.generation = c.integer();
    const bool closed = c.boolean();
    const auto revision = c.maybe_integer<std::int32_t>();
    g.closed = closed || !revision;
    g.revision = revision.value_or(0);
    g.served = c.maybe_integer<std::int32_t>().value_or(0);
    g.run_id = c.integer();
    g.sweeping = c.boolean();
    g.documents = c.integer();
    g.source_documents = c.integer();
    g.pruned_in_window = c.integer();
    check_epoch(lease, c.integer(), epoch);
    g.provider = c.text();
    g.provider_uid = c.maybe_integer<std::int64_t>().value_or(0);
    g.provider_generation = c.maybe_integer<std::int64_t>().value_or(0);
    return g;
}

}  // namespace

Result<FeedRow> read_feed(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kRead, Params::of(uid, kNotOpened, kFull));
        if (rows.empty()) return FeedRow{};
        RowReader c(rows, 0);
        FeedRow row{true, c.integer(), c.text(), c.boolean(), c.integer()};
        row.full = c.boolean();
        row.unsettled = c.boolean() && !row.full;
        return row;
    });
}

void feed_gate(Transaction& tx, std::int64_t uid, std::int64_t epoch, FeedGate& gate) {
    const std::string lease = pipeline_lease(uid);
    tx.later(kHold, Params::of(uid));
    tx.later(kGate, Params::of(uid, lease), [&gate, lease, epoch](const Rows& rows) { gate = gate_at(rows, lease, epoch); });
}

FeedGate feed_gate(Transaction& tx, std::int64_t uid, std::int64_t epoch) {
    const std::string lease = pipeline_lease(uid);
    tx.later(kHold, Params::of(uid));
    return gate_at(tx.exec(kGate, Params::of(uid, lease)), lease, epoch);
}

void note_feed_prunes(Transaction& tx, std::int64_t uid, std::int64_t documents) {
    tx.later(kPruned, Params::of(uid, documents));
}

bool keep_feed(Transaction& tx, std::int64_t uid, const std::string& fingerprint, bool trust) {
    const bool trusted = tx.exec(kKeep, Params::of(uid, fingerprint, trust)).boolean(0, 0);
    tx.exec(kBell, Params::of(uid));
    return trusted;
}

void close_gap(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    static const Statement kClose{
        "feed_close_gap",
        "UPDATE homeostat.feed f SET incomplete_since = NULL FROM homeostat.run u WHERE f.uid = $1::bigint"
        " AND u.id = $2::bigint AND f.incomplete_since <= u.started_at"};
    tx.exec(kClose, Params::of(uid, run_id));
}

void forget_closed_gap(Transaction& tx, std::int64_t uid) {
    static const Statement kForget{
        "feed_forget_gap",
        "UPDATE homeostat.feed SET last_gap_since = NULL WHERE uid = $1::bigint AND last_gap_since IS NOT NULL"};
    tx.later(kForget, Params::of(uid));
}

void distrust_feed(Transaction& tx, std::int64_t uid, std::chrono::milliseconds age) {
    tx.later(kDistrust, Params::of(uid, age.count()));
}
void feed_batch_failed(Transaction& tx, std::int64_t uid, std::int64_t run_id, std::int32_t revision) {
    tx.later(kFailed, Params::of(uid, run_id, revision));
}
void note_served_gap(Transaction& tx, std::int64_t uid, std::chrono::milliseconds age) {
    tx.later(kServedGap, Params::of(uid, age.count()));
}
void note_served_unproven(Transaction& tx, std::int64_t uid) { tx.later(kServedUnproven, Params::of(uid)); }
bool served_is_whole(Transaction& tx, std::int64_t uid) {
    const Rows rows = tx.exec(kIsWhole, Params::of(uid));
    return !rows.empty() && rows.boolean(0, 0);
}
void keep_served_whole(Transaction& tx, std::int64_t uid) { tx.later(kKeepWhole, Params::of(uid)); }
void close_served_gap(Transaction& tx, std::int64_t uid) { tx.later(kServedWhole, Params::of(uid)); }
void note_retired_gap(Transaction& tx, std::int64_t uid, std::int32_t revision) {
    tx.exec(kRetiredGap, Params::of(uid, revision));
}
void pass_served_gap_on(Transaction& tx, std::int64_t uid) { tx.later(kServedNext, Params::of(uid)); }

Result<std::optional<std::int64_t>> let_feed_sleep(Session& session, std::int64_t uid) {
    return guarded([&]() -> std::optional<std::int64_t> {
        if (!session.exec(kMaySleep).boolean(0, 0)) return std::nullopt;
        session.exec(kSleep, Params::of(uid));
        return session.exec(kPoint).i64(0, 0);
    });
}

void wake_feed(Transaction& tx, std::int64_t uid) { tx.later(kWake, Params::of(uid)); }

Result<ChangesSeen> look_at_changes(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(
            {fmt::format("p{}_any", uid),
             fmt::format("SELECT EXISTS (SELECT FROM {0}), s.\"full\", s.named, s.room - s.named, s.\"full\" >= {4} AND EXISTS"
                         " (SELECT FROM homeostat.feed f WHERE f.uid = {5} AND f.settles = {6}), coalesce((SELECT b.asleep FROM"
                         " homeostat.feed_bell b WHERE b.uid = {5}), false) FROM (SELECT pg_sequence_last_value('{1}'::regclass),"
                         " pg_sequence_last_value('{2}'::regclass), pg_sequence_last_value('{3}'::regclass)) s(\"full\", room,"
                         " named)",
                         change_table(uid), full_sequence(uid), room_sequence(uid), named_sequence(uid), kFull, uid,
                         kNotOpened)});
        RowReader c(rows, 0);
        ChangesSeen seen;
        seen.any = c.boolean();
        seen.full = c.integer() >= kFull;
        seen.named = c.integer();
        seen.room = c.integer();
        seen.shut = c.boolean();
        seen.asleep = c.boolean();
        return seen;
    });
}

Result<std::vector<std::int64_t>> full_feeds(Session& session) {
    static const Statement kFilled{"feeds_full",
                                   "SELECT f.uid FROM homeostat.feed f WHERE f.settles IS DISTINCT FROM $1::bigint AND"
                                   " (SELECT CASE WHEN has_sequence_privilege(q, 'SELECT') THEN pg_sequence_last_value(q) END"
                                   "  FROM to_regclass(format('homeostat_data.p%s_full', f.uid)) q) >= $2::bigint"};
    return guarded([&] {
        const Rows rows = session.exec(kFilled, Params::of(kNotOpened, kFull));
        std::vector<std::int64_t> uids;
        for (int i = 0; i < rows.size(); ++i) uids.push_back(rows.i64(i, 0));
        return uids;
    });
}

Result<std::int64_t> rows_changed(Session& session, std::int64_t uid) {
    return guarded([&] { return session.exec(kRowsChanged, Params::of(fmt::format("homeostat\\_p{}\\_%", uid))).i64(0, 0); });
}

Result<RoomMade> make_room(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(room(uid));
        return RoomMade{rows.i64(0, 1), rows.i64(0, 2) > 0};
    });
}

void shut_feed(Transaction& tx, std::int64_t uid) { tx.later(kShut, Params::of(uid, kNotOpened)); }

Status open_feed(Session& session, std::int64_t uid) {
    return guarded([&] {
        session.exec(room(uid));
        session.exec(
            {fmt::format("p{}_open", uid), fmt::format("SELECT setval('{}'::regclass, {})", full_sequence(uid), kNotFull)});
    });
}

void note_opened(Transaction& tx, std::int64_t uid) { tx.exec(kOpened, Params::of(uid)); }

Status tidy_changes(Session& session, std::int64_t uid) {
    return guarded([&] { session.exec(fmt::format("VACUUM (SKIP_LOCKED) {}", change_table(uid))); });
}

Result<bool> feed_settled(Session& session, std::int64_t point) {
    return guarded([&] { return session.exec(kSettled, Params::of(point)).boolean(0, 0); });
}

void take_over_changes(Transaction& tx, std::int64_t uid, std::int64_t run_id) {
    const std::string age = "coalesce(extract(epoch FROM clock_timestamp() - min(since)) * 1000, 0)::bigint";
    const Rows planned = tx.exec({"feed_take_back", fmt::format(kTakeBack, age)}, Params::of(uid, run_id));
    const Rows named = tx.exec({fmt::format("p{}_forget", uid),
                                fmt::format("WITH gone (since) AS (DELETE FROM {} RETURNING at) SELECT count(*), {} FROM gone",
                                            change_table(uid), age)});
    if (planned.i64(0, 0) + named.i64(0, 0) > 0)
        tx.exec(kDistrust, Params::of(uid, std::max(planned.i64(0, 1), named.i64(0, 1))));
}

void move_stored(Transaction& tx, std::int64_t uid, std::int32_t revision, const StoredChange& change) {
    if (change.any()) tx.later(kStored, Params::of(uid, change.documents, change.chunks, revision));
}

}  // namespace homeostat
