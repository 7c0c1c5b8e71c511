// Who holds a lock that was waited for: so that a message can name him.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// For how long a statement of ours that locks a table of the user's waits: whoever comes after it waits too.
inline constexpr const char* kShortLock = "SET LOCAL lock_timeout = '100ms'";
// The same for one who has seen that nobody holds it, and only finds out whether that is still so.
inline constexpr const char* kBriefLock = "SET LOCAL lock_timeout = '1ms'";
// The code of the error that ends such a wait.
inline constexpr std::string_view kLockNotAvailable = "55P03";
// The same of with_short_locks().
inline constexpr std::string_view kLockHeld = "LockHeld";

// Who is in the way of what we want to do with a relation.
enum class InTheWay : std::uint8_t {
    everybody,  // who reads it, too: it is to be altered or dropped, or its triggers removed
    writers,    // triggers are to be made
    owners      // it is to be read, and somebody alters it
};

// Of those who hold such a lock on one of these relations (names as SQL reads them), or on what inherits from them, the one whose
// transaction is the oldest, as "PID 123 (psql, role bob), whose transaction began 60 s ago and holds a lock on public.docs";
// none where all have let go. Others' names are seen by roles that may (pg_read_all_stats). Blocks for one round trip.
Result<std::optional<std::string>> lock_holder(Session& session, const std::vector<std::string>& relations, InTheWay who);

// The pipelines whose row somebody waits to change, or whose lease to take over, while others hold it. Blocks for one round trip.
Result<std::set<std::int64_t>> pipelines_waited_for(Session& session);

// Calls `ddl`, each of whose locks is waited for a tenth of a second and not for as long as the transaction's other statements
// may wait. So whoever queues behind us does not queue for long; and of a reader who holds one of our relations and wants another
// that we hold already, it is we who give way: the server looks for a deadlock only after a second. Where somebody holds on to
// one of `relations`, what `ddl` did is undone, and StoreFailure of code kLockHeld says who.
void with_short_locks(Transaction& tx, const std::vector<std::string>& relations, const std::function<void()>& ddl);

}  // namespace homeostat
