// The dashboard's own files, at / and /dashboard/NAME: no secret and no data is in them, so they are served without a token, and
// nothing that they load comes from anywhere else (Content-Security-Policy). What they show they read from the API, as anybody
// does.
#pragma once

#include "controller/http/server.hpp"

namespace homeostat {

void add_dashboard_routes(HttpServer& server);

}  // namespace homeostat
