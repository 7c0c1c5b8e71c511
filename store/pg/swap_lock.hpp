// Replacing what others read all the time. One thread a session.
#pragma once

#include <string>

#include "store/pg/session.hpp"

namespace homeostat {

// Runs `ddl`, which replaces `relation`, as the last statements of the transaction: whoever reads it waits for them and for the
// commit, and for nothing else of it. Its lock is waited for a fortieth of a second, and asked for again some times with a pause
// for those who queued behind us. Where somebody holds on to it, StoreFailure of code kLockHeld (lock_holders.hpp) says who, and
// nothing of `ddl` is done.
void swap_with_brief_locks(Transaction& tx, const std::string& relation, const std::string& ddl);

}  // namespace homeostat
