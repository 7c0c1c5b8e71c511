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
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <set>
#include <variant>

#include "controller/http/stream.hpp"
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

// What to say to a request that could not be read; 0 where the client just went away.
int status_of(const error_code& ec) {
    if (ec == http::error::header_limit) return 431;
    if (ec == http::error::body_limit) return 413;
    if (ec == http::error::bad_transfer_encoding || ec == http::error::bad_content_length) return 400;
    if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == beast::error::timeout) return 0;
    return ec.category() == make_error_code(http::error::bad_method).category() ? 400 : 0;
}

HttpRequest request_of(http::request<http::string_body>& message, const asio::ip::address& peer) {
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string_view target(message.target().data(), message.target().size());
    const auto question = std::min(target.find('?'), target.size());
    request.path = std::string(target.substr(0, question));
    request.query = std::string(target.substr(std::min(question + 1, target.size())));
    request.body = std::move(message.body());
    for (const auto& field : message.base()) {
        std::string name(field.name_string());
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    request.peer = peer.to_string();
    request.loopback =
        peer.is_loopback() || (peer.is_v6() && peer.to_v6().is_v4_mapped() && (peer.to_v6().to_bytes()[12] == 127));
    return request;
}

template <class Body>
http::response<Body> head_of(const HttpResponse& from, bool keep_alive) {
    http::response<Body> to{http::int_to_status(static_cast<unsigned>(from.status)), 11};
    to.set(http::field::content_type, from.content_type);
    to.set(http::field::cache_control, "no-store");
    to.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : from.headers) to.set(name, value);
    to.keep_alive(keep_alive);
    return to;
}

// Counts itself for as long as it is there.
struct Counted {
    explicit Counted(std::atomic<std::size_t>& c) : count(c) { ++count; }
    ~Counted() { --count; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    std::atomic<std::size_t>& count;
};

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
    struct Session {
        explicit Session(tcp::socket socket) : stream(std::move(socket)) {}
        beast::tcp_stream stream;
        bool waiting = true;  // between requests; on the session's strand only
        std::shared_ptr<HttpStream> stream_out;  // while it is sent one; likewise
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
        HttpResponse response;
        if (refusal != 0) {
            response = problem(refusal, "the request was not understood, or is larger than this server takes");
        } else {
            HttpRequest request = request_of(parser.get(), session.peer);
            response = co_await answer(request);
        }
        session.stream.expires_after(options.request_timeout);
        bool done = false;  // g++ 12 awaits both sides of a conditional
        if (response.stream && !head) {
            done = co_await send_stream(session, response);
        } else {
            done = co_await send_whole(session, std::move(response), head, keep);
        }
        session.answering = false;
        session.turn = ++turns;
        co_return keep&& done;
    }

    static asio::awaitable<bool> send_whole(Session& session, HttpResponse response, bool head, bool keep) {
        auto message = head_of<http::string_body>(response, keep);
        message.content_length(response.body.size());
        if (!head) message.body() = std::move(response.body);
        http::response_serializer<http::string_body> serializer{message};
        serializer.split(head);
        if (head) {
            const auto [error, written] = co_await http::async_write_header(session.stream, serializer, kTuple);
            co_return !error;
        }
        const auto [error, written] = co_await http::async_write(session.stream, serializer, kTuple);
        co_return !error;
    }

    // Ends the connection: nothing else says where the stream ends. Always false.
    asio::awaitable<bool> send_stream(Session& session, const HttpResponse& response) {
        const std::shared_ptr<HttpStream> out = response.stream;
        const Counted place(streams);
        if (streams > options.max_streams) {
            out->close();
            co_await send_whole(session, come_again("as many streams are open as this server keeps", 5), false, false);
            co_return false;
        }
        session.stream_out = out;
        const auto pause = std::make_shared<asio::steady_timer>(session.stream.get_executor());
        out->on_ready([pause] { asio::post(pause->get_executor(), [pause] { pause->cancel(); }); });
        auto message = head_of<http::empty_body>(response, false);
        http::response_serializer<http::empty_body> serializer{message};
        auto [error, written] = co_await http::async_write_header(session.stream, serializer, kTuple);
        while (!error && !stopping) {
            std::optional<std::string> text = out->take();
            if (text && text->empty()) {
                pause->expires_after(options.heartbeat);
                const auto [woken] = co_await pause->async_wait(kTuple);
                text = out->take();
                if (text && text->empty() && !woken) *text = ": still here\n\n";
            }
            if (!text) break;
            if (text->empty()) continue;
            session.stream.expires_after(options.request_timeout);
            const auto [failed, n] = co_await asio::async_write(session.stream, asio::buffer(*text), kTuple);
            error = failed;
        }
        out->on_ready({});
        out->close();
        session.stream_out.reset();
        co_return false;
    }

    // Never throws but for want of memory.
    asio::awaitable<HttpResponse> answer(HttpRequest& request) {
        auto found = routes.find(request, options.token);
        if (auto* refused = std::get_if<HttpResponse>(&found)) co_return std::move(*refused);
        const Route& route = *std::get<const Route*>(found);
        if (!route.traits.blocking || !options.blocking) co_return run(route, request);
        const Counted place(blocked);
        if (blocked > options.max_blocking) co_return come_again("as many requests are answered as this server takes", 1);
        co_return co_await asio::co_spawn(*options.blocking, run_there(route, request), asio::use_awaitable);
    }

    static asio::awaitable<HttpResponse> run_there(const Route& route, const HttpRequest& request) {
        co_return run(route, request);
    }

    static HttpResponse run(const Route& route, const HttpRequest& request) {
        try {
            return route.handler(request);
        } catch (const std::exception& e) {
            spdlog::error("the handler of {} {} failed: {}", route.method, route.pattern, e.what());
            return problem(500, "internal error; the log says more");
        }
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
            if (s->stream_out) s->stream_out->close();
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
    RouteTable routes;  // constant after start
    std::atomic<std::size_t> blocked{0};  // handlers that run on the other executor, or wait for it
    std::atomic<std::size_t> streams{0};
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
    route(std::move(method), std::move(path), std::move(handler), {});
}

void HttpServer::route_open(std::string method, std::string path, Handler handler) {
    route(std::move(method), std::move(path), std::move(handler), {.open = true});
}

void HttpServer::route(std::string method, std::string pattern, Handler handler, RouteTraits traits) {
    impl_->routes.add(std::move(method), std::move(pattern), std::move(handler), traits);
}

void HttpServer::block_on(asio::any_io_executor executor) { impl_->options.blocking = std::move(executor); }

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
