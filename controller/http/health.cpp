#include "controller/http/health.hpp"

#include <fmt/format.h>

namespace homeostat {

namespace {

HttpResponse told(const Status& status) {
    if (status) return {.status = 200, .body = "ok\n"};
    return {.status = 503, .body = status.error().message + "\n"};
}

Error unavailable(std::string message) {
    return {.cls = ErrorClass::unavailable, .message = std::move(message), .origin = Origin::ours};
}

}  // namespace

void Health::tick() {
    const Lock lock(mutex_);
    last_tick_ = clock_.steady_now();
}

void Health::looks() {
    const Lock lock(mutex_);
    looks_since_ = clock_.steady_now();
}

void Health::set_ready(const Status& ready) {
    const Lock lock(mutex_);
    looks_since_.reset();
    not_ready_ = ready ? std::string() : ready.error().message;
}

Status Health::live() const {
    const Lock lock(mutex_);
    const auto silence = clock_.steady_now() - last_tick_;
    if (silence <= kLongestSilence) return {};
    return unavailable(
        fmt::format("the main loop has not ticked for {} s", std::chrono::duration_cast<std::chrono::seconds>(silence).count()));
}

Status Health::ready() const {
    const Lock lock(mutex_);
    if (!not_ready_.empty()) return unavailable(not_ready_);
    if (!looks_since_ || clock_.steady_now() - *looks_since_ < kLongestLook) return {};
    return unavailable("the database does not answer");
}

void Health::add_routes(HttpServer& server) const {
    server.route_open("GET", "/livez", [this](const HttpRequest&) { return told(live()); });
    server.route_open("GET", "/readyz", [this](const HttpRequest&) { return told(ready()); });
}

}  // namespace homeostat
