#include "controller/login.hpp"

#include <fmt/core.h>

#include "store/inspect/diagnosis.hpp"

namespace homeostat {

Status check_login(Session& session, const Settings& settings) {
    // Where another login reads, nothing of that runs as this one.
    if (settings.database_allow_superuser || !settings.database_reader_url.empty()) return {};
    const Result<std::string> unbounded = unbounded_login(session);
    if (!unbounded) return unbounded.error();
    if (unbounded->empty()) return {};
    return invalid(fmt::format(
        "{}: what whoever declares writes into a view or function would run with all rights, so no source is read; connect "
        "as a role that is a member of homeostat_controller and no more (docs/operating.md, Roles), have sources read by "
        "another login (database.reader_url), or set database.allow_superuser=true for a database that is thrown away",
        *unbounded));
}

}  // namespace homeostat
