// Who holds a lock that was waited for: so that a message can name him.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/session.hpp"

namespace homeostat {

// For how long a statement of ours that locks a table of the user's waits: whoever comes after it waits too.
inline constexpr const char* kShortLock = "SET LOCAL lock_timeout = '100ms'";
// The same for one who has seen that nobody holds it, and only finds out whether that is still so.
inline constexpr const char* kBriefLock = "SET LOCAL lock_timeout = '1ms'";
// The code of the error that ends such a wait.
inline constexpr std::string_view kLockNotAvailable = "55P03";

// Of those who hold a lock on one of these relations (names as SQL reads them), or on what inherits from them, that keeps
// triggers from being made, or with `readers` also one that keeps them from being removed, the one whose transaction is the
// oldest, as "PID 123 (psql, role bob), whose transaction began 60 s ago and holds a lock on public.docs"; none where all have
// let go. Others' names are seen by roles that may (pg_read_all_stats). Blocks for one round trip.
Result<std::optional<std::string>> lock_holder(Session& session, const std::vector<std::string>& relations, bool readers);

}  // namespace homeostat
