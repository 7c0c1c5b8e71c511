#include "store/control/leases.hpp"

#include <fmt/format.h>

#include <charconv>

#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kPipeline = "pipeline/";

// Nobody's yet. A statement of its own, which may meet another's row under any key of the table and leaves it alone then.
const Statement kMake{"lease_make",
                      "INSERT INTO homeostat.lease (resource, holder, epoch, timeline, acquired_at, expires_at)"
                      " SELECT $1, '', 0, 0, '-infinity', '-infinity'"
                      " WHERE NOT EXISTS (SELECT FROM homeostat.lease l WHERE l.resource = $1) ON CONFLICT DO NOTHING"};

// One that another holds is not even waited for. Where the epoch stays, this waits for nobody who writes under the lease (kHold).
// The WAL timeline stands before the epoch: a promotion that lost the last commits may rewind epochs, but never the timeline.
const Statement kTake{
    "lease_take",
    "UPDATE homeostat.lease l SET"
    "  epoch = l.epoch + CASE WHEN l.holder = $2 AND l.expires_at > clock_timestamp() AND l.timeline = c.timeline_id"
    "                         THEN 0 ELSE 1 END,"
    "  acquired_at = CASE WHEN l.holder = $2 THEN l.acquired_at ELSE clock_timestamp() END,"
    "  holder = $2, timeline = c.timeline_id, expires_at = clock_timestamp() + $3::bigint * interval '1 ms'"
    " FROM pg_control_checkpoint() AS c"
    " WHERE l.resource = $1 AND (l.holder = $2 OR l.expires_at <= clock_timestamp()) RETURNING l.epoch, l.timeline"};

// A new owner takes over what its predecessor planned in the same transaction, so that nobody works on it under the old epoch: it
// could not be written. By a statement of its own: the one before has waited for those who planned under the lease, and does not
// see what they planned meanwhile. Batches that are being written now stay out of it; their transaction is over before ours or
// fenced.
const Statement kAdopt{"lease_adopt",
                       "UPDATE homeostat.batch b SET epoch = $2::bigint WHERE b.id IN (SELECT o.id FROM homeostat.batch o"
                       " WHERE o.uid = $1::bigint AND o.epoch <> $2::bigint FOR UPDATE SKIP LOCKED)"};

const Statement kRenew{"lease_renew",
                       "UPDATE homeostat.lease SET expires_at = clock_timestamp() + $2::bigint * interval '1 ms'"
                       " WHERE holder = $1 AND expires_at > clock_timestamp() RETURNING resource, epoch, timeline"};

const Statement kForeign{"lease_foreign",
                         "SELECT resource FROM homeostat.lease WHERE resource = ANY ($2::text[]) AND holder <> $1"
                         " AND expires_at > clock_timestamp()"};

const Statement kRelease{"lease_release", "UPDATE homeostat.lease SET expires_at = clock_timestamp() WHERE holder = $1"};

const Statement kRemove{"lease_remove", "DELETE FROM homeostat.lease WHERE resource = $1 AND holder = $2"};

// The epoch is part of a key of the table (index lease_epoch). So FOR KEY SHARE keeps it as it is until the end of the
// transaction, against replicas of every version, and renewals, which leave it alone, find no moment too short between those who
// write: FOR SHARE made them wait for all.
const Statement kHold{"lease_hold", "SELECT epoch FROM homeostat.lease WHERE resource = $1 FOR KEY SHARE"};

}  // namespace

std::string pipeline_lease(std::int64_t uid) { return fmt::format("{}{}", kPipeline, uid); }

std::optional<std::int64_t> pipeline_of_lease(std::string_view resource) {
    std::int64_t uid = 0;
    if (!resource.starts_with(kPipeline)) return std::nullopt;
    std::from_chars(resource.data() + kPipeline.size(), resource.data() + resource.size(), uid);
    return uid > 0 ? std::optional(uid) : std::nullopt;
}

Result<std::optional<Lease>> acquire_lease(Session& session, std::string_view resource, std::string_view holder,
                                           std::chrono::milliseconds ttl) {
    return guarded([&]() -> std::optional<Lease> {
        Transaction tx = session.begin();
        tx.later(kMake, Params::of(resource));
        const Rows rows = tx.exec(kTake, Params::of(resource, holder, ttl.count()));
        if (rows.empty()) return std::nullopt;
        const Lease lease{std::string(resource), std::string(holder), rows.i64(0, 0), static_cast<std::int32_t>(rows.i64(0, 1))};
        if (const auto uid = pipeline_of_lease(resource)) tx.exec(kAdopt, Params::of(*uid, lease.epoch));
        tx.commit();
        return lease;
    });
}

Result<std::vector<Lease>> renew_leases(Session& session, std::string_view holder, std::chrono::milliseconds ttl) {
    return guarded([&] {
        const Rows rows = session.exec(kRenew, Params::of(holder, ttl.count()));
        std::vector<Lease> held;
        for (int i = 0; i < rows.size(); ++i) {
            held.push_back({rows.text(i, 0), std::string(holder), rows.i64(i, 1), static_cast<std::int32_t>(rows.i64(i, 2))});
        }
        return held;
    });
}

Result<std::vector<std::string>> foreign_leases(Session& session, std::string_view holder,
                                                const std::vector<std::string>& resources) {
    return guarded([&] {
        const std::vector<std::string_view> names(resources.begin(), resources.end());
        Params params = Params::of(holder);
        params.bytes(binary_array(names));
        const Rows rows = session.exec(kForeign, params);
        std::vector<std::string> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.text(i, 0));
        return out;
    });
}

Status release_leases(Session& session, std::string_view holder) {
    return guarded([&] { session.exec(kRelease, Params::of(holder)); });
}

Status remove_lease(Session& session, std::string_view resource, std::string_view holder) {
    return guarded([&] { session.exec(kRemove, Params::of(resource, holder)); });
}

void hold_lease(Transaction& tx, std::string_view resource, std::int64_t epoch) {
    tx.later(kHold, Params::of(resource), [resource = std::string(resource), epoch](const Rows& rows) {
        check_epoch(resource, rows.empty() ? 0 : rows.i64(0, 0), epoch);
    });
}

void check_epoch(std::string_view resource, std::int64_t found, std::int64_t epoch) {
    if (found == epoch) return;
    throw StoreFailure(
        fenced(fmt::format("lease {} is at epoch {} now, not {}: another replica took over", resource, found, epoch)));
}

}  // namespace homeostat
