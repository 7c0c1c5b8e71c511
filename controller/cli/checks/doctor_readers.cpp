// Of `doctor`: the logins that read sources and may do nothing else.
#include <fmt/core.h>

#include "controller/cli/checks/doctor_checks.hpp"
#include "store/data/source_reader.hpp"

namespace homeostat {

Checks check_reader_logins(Session& session) {
    const Result<std::vector<ReaderReport>> readers = try_readers(session);
    if (!readers) return {{CheckHealth::fail, "readers", readers.error().message}};
    Checks out;
    for (const ReaderReport& r : *readers) {
        const std::string whose = r.login.role.empty() ? "all" : fmt::format("what role \"{}\" has declared", r.login.role);
        if (!r.problem.empty()) {
            out.push_back({CheckHealth::fail, "readers", r.problem,
                           "give a login of this database that has SELECT on those sources and nothing else (docs/security.md)"});
        } else if (r.unknown_role) {
            out.push_back({CheckHealth::fail, "readers",
                           fmt::format("{}: there is no such role, so role {} reads nothing", r.login.setting, r.role),
                           "correct the name, or CREATE ROLE"});
        } else {
            out.push_back({CheckHealth::ok, "readers", fmt::format("{}: role {} reads {}", r.login.setting, r.role, whose)});
        }
    }
    return out;
}

}  // namespace homeostat
