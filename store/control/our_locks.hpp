// Who holds a lock on a table of ours, for the log line of a statement that waited for one in vain and does not know which. Any
// thread; blocks for a round trip.
#pragma once

#include <string>

#include "core/error.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// "; it waited for PID 7 (psql, role bob), whose transaction began 60 s ago and holds a lock on homeostat.pipeline", for an error
// that says that a lock was waited for; "" for every other, and where nobody holds one any more.
std::string who_locks_ours(Pool& reads, const Error& error);

}  // namespace homeostat
