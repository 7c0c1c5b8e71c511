// The process: owns every part and every thread, starts them in one written order and stops them in another.
//
// Start: health and metrics, executors, factory, leases, then the loop (workers, dispatcher, watch, listener).
// Stop: watch and listener, loop workers, then the factory drains within its budget, then the leases are let go, HTTP last.
//
// Two controllers may live in one process: nothing here is global. start() and stop() from one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "controller/config/config.hpp"
#include "controller/config/run_mode.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/gateway/gateway.hpp"

namespace homeostat {

class Health;
class HttpServer;

struct RunSummaryCounts {
    int converged = 0;
    int drift_left = 0;
    int failed = 0;
};

// For the whole process, before it makes threads.
void bound_allocator() noexcept;

class Controller {
public:
    // `clock` and `spans` outlive the controller; `spans` may be null. `make` stands in for the embedders of
    // controller/embedders.hpp (measurements, tests).
    Controller(const Settings& settings, RunMode mode, const Clock& clock, Registry& metrics, SpanSink* spans,
               EmbedderMaker make = {});
    ~Controller();
    Controller(const Controller&) = delete;
    Controller& operator=(const Controller&) = delete;

    // What is served beside health and metrics: called once in start(), where anything is served at all, before the server
    // listens. Handlers run until stop() has returned.
    using RouteMaker = std::function<void(HttpServer&, const Health&)>;
    void serve(RouteMaker routes);

    // Waits for the database, until `stop`; with `once` for a while. Fails with a sentence where it cannot be reached or its
    // schema is not this binary's.
    Status start(const std::stop_token& stop = {});
    // Blocks until `stop` is requested or, in `once` mode, every pipeline has settled.
    Result<RunSummaryCounts> wait(const std::stop_token& stop);
    // Safe twice, and without start(). Returns when every thread has ended.
    void stop();
    std::uint16_t http_port() const noexcept;  // 0 where nothing is served

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace homeostat
