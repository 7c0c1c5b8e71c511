// Which revision is served: the row that says so, and the view that shows it.
//
// From the moment in which the view is replaced, everybody who searches waits for the end of the transaction. So serve_revision()
// (revisions.hpp) is its last statement, and whatever else it writes, this too, comes before. It waits for those who search now
// no longer than a fortieth of a second at a time, for they have others behind them then.
#pragma once

#include <cstdint>

#include "store/pg/session.hpp"

namespace homeostat {

// Marks it served, and the one before retired; the same transaction shows it, at its end. Throws StoreFailure.
void mark_served(Transaction& tx, std::int64_t uid, std::int32_t number);

}  // namespace homeostat
