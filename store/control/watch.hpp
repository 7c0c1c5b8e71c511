// What wakes the loop: the declared state at a glance, and notifications that only make it faster.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// Enough of a pipeline to see that a person changed something, or refreshed its source.
struct Declared {
    std::int64_t uid = 0;
    std::int64_t generation = 0;
    std::string requested;
    std::string approval;  // with what is asked of its revisions
    std::int64_t provider_generation = 0;
    bool suspended = false;
    bool deleting = false;
    std::string source_mark;  // of a materialised view; another one after each refresh
    std::int64_t erasure = 0;  // the newest that is asked for
    bool operator==(const Declared&) const = default;
};
// The one swept longest ago first.
Result<std::vector<Declared>> read_declared(Session& session);

// Until `stop`: waits on a connection of its own and connects again where it breaks. Missed notifications are found by polling.
struct Listener {
    std::function<void(std::int64_t uid)> changed;  // what is declared
    std::function<void(std::int64_t uid)> fed;      // its source: the change feed has something
    std::function<void()> connected;                // from now on nothing is missed
};
void listen_for_changes(const ConnectOptions& options, const std::stop_token& stop, const Listener& listener);

// Partitions of the histories: made ahead, dropped when old.
Status keep_histories(Session& session, int weeks);

}  // namespace homeostat
