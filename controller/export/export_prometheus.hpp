// The Registry as Prometheus reads it: text format 0.0.4, written by prometheus-cpp, served by our own HTTP server.
#pragma once

#include <string>

#include "controller/http/server.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

// A moment's values of all families, each with HELP and TYPE. Safe from any thread.
std::string prometheus_text(const Registry& registry);

// GET /metrics. The registry outlives the server.
void add_metrics_route(HttpServer& server, const Registry& registry);

}  // namespace homeostat
