#include "store/control/verifications.hpp"

namespace homeostat {

namespace {

const Statement kWrite{"verification_write", R"sql(
    INSERT INTO homeostat.verification AS v (uid, run_id, sample, worst, failed, failures, message)
    VALUES ($1::bigint, $2::bigint, $3::int, $4::float8, $5::boolean, $5::boolean::int, $6)
    ON CONFLICT (uid) DO UPDATE SET run_id = excluded.run_id, verified_at = clock_timestamp(), sample = excluded.sample,
        worst = excluded.worst, failed = excluded.failed, failures = v.failures + excluded.failures, message = excluded.message)sql"};
const Statement kFailed{"verification_failed",
                        "SELECT message FROM homeostat.own_verification WHERE uid = $1::bigint AND failed"};
const Statement kSuspend{"verification_suspend", R"sql(
    UPDATE homeostat.pipeline SET suspend = true, suspend_reason = left($2, 1024), suspend_until = NULL
    WHERE uid = $1::bigint AND NOT suspend)sql"};

}  // namespace

void write_verification(Transaction& tx, const Verification& v) {
    tx.exec(kWrite, Params::of(v.uid, v.run_id, v.sample, v.worst, v.failed, v.message));
}

Result<std::optional<std::string>> failed_verification(Session& session, std::int64_t uid) {
    return guarded([&]() -> std::optional<std::string> {
        const Rows rows = session.exec(kFailed, Params::of(uid));
        if (rows.empty()) return std::nullopt;
        return rows.text(0, 0);
    });
}

void suspend_unverified(Transaction& tx, std::int64_t uid, std::string_view reason) {
    tx.exec(kSuspend, Params::of(uid, reason));
}

}  // namespace homeostat
