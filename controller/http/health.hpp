// Whether this process is alive and whether it can do its work, as /livez and /readyz tell it.
//
// Live fails only when the main loop has not ticked for a minute: a restart mends that and nothing else. A database that is away
// makes the process not ready, never dead. Written by the controller, read by the HTTP server; safe from any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "controller/http/server.hpp"
#include "core/clock.hpp"
#include "core/sync.hpp"

namespace homeostat {

class Health {
public:
    static constexpr std::chrono::seconds kLongestSilence{60};
    static constexpr std::chrono::seconds kLongestLook{5};  // at the database, for as long as the answer before counts

    // `clock` outlives this. Counts as ticked now; not ready until said so.
    explicit Health(const Clock& clock) : clock_(clock), last_tick_(clock.steady_now()) {}

    // The main loop, each time round.
    void tick() EXCLUDES(mutex_);
    // A look at the database begins; until it is answered, what the last one said counts for some seconds.
    void looks() EXCLUDES(mutex_);
    // What the last look at the database said: fine, or why not (unreachable, schema too old or too new).
    void set_ready(const Status& ready) EXCLUDES(mutex_);

    Status live() const EXCLUDES(mutex_);
    Status ready() const EXCLUDES(mutex_);

    // GET /livez and /readyz: 200 "ok", or 503 and the reason. This outlives the server.
    void add_routes(HttpServer& server) const;

private:
    const Clock& clock_;
    mutable Mutex mutex_;
    SteadyTime last_tick_ GUARDED_BY(mutex_);
    std::optional<SteadyTime> looks_since_ GUARDED_BY(mutex_);
    std::string not_ready_ GUARDED_BY(mutex_) = "starting: the database has not been looked at yet";
};

}  // namespace homeostat
