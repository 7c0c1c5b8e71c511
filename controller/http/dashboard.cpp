#include "controller/http/dashboard.hpp"

#include <string_view>

#include "controller/http/dashboard_embedded.hpp"

namespace homeostat {

namespace {

std::string_view type_of(std::string_view name) {
    if (name.ends_with(".html")) return "text/html; charset=utf-8";
    if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
    if (name.ends_with(".css")) return "text/css; charset=utf-8";
    if (name.ends_with(".svg")) return "image/svg+xml";
    return "text/plain; charset=utf-8";
}

HttpResponse file_response(const EmbeddedFile& file) {
    return {.content_type = std::string(type_of(file.name)),
            .body = std::string(file.text),
            .headers = {{"Content-Security-Policy",
                         "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                        {"X-Frame-Options", "DENY"},
                        {"Referrer-Policy", "no-referrer"},
                        {"Cross-Origin-Resource-Policy", "same-origin"},
                        {"Cross-Origin-Opener-Policy", "same-origin"}}};
}

}  // namespace

void add_dashboard_routes(HttpServer& server) {
    for (const EmbeddedFile& file : embedded_dashboard()) {
        const auto answer = [&file](const HttpRequest&) { return file_response(file); };
        if (file.name == "index.html") server.route_open("GET", "/", answer);
        server.route_open("GET", "/dashboard/" + std::string(file.name), answer);
    }
}

}  // namespace homeostat
