// The observed half that people read: status, conditions, events. Conditions are written only where they changed, in the
// transaction that writes the observed generation they describe.
#pragma once

#include <vector>

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

Result<PipelineStatus> read_status(Session& session, std::int64_t uid);

struct Event {
    WallTime at{};
    std::int64_t uid = 0;
    std::string type = "Normal";  // Normal, Warning
    std::string reason;
    std::string message;
    std::string reconcile_id;
    std::string trace_id{};  // as it was read; add_event() takes that of the span that it happens in
};
Result<std::vector<Event>> read_events(Session& session, std::int64_t uid, int limit);  // newest first
void add_event(Transaction& tx, const Event& event);
// That a condition has become what it is; `before`: its status until now, where it had one.
void add_condition_event(Transaction& tx, std::int64_t uid, const Condition& condition, const std::optional<std::string>& before,
                         const std::string& reconcile_id);

struct RunSummary {
    std::int64_t id = 0;
    std::string trigger;
    std::string result;
    std::string message;
    std::int64_t planned = 0;
    WallTime started{};
    WallTime ended{};
    std::int64_t tokens = 0, wasted_tokens = 0, saved_tokens = 0;  // paid; of these to no use; spared by caches
    std::string status;  // completed, no_action_needed, partial, failed, rolled_back, superseded
    std::string healed;  // "12 stale, 3 missing"; "" where nothing was
};
Result<std::vector<RunSummary>> read_runs(Session& session, std::int64_t uid, int limit);  // newest first

}  // namespace homeostat
