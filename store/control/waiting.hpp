// What of a pipeline waits to be healed, now: the view homeostat.waiting, which is the one place that says what counts and from
// when on a pipeline is behind.
#pragma once

#include <cstdint>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

Result<Waiting> read_waiting(Session& session, std::int64_t uid);
// As the transaction itself leaves it. Throws StoreFailure.
Waiting read_waiting(Transaction& tx, std::int64_t uid);

// Pipelines of which something has waited for a second or more, but for what only their change tables know; one cheap statement,
// however many pipelines there are.
Result<std::vector<std::int64_t>> pipelines_that_wait(Session& session);

// Whether anything waits that the feed had named longer than `ago` ago, and none of it for so long that `behind` tells of it.
Result<bool> feed_waits(Session& session, std::int64_t uid, Millis ago);

// How whoever else heals this pipeline stands. `healed`: it is converged as declared now, nothing waits, and what changed before
// `since` is known, because its feed is active or a sweep has ended later. `left`: it is suspended, or gone. `failed`: it is
// stalled, or waits for somebody to approve what it costs. `since` is a time of the server's, as its text; empty: now, and it is
// filled in.
enum class Elsewhere : std::uint8_t { working, healed, left, failed };
Result<Elsewhere> look_elsewhere(Session& session, std::int64_t uid, std::string& since);

// The columns of a row of homeostat.waiting as `w`, in the order that read_waiting() reads them.
inline constexpr std::string_view kWaitingColumns =
    " w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed, w.behind,"
    " CASE WHEN w.oldest IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - w.oldest) * 1000)::bigint END,"
    " w.last_error";
Waiting read_waiting(RowReader& row);

}  // namespace homeostat
