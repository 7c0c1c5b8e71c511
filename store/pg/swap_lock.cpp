#include "store/pg/swap_lock.hpp"

#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

constexpr int kTries = 8;
constexpr const char* kLock = "SET LOCAL lock_timeout = '25ms'";
constexpr const char* kPause = "SELECT pg_catalog.pg_sleep(0.05)";

}  // namespace

void swap_with_brief_locks(Transaction& tx, const std::string& relation, const std::string& ddl) {
    tx.exec(kLock);
    for (int tries = 1;; ++tries) {
        tx.exec("SAVEPOINT swap");
        try {
            tx.exec(ddl);
            return;
        } catch (const StoreFailure& failure) {
            if (failure.error.code != kLockNotAvailable) throw;
            tx.exec("ROLLBACK TO SAVEPOINT swap");
            // Which says who it is.
            if (tries == kTries) with_short_locks(tx, {relation}, [&] { throw StoreFailure(failure); });
        }
        tx.exec(kPause);
    }
}

}  // namespace homeostat
