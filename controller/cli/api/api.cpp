#include "controller/cli/api/api.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <charconv>
#include <nlohmann/json.hpp>
#include <thread>

#include "controller/cli/api/event_feed.hpp"
#include "controller/cli/api/table.hpp"
#include "controller/http/dashboard.hpp"
#include "controller/part_settings.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kConnections = 2;
constexpr std::uint32_t kLongestStatement = 5'000;  // ms; who asks over HTTP waits no longer

ConnectOptions api_connection(const Settings& s, const char* name, const std::stop_token& abandon) {
    ConnectOptions o = connection(s, name, abandon);
    o.statement_timeout_ms = std::min(o.statement_timeout_ms, kLongestStatement);
    o.lock_timeout_ms = std::min(o.lock_timeout_ms, 2'000U);
    o.connect_timeout_s = std::min(o.connect_timeout_s, 3U);
    return o;
}

ConnectOptions action_connection(const Settings& s, const std::stop_token& abandon) {
    ConnectOptions o = api_connection(s, "homeostat-action", abandon);
    o.url = s.http_action_url;
    o.readers.clear();  // it acts, and reads no source
    return o;
}

int status_of(const Error& e) {
    if (e.code == "42501") return 403;
    if (e.code == "57014") return 504;
    // What triggers of ours refuse, whose sentence is not the server's: it is not there, not now, not so.
    if (e.said.empty() && e.code == "42704") return 404;
    if (e.said.empty() && e.code == "55000") return 409;
    if (e.said.empty() && e.code == "22023") return 400;
    switch (e.cls) {
        case ErrorClass::invalid:
        case ErrorClass::content: return 400;
        case ErrorClass::not_found: return 404;
        case ErrorClass::conflict: return 409;
        case ErrorClass::too_large: return 413;
        case ErrorClass::throttled: return 429;
        case ErrorClass::auth: return 403;
        case ErrorClass::timeout: return 504;
        case ErrorClass::cancelled:
        case ErrorClass::unavailable:
        case ErrorClass::transient:
        case ErrorClass::db_transient:
        case ErrorClass::db_resource: return 503;
        default: return 500;
    }
}

HttpResponse refused(const Error& error) {
    HttpResponse response = problem(status_of(error), error.message);
    if (response.status == 503) response.headers.emplace_back("Retry-After", "5");
    return response;
}

HttpResponse json_response(const ApiJson& json) {
    return {.content_type = "application/json", .body = json.dump(-1, ' ', false, ApiJson::error_handler_t::replace) + "\n"};
}

HttpResponse not_acceptable(const char* type) { return problem(406, fmt::format("this path answers in {} alone", type)); }

}  // namespace

struct Api::Impl {
    Impl(const Config& c, const Registry& m, std::string_view version)
        : world{c, m, std::string(version)},
          reads(api_connection(c.settings, "homeostat-http", abandon.get_token()), kConnections),
          events(api_connection(c.settings, "homeostat-stream", abandon.get_token()), 1),
          actions(action_connection(c.settings, abandon.get_token()), 1),
          feed(events),
          threads(kConnections + 1) {}

    const Settings& settings() const { return world.config.settings; }

    HttpResponse answer(const ApiRoute& route, const HttpRequest& request) {
        if (!accepts(request.header("accept"), "application/json")) return not_acceptable("application/json");
        ApiCall query(request, world, nullptr);
        if (const Status good = query.read_query(route.query); !good) return refused(good.error());
        Result<Pool::Lease> session = reads.acquire(waiting());
        if (!session && route.kind != ApiKind::probe) return refused(session.error());
        ApiCall call(request, world, session ? &**session : nullptr);
        if (!session) call.why_not_connected = session.error().message;
        if (const Status good = call.read_query(route.query); !good) return refused(good.error());
        const Result<ApiJson> json = route.answer(call);
        return json ? json_response(*json) : refused(json.error());
    }

    HttpResponse do_action(ActionKind kind, const HttpRequest& request) {
        if (auto stands = action_refusal(request, settings())) return *std::move(stands);
        if (!accepts(request.header("accept"), "application/json")) return not_acceptable("application/json");
        if (!request.query.empty()) return problem(400, "an action has no query; what it is told stands in the body");
        Result<Pool::Lease> actor = actions.acquire(waiting());
        if (!actor) return refused(actor.error().with_prefix("the login of http.action_url cannot be used"));
        Result<Pool::Lease> log = reads.acquire(waiting());
        if (!log) return refused(log.error());
        const Result<ApiJson> json = act(kind, request, **actor, **log);
        return json ? json_response(*json) : refused(json.error());
    }

    HttpResponse listen(const HttpRequest& request) {
        if (!accepts(request.header("accept"), "text/event-stream")) return not_acceptable("text/event-stream");
        if (!request.query.empty()) return problem(400, "the stream has no query; Last-Event-ID is a header");
        std::optional<std::int64_t> last;
        if (const std::string_view text = request.header("last-event-id"); !text.empty()) {
            std::int64_t number = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            if (error != std::errc() || end != text.data() + text.size() || number < 0)
                return problem(400, "Last-Event-ID is the number of an event; leave it out to begin anew");
            last = number;
        }
        if (request.method == "HEAD") return {.content_type = "text/event-stream"};
        Result<Pool::Lease> session = reads.acquire(waiting());
        if (!session) return refused(session.error());
        auto stream = feed.listen(**session, last);
        if (!stream) return refused(stream.error());
        HttpResponse response{.content_type = "text/event-stream", .headers = {{"X-Accel-Buffering", "no"}}};
        response.stream = *std::move(stream);
        return response;
    }

    Context waiting() const {
        Context context;
        context.stop = abandon.get_token();
        return context;
    }

    HttpHandler handler_of(const ApiRoute& route) {
        if (route.kind == ApiKind::stream) return [this](const HttpRequest& r) { return listen(r); };
        if (route.action) return [this, kind = *route.action](const HttpRequest& r) { return do_action(kind, r); };
        return [this, &route](const HttpRequest& r) { return answer(route, r); };
    }

    std::stop_source abandon;
    ApiWorld world;
    Pool reads;
    Pool events;
    Pool actions;
    EventFeed feed;
    boost::asio::thread_pool threads;
    std::jthread watcher;
    bool stopped = false;
};

Api::Api(const Config& config, const Registry& metrics, std::string_view version)
    : impl_(std::make_unique<Impl>(config, metrics, version)) {}

Api::~Api() { stop(); }

void Api::add_routes(HttpServer& server, const Health& health) {
    impl_->world.health = &health;
    server.block_on(impl_->threads.get_executor());
    for (const ApiRoute& route : api_routes()) {
        server.route(route.kind == ApiKind::action ? "POST" : "GET", std::string(route.path), impl_->handler_of(route),
                     {.blocking = true, .guarded = true});
    }
    server.route("GET", "/openapi.json",
                 [impl = impl_.get()](const HttpRequest& request) {
                     if (!accepts(request.header("accept"), "application/json")) return not_acceptable("application/json");
                     return json_response(openapi_document(impl->world.version));
                 },
                 {.open = true});
    add_dashboard_routes(server);
    impl_->watcher = std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->feed.watch(stop); });
}

void Api::stop() {
    if (std::exchange(impl_->stopped, true)) return;
    impl_->abandon.request_stop();
    impl_->watcher.request_stop();
    if (impl_->watcher.joinable()) impl_->watcher.join();
    impl_->threads.stop();
    impl_->threads.join();
}

}  // namespace homeostat
