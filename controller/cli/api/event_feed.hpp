// The stream of events: one thread reads what is new while anybody listens, and sends it to all who do; with none it asks the
// database for nothing.
//
// What comes after listen() has returned is sent. An event is sent at least once to each listener that stays: numbers are given
// before their transactions commit, so each look goes back a little, and what was sent is remembered. A listener that went comes
// again with the number it saw last and is sent what came since; where that is not kept any more, it is told to read everything
// anew ("reset"). Beside events it sends the lines of pipelines that changed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "controller/http/stream.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "store/inspect/activity_tail.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

class EventFeed {
public:
    explicit EventFeed(Pool& reads) : reads_(reads) {}

    // Sends what came after `last` (none: only what comes from now on), and all that comes. Fails where the database does.
    Result<std::shared_ptr<HttpStream>> listen(Session& session, std::optional<std::int64_t> last) EXCLUDES(mutex_);
    // The body of its thread.
    void watch(const std::stop_token& stop) EXCLUDES(mutex_);

private:
    // What was sent so far: what differs from it is news.
    struct Known {
        std::int64_t newest = 0;
        std::set<std::int64_t> sent;               // of the last numbers
        std::map<std::string, std::string> lines;  // pipelines as they were last sent
    };
    static Result<Known> read_known(Session& session);
    Status look(const std::stop_token& stop) EXCLUDES(mutex_);
    Status send_events(Session& session, Known& known);
    Status send_lines(Session& session, Known& known);
    void send(const std::string& text) EXCLUDES(mutex_);

    Pool& reads_;
    Mutex mutex_;
    CondVar changed_;
    std::vector<std::shared_ptr<HttpStream>> listeners_ GUARDED_BY(mutex_);
    std::optional<Known> known_ GUARDED_BY(mutex_);  // none while nobody listens; the thread's while it looks
    bool failing_ = false;                           // of the thread alone
};

// One event as a stream has it.
std::string event_text(const TailEvent& event);

}  // namespace homeostat
