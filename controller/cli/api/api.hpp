// The HTTP API and the dashboard of `homeostat run`: the table of routes over sessions and threads of their own, so that whoever
// asks takes nothing from what heals. It reads as the controller's login; it changes something only as the login of
// http.action_url.
//
// add_routes() before the server starts. This outlives every handler: it is stopped after the server, and before the executor
// that the server ran on ends.
#pragma once

#include <memory>
#include <string_view>

#include "controller/config/config.hpp"
#include "controller/http/health.hpp"
#include "controller/http/server.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

class Api {
public:
    // Both outlive it.
    Api(const Config& config, const Registry& metrics, std::string_view version);
    ~Api();  // stops
    Api(const Api&) = delete;
    Api& operator=(const Api&) = delete;

    void add_routes(HttpServer& server, const Health& health);
    // Cuts short what waits for the database and joins all threads. Safe twice.
    void stop();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace homeostat
