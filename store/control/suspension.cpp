#include "store/control/suspension.hpp"

#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

const Statement kRead{"suspension_read",
                      "SELECT coalesce(suspended_by, ''), coalesce(suspend_reason, ''), suspended_at::text, suspend_until::text,"
                      " coalesce(pinned = 'rollback', false)"
                      " FROM homeostat.pipeline WHERE uid = $1::bigint AND suspend"};

std::optional<WallTime> time_of(const Rows& rows, int column) {
    if (rows.null(0, column)) return std::nullopt;
    return parse_timestamp(rows.view(0, column));
}

}  // namespace

Result<std::optional<Suspension>> read_suspension(Session& session, std::int64_t uid) {
    return guarded([&]() -> std::optional<Suspension> {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return std::nullopt;
        return Suspension{rows.text(0, 0), rows.text(0, 1), time_of(rows, 2), time_of(rows, 3),
                          rows.boolean(0, 4) ? Pin::rollback : Pin::none};
    });
}

}  // namespace homeostat
