// Who locks what is declared, as `doctor` tells it.
#include <fmt/core.h>

#include "controller/cli/checks/doctor_checks.hpp"
#include "store/inspect/declaration_locks.hpp"

namespace homeostat {

Checks check_locks(Session& session, bool& readable) {
    readable = true;
    const Result<std::vector<DeclarationLock>> locks = declaration_locks(session);
    if (!locks) return {{CheckHealth::warn, "locks", locks.error().message, ""}};
    if (locks->empty()) return {{CheckHealth::ok, "locks", "no other session holds up what is declared", ""}};
    Checks out;
    for (const DeclarationLock& l : *locks) {
        readable = readable && !l.readers;
        out.push_back(
            {l.rows ? CheckHealth::warn : CheckHealth::fail, "locks",
             l.holder + (l.rows ? ", so healing of what they declare may wait" : ", so declarations and healing wait"),
             fmt::format("end that transaction, or SELECT pg_terminate_backend({}) as a member of {}; so that none stays "
                         "open: ALTER ROLE {} SET idle_in_transaction_session_timeout = '1min'",
                         l.pid, l.role, l.role)});
    }
    return out;
}

}  // namespace homeostat
