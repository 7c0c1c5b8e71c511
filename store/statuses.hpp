// The observed half that people read: status, conditions, events. Conditions are written only where they changed, in the
// transaction that writes the observed generation they describe.
#pragma once

#include <vector>

#include "core/resource.hpp"
#include "store/session.hpp"

namespace homeostat {

Result<PipelineStatus> read_status(Session& session, std::int64_t uid);

struct Event {
    WallTime at{};
    std::int64_t uid = 0;
    std::string type = "Normal";  // Normal, Warning
    std::string reason;
    std::string message;
    std::string reconcile_id;
};
Result<std::vector<Event>> read_events(Session& session, std::int64_t uid, int limit);  // newest first
void add_event(Transaction& tx, const Event& event);

struct RunSummary {
    std::int64_t id = 0;
    std::string trigger;
    std::string result;
    std::string message;
    std::int64_t planned = 0;
    WallTime started{};
    WallTime ended{};
};
Result<std::vector<RunSummary>> read_runs(Session& session, std::int64_t uid, int limit);  // newest first

}  // namespace homeostat
