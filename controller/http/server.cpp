#include "controller/http/server.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <map>
#include <set>

#include "core/sync.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Strand = asio::strand<asio::any_io_executor>;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

HttpResponse plain(int status, std::string_view text) { return {.status = status, .body = std::string(text) + "\n"}; }

// What to say to a request that could not be read; 0 where the client just went away.
int status_of(const error_code& ec) {
    if (ec == http::error::header_limit) return 431;
    if (ec == http::error::body_limit) return 413;
    if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == beast::error::timeout) return 0;
    return ec.category() == make_error_code(http::error::bad_method).category() ? 400 : 0;
}

http::response<http::string_body> message_of(HttpResponse&& from, bool head, bool keep_alive) {
    http::response<http::string_body> to{http::int_to_status(static_cast<unsigned>(from.status)), 11};
    to.set(http::field::content_type, from.content_type);
    to.set(http::field::cache_control, "no-store");
    to.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : from.headers) to.set(name, value);
    to.content_length(from.body.size());
    to.keep_alive(keep_alive);
    if (!head) to.body() = std::move(from.body);
    return to;
}

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
    struct Session {
        explicit Session(tcp::socket socket) : stream(std::move(socket)) {}
        beast::tcp_stream stream;
        bool waiting = true;  // between requests; on the session's strand only
        std::atomic<bool> answering{false};  // its request has come
        std::atomic<std::uint64_t> turn{
            0};  // grows with each session's last answer: the least is who has said nothing for longest
        asio::ip::address peer;
        bool closing = false;  // under the server's lock: it counts no more
    };
    using SessionPtr = std::shared_ptr<Session>;

    Impl(asio::any_io_executor e, HttpServerOptions o)
        : executor(std::move(e)), options(std::move(o)), strand(asio::make_strand(executor)), acceptor(strand), room(strand) {}

    Status listen() {
        error_code ec;
        const auto address = asio::ip::make_address(options.address, ec);
        if (ec) return invalid(fmt::format("\"{}\" is not an IP address to listen on", options.address));
        const tcp::endpoint endpoint(address, options.port);
        acceptor.open(endpoint.protocol(), ec);
        if (!ec) acceptor.set_option(asio::socket_base::reuse_address(true), ec);
        if (!ec) acceptor.bind(endpoint, ec);
        if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
        if (ec) {
            return Error{
                .cls = ErrorClass::local,
                .message = fmt::format("cannot listen on {}:{} ({}); choose another address or port, or 0 for any free port",
                                       options.address, options.port, ec.message()),
                .origin = Origin::user};
        }
        port = acceptor.local_endpoint(ec).port();
        return {};
    }

    asio::awaitable<void> accept() {
        while (!stopping) {
            tcp::socket socket(asio::make_strand(executor));
            const auto [ec] = co_await acceptor.async_accept(socket, kTuple);
            if (stopping) break;
            if (ec) {
                // Out of descriptors, say: try again rather than spin or give up.
                if (ec == asio::error::no_descriptors) close_oldest(nullptr);
                room.expires_after(std::chrono::milliseconds(100));
                co_await room.async_wait(kTuple);
                continue;
            }
            error_code gone;
            const auto peer = socket.remote_endpoint(gone).address();
            const auto session = std::make_shared<Session>(std::move(socket));
            session->peer = peer;
            session->turn = ++turns;
            if (count(nullptr) >= options.max_connections) close_oldest(nullptr);
            if (count(&peer) >= options.max_of_peer) close_oldest(&peer);
            add(session);
            asio::co_spawn(session->stream.get_executor(), serve(shared_from_this(), session), asio::detached);
        }
    }

    static asio::awaitable<void> serve(std::shared_ptr<Impl> self, SessionPtr session) {
        try {
            beast::flat_buffer buffer;
            while (co_await self->one(*session, buffer)) {
            }
        } catch (const std::exception& e) {
            spdlog::warn("an HTTP connection was dropped: {}", e.what());
        }
        session->stream.close();
        self->remove(session);
    }

    // One request and its response; false where the connection is done.
    asio::awaitable<bool> one(Session& session, beast::flat_buffer& buffer) {
        http::request_parser<http::string_body> parser;
        parser.header_limit(options.max_header_bytes);
        parser.body_limit(options.max_body_bytes);
        session.waiting = buffer.size() == 0;
        if (stopping && session.waiting) co_return false;
        session.stream.expires_after(options.idle_timeout);
        if (session.waiting) {
            const auto [wait_error, n] = co_await session.stream.async_read_some(buffer.prepare(4096), kTuple);
            buffer.commit(n);
            if (wait_error) co_return false;
        }
        session.waiting = false;
        session.stream.expires_after(options.request_timeout);
        const auto [ec, bytes] = co_await http::async_read(session.stream, buffer, parser, kTuple);
        const int refusal = ec ? status_of(ec) : 0;
        if (ec && refusal == 0) co_return false;
        session.answering = true;
        const bool head = !ec && parser.get().method() == http::verb::head;
        const bool keep = !ec && !stopping && parser.get().keep_alive();
        HttpResponse response =
            refusal != 0 ? plain(refusal, "the request was not understood or is too large") : dispatch(parser.get());
        auto message = message_of(std::move(response), head, keep);
        http::response_serializer<http::string_body> serializer{message};
        serializer.split(head);
        session.stream.expires_after(options.request_timeout);
        if (head) {
            const auto [write_error, written] = co_await http::async_write_header(session.stream, serializer, kTuple);
            session.answering = false;
            session.turn = ++turns;
            co_return keep && !write_error;
        }
        const auto [write_error, written] = co_await http::async_write(session.stream, serializer, kTuple);
        session.answering = false;
        session.turn = ++turns;
        co_return keep && !write_error;
    }

    HttpResponse dispatch(http::request<http::string_body>& message) const {
        HttpRequest request;
        request.method = std::string(message.method_string());
        const std::string_view target(message.target().data(), message.target().size());
        const auto question = std::min(target.find('?'), target.size());
        request.path = std::string(target.substr(0, question));
        request.query = std::string(target.substr(std::min(question + 1, target.size())));
        request.body = std::move(message.body());
        const auto at = routes.find(request.path);
        if (at == routes.end()) return plain(404, "not found");
        auto handler = at->second.find(request.method);
        if (handler == at->second.end() && request.method == "HEAD") handler = at->second.find("GET");
        if (handler == at->second.end()) return not_allowed(at->second);
        if (!options.token.empty() && !open.contains(request.path) && !knows_token(message)) {
            HttpResponse response = plain(401, "send the token of the setting http.token as Authorization: Bearer");
            response.headers.emplace_back("WWW-Authenticate", "Bearer");
            return response;
        }
        try {
            return handler->second(request);
        } catch (const std::exception& e) {
            spdlog::error("the handler of {} {} failed: {}", request.method, request.path, e.what());
            return plain(500, "internal error; the log says more");
        }
    }

    // In the same time whatever was sent.
    bool knows_token(const http::request<http::string_body>& message) const {
        const std::string wanted = "Bearer " + options.token;
        const auto field = message[http::field::authorization];
        unsigned differs = field.size() == wanted.size() ? 0 : 1;
        for (std::size_t i = 0; i < std::min<std::size_t>(field.size(), wanted.size()); ++i) {
            differs |= static_cast<unsigned char>(field[i]) ^ static_cast<unsigned char>(wanted[i]);
        }
        return differs == 0;
    }

    static HttpResponse not_allowed(const std::map<std::string, Handler>& methods) {
        std::string allow;
        for (const auto& [method, handler] : methods) {
            allow += (allow.empty() ? "" : ", ") + method;
            if (method == "GET") allow += ", HEAD";
        }
        HttpResponse response = plain(405, "method not allowed");
        response.headers.emplace_back("Allow", allow);
        return response;
    }

    void begin_stop() {
        stopping = true;
        asio::post(strand, [self = shared_from_this()] {
            error_code ignored;
            self->acceptor.close(ignored);
            self->room.cancel();
        });
        for_each_session([](const SessionPtr& s) {
            if (s->waiting) s->stream.close();
        });
    }

    void cut() {
        for_each_session([](const SessionPtr& s) { s->stream.close(); });
    }

    void for_each_session(void (*act)(const SessionPtr&)) EXCLUDES(mutex) {
        const Lock lock(mutex);
        for (const auto& s : sessions) asio::post(s->stream.get_executor(), [s, act] { act(s); });
    }

    std::size_t count(const asio::ip::address* peer) EXCLUDES(mutex) {
        const Lock lock(mutex);
        return static_cast<std::size_t>(std::count_if(sessions.begin(), sessions.end(), [&](const SessionPtr& s) {
            return !s->closing && (peer == nullptr || s->peer == *peer);
        }));
    }
    // Of those whose request has not come, the one that has said nothing for longest; of all where each is being answered.
    void close_oldest(const asio::ip::address* peer) EXCLUDES(mutex) {
        const Lock lock(mutex);
        SessionPtr oldest;
        for (const SessionPtr& s : sessions) {
            if (s->closing || (peer != nullptr && s->peer != *peer)) continue;
            if (!oldest ||
                std::pair(s->answering.load(), s->turn.load()) < std::pair(oldest->answering.load(), oldest->turn.load()))
                oldest = s;
        }
        if (!oldest) return;
        oldest->closing = true;
        asio::post(oldest->stream.get_executor(), [oldest] { oldest->stream.close(); });
    }
    void add(const SessionPtr& s) EXCLUDES(mutex) {
        const Lock lock(mutex);
        sessions.insert(s);
    }
    void remove(const SessionPtr& s) EXCLUDES(mutex) {
        const Lock lock(mutex);
        sessions.erase(s);
        changed.notify_all();
    }
    void accept_ended() EXCLUDES(mutex) {
        const Lock lock(mutex);
        accepting = false;
        changed.notify_all();
    }
    // True once nothing is left, false after `grace`.
    bool wait_until_empty(std::chrono::milliseconds grace) EXCLUDES(mutex) {
        const auto deadline = std::chrono::steady_clock::now() + grace;
        const Lock lock(mutex);
        while (accepting || !sessions.empty()) {
            if (std::chrono::steady_clock::now() >= deadline) return false;
            changed.wait_until(mutex, std::stop_token(), deadline);
        }
        return true;
    }

    asio::any_io_executor executor;
    HttpServerOptions options;
    Strand strand;  // of accepting
    tcp::acceptor acceptor;
    asio::steady_timer room;
    std::map<std::string, std::map<std::string, Handler>> routes;  // constant after start
    std::set<std::string> open;                                    // of them, what needs no token
    std::atomic<std::uint64_t> turns{0};
    std::atomic<std::uint16_t> port{0};
    std::atomic<bool> stopping{false};
    Mutex mutex;
    CondVar changed;
    bool accepting GUARDED_BY(mutex) = false;
    std::set<SessionPtr> sessions GUARDED_BY(mutex);
};

HttpServer::HttpServer(asio::any_io_executor executor, HttpServerOptions options)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(options))) {}

HttpServer::~HttpServer() { stop(std::chrono::milliseconds(0)); }

void HttpServer::route(std::string method, std::string path, Handler handler) {
    impl_->routes[std::move(path)][std::move(method)] = std::move(handler);
}

void HttpServer::route_open(std::string method, std::string path, Handler handler) {
    impl_->open.insert(path);
    route(std::move(method), std::move(path), std::move(handler));
}

Status HttpServer::start() {
    if (auto listening = impl_->listen(); !listening) return listening;
    {
        const Lock lock(impl_->mutex);
        impl_->accepting = true;
    }
    asio::co_spawn(impl_->strand, impl_->accept(), [impl = impl_](const std::exception_ptr&) { impl->accept_ended(); });
    return {};
}

std::uint16_t HttpServer::port() const noexcept { return impl_->port; }

void HttpServer::stop(std::chrono::milliseconds grace) {
    impl_->begin_stop();
    if (impl_->wait_until_empty(grace)) return;
    impl_->cut();
    // Bounded, so that an executor nobody runs any more cannot hold the process.
    if (!impl_->wait_until_empty(std::chrono::seconds(2)))
        spdlog::warn("HTTP connections were left behind: their executor has stopped");
}

}  // namespace homeostat
