#include "reconcilers/embed/http_client.hpp"

#include <fmt/core.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <map>
#include <mutex>
#include <optional>

#include "core/sync.hpp"
#include "reconcilers/embed/http_encoding.hpp"
#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/http_tls.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using Strand = asio::strand<asio::any_io_executor>;
using TlsStream = ssl::stream<tcp::socket>;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::uint32_t kMaxHeaderBytes = 64 * 1024;
constexpr std::chrono::hours kLongestWait{24};
constexpr int kMostInterim = 16;

// A look-up of a name cannot be interrupted: it is left to finish by itself after the deadline, so it owns what it writes to.
struct Lookup {
    explicit Lookup(const Strand& strand) : resolver(strand), wake(strand, asio::steady_timer::time_point::max()) {}
    tcp::resolver resolver;
    asio::steady_timer wake;
    bool done = false;
    error_code error;
    std::vector<tcp::endpoint> endpoints;
};

// One connection and the request on it. Everything happens on its strand. `ticket` names the request: a timer or stop that fires
// late, when the connection already serves another one, finds another ticket and does nothing.
struct Connection {
    explicit Connection(Strand s) : strand(std::move(s)), plain(strand), timer(strand) {}

    tcp::socket& socket() { return tls ? tls->next_layer() : plain; }
    void break_off(std::uint64_t for_ticket, HttpFault why) {
        if (for_ticket != ticket || broken) return;
        broken = why;
        error_code ignored;
        socket().close(ignored);
        if (lookup) lookup->wake.cancel();
    }
    // The peer hung up, or sent what nobody asked for.
    bool stale() {
        char byte = 0;
        const auto n = ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }

    Strand strand;
    tcp::socket plain;
    std::optional<TlsStream> tls;
    asio::steady_timer timer;
    std::shared_ptr<Lookup> lookup;
    boost::beast::flat_buffer buffer;
    std::uint64_t ticket = 0;
    std::optional<HttpFault> broken;
    bool used = false;  // has carried an answer before
    SteadyTime idle_since{};
};
using ConnectionPtr = std::shared_ptr<Connection>;

HttpFault fault_of(const error_code& ec, HttpFault otherwise) {
    namespace e = asio::error;
    if (ec == e::host_not_found || ec == e::host_not_found_try_again || ec == e::no_data || ec == e::no_recovery ||
        ec == e::service_not_found) {
        return HttpFault::resolve;
    }
    if (ec == e::connection_refused) return HttpFault::refused;
    if (ec == e::network_unreachable || ec == e::host_unreachable || ec == e::network_down || ec == e::no_descriptors ||
        ec == e::access_denied || ec == e::no_buffer_space) {
        return HttpFault::unreachable;
    }
    if (ec == e::timed_out) return HttpFault::timeout;
    if (asks_who_we_are(ec)) return HttpFault::client_certificate;
    if (ec == http::error::body_limit) return HttpFault::body_limit;
    if (ec == http::error::end_of_stream || ec == http::error::partial_message) return HttpFault::reset;
    if (ec.category() == make_error_code(http::error::end_of_stream).category()) return HttpFault::malformed;
    return otherwise;
}

struct Failure {
    HttpFault fault;
    std::string detail;
    bool repeatable = false;  // nothing of an answer had come
};
using Outcome = std::variant<HttpAnswer, Failure>;

Failure failure(const Connection& c, const error_code& ec, HttpFault otherwise) {
    if (c.broken) return {.fault = *c.broken, .detail = {}};
    return {.fault = fault_of(ec, otherwise), .detail = ec.message()};
}

asio::awaitable<std::optional<Failure>> resolve(Connection& c, const std::string& host, std::uint16_t port,
                                                std::vector<tcp::endpoint>& out) {
    error_code ec;
    if (const auto address = asio::ip::make_address(host, ec); !ec) {
        out.emplace_back(address, port);
        co_return std::nullopt;
    }
    c.lookup = std::make_shared<Lookup>(c.strand);
    c.lookup->resolver.async_resolve(host, std::to_string(port), tcp::resolver::numeric_service,
                                     [lookup = c.lookup](const error_code& error, const tcp::resolver::results_type& found) {
                                         lookup->done = true;
                                         lookup->error = error;
                                         for (const auto& entry : found) lookup->endpoints.push_back(entry.endpoint());
                                         lookup->wake.cancel();
                                     });
    if (!c.broken) co_await c.lookup->wake.async_wait(kTuple);
    const auto lookup = std::exchange(c.lookup, nullptr);
    if (c.broken) co_return failure(c, {}, HttpFault::resolve);
    if (lookup->error) co_return Failure{.fault = HttpFault::resolve, .detail = lookup->error.message()};
    out = std::move(lookup->endpoints);
    co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> handshake(Connection& c, const Url& url, ssl::context& tls) {
    c.tls.emplace(std::move(c.plain), tls);
    SSL* const handle = c.tls->native_handle();
    error_code ec;
    asio::ip::make_address(url.host, ec);
    if (ec) {
        SSL_set_tlsext_host_name(handle, url.host.c_str());
        SSL_set1_host(handle, url.host.c_str());
    } else {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(handle), url.host.c_str());
    }
    const auto [error] = co_await c.tls->async_handshake(ssl::stream_base::client, kTuple);
    if (!error) co_return std::nullopt;
    if (const long verdict = SSL_get_verify_result(handle); verdict != X509_V_OK && !c.broken) {
        co_return Failure{.fault = HttpFault::certificate, .detail = X509_verify_cert_error_string(verdict)};
    }
    co_return failure(c, error, HttpFault::tls);
}

Failure proxy_refused(unsigned status, std::string_view reason) {
    return {.fault = HttpFault::proxy, .detail = fmt::format("it answers {} {}", status, reason)};
}

// Of everything in it the proxy sees the name and the port.
asio::awaitable<std::optional<Failure>> tunnel(Connection& c, const Url& url, const HttpClientOptions& options) {
    const std::string target = fmt::format("{}:{}", bracketed(url.host), url.port);
    http::request<http::empty_body> request{http::verb::connect, target, 11};
    request.set(http::field::host, target);
    request.set(http::field::user_agent, options.user_agent);
    if (!options.proxy->authorization.empty()) request.set(http::field::proxy_authorization, options.proxy->authorization);
    const auto [sent_error, sent] = co_await http::async_write(c.plain, request, kTuple);
    if (sent_error) co_return failure(c, sent_error, HttpFault::reset);
    http::response_parser<http::empty_body> parser;
    parser.skip(true);
    parser.header_limit(kMaxHeaderBytes);
    const auto [error, header] = co_await http::async_read_header(c.plain, c.buffer, parser, kTuple);
    if (error) co_return failure(c, error, HttpFault::reset);
    const auto& answer = parser.get();
    if (answer.result_int() / 100 != 2) co_return proxy_refused(answer.result_int(), answer.reason());
    if (c.buffer.size() != 0) co_return Failure{.fault = HttpFault::proxy, .detail = "it says more than was asked"};
    co_return std::nullopt;
}

// A name leads where its keeper says, at every look-up anew: so addresses are judged, and only those that pass are connected to.
std::optional<Failure> leave_out_forbidden(const Url& url, const HttpClientOptions& options, std::vector<tcp::endpoint>& found) {
    if (!options.may_connect || found.empty()) return std::nullopt;
    Failure failed{.fault = HttpFault::forbidden, .detail = found.front().address().to_string()};
    std::erase_if(found, [&](const tcp::endpoint& e) { return !options.may_connect(url, e.address()); });
    return found.empty() ? std::optional(std::move(failed)) : std::nullopt;
}

asio::awaitable<std::optional<Failure>> connect(Connection& c, const Url& url, ssl::context& tls,
                                                const HttpClientOptions& options) {
    const auto& proxy = options.proxy;
    std::vector<tcp::endpoint> endpoints;
    const std::string& host = proxy ? proxy->host : url.host;
    if (auto failed = co_await resolve(c, host, proxy ? proxy->port : url.port, endpoints)) co_return failed;
    if (auto failed = leave_out_forbidden(url, options, endpoints)) co_return failed;
    const auto [ec, endpoint] = co_await asio::async_connect(c.plain, endpoints, kTuple);
    if (ec || c.broken) co_return failure(c, ec, HttpFault::unreachable);
    error_code ignored;
    c.plain.set_option(tcp::no_delay(true), ignored);
    if (!url.tls) co_return std::nullopt;
    if (proxy) {
        if (auto refused = co_await tunnel(c, url, options)) co_return refused;
    }
    co_return co_await handshake(c, url, tls);
}

// Refers to the body of `call`.
using Request = http::request<http::span_body<const char>>;
Request message_of(const HttpCall& call, const HttpClientOptions& options) {
    const bool by_proxy = options.proxy && !call.url.tls;
    Request request{http::string_to_verb(call.method), by_proxy ? call.url.text() : call.url.path, 11};
    request.set(http::field::host, call.url.host_header());
    request.set(http::field::user_agent, options.user_agent);
    if (by_proxy && !options.proxy->authorization.empty())
        request.set(http::field::proxy_authorization, options.proxy->authorization);
    for (const auto& [name, value] : call.headers) request.insert(name, value);
    request.body() = {call.body.data(), call.body.size()};
    request.prepare_payload();
    return request;
}

// A body of a known length is read straight to where it stays; the parser would take it in small pieces and copy each.
template <class Stream>
asio::awaitable<error_code> read_answer(Stream& stream, Connection& c, http::response_parser<http::string_body>& parser) {
    const auto [header_error, header] = co_await http::async_read_header(stream, c.buffer, parser, kTuple);
    if (header_error || parser.is_done()) co_return header_error;
    if (parser.chunked() || !parser.content_length()) {
        const auto [body_error, body_size] = co_await http::async_read(stream, c.buffer, parser, kTuple);
        co_return body_error;
    }
    std::string& body = parser.get().body();
    body.resize(*parser.content_length());
    const std::size_t have = asio::buffer_copy(asio::buffer(body), c.buffer.data());
    c.buffer.consume(have);
    const auto [error, size] = co_await asio::async_read(stream, asio::buffer(body) + have, kTuple);
    co_return error;
}

template <class Stream>
asio::awaitable<Outcome> exchange(Stream& stream, Connection& c, HttpCall& call, const HttpClientOptions& options) {
    auto request = message_of(call, options);
    const auto [sent_error, sent] = co_await http::async_write(stream, request, kTuple);
    // A server that refuses early (413, 401) may close while we still write: its answer is worth more than our error.
    std::optional<http::response_parser<http::string_body>> parser;
    error_code read_error;
    for (int interim = 0;; ++interim) {
        parser.emplace();
        parser->body_limit(options.max_answer_bytes);
        parser->header_limit(kMaxHeaderBytes);
        read_error = co_await read_answer(stream, c, *parser);
        // 100 and 103 come before the answer; more of them than anybody sends are no answer either.
        if (read_error || parser->get().result_int() / 100 != 1 || parser->get().result_int() == 101 || interim >= kMostInterim)
            break;
    }
    if (read_error) {
        const bool refused = asks_who_we_are(read_error);  // which comes with the first words that are read
        Failure failed = failure(c, sent_error && !refused ? sent_error : read_error, HttpFault::reset);
        failed.repeatable = failed.fault == HttpFault::reset && !parser->got_some() && c.buffer.size() == 0;
        co_return failed;
    }
    auto& answer = parser->get();
    if (answer.result_int() == 407 && options.proxy && !call.url.tls) co_return proxy_refused(407, answer.reason());
    HttpAnswer out;
    out.status = answer.result_int();
    for (const auto& field : answer) out.headers.emplace_back(field.name_string(), field.value());
    out.body = std::move(answer.body());
    if (sent_error || !answer.keep_alive() || c.buffer.size() != 0) {
        error_code ignored;
        c.socket().close(ignored);
    }
    const std::string_view encoding = find_header(out.headers, "content-encoding");
    if (!encoding.empty() && !out.body.empty()) {
        Result<std::string> body = unpack(std::move(out.body), encoding, options.max_answer_bytes);
        if (!body) co_return Failure{.fault = HttpFault::encoding, .detail = body.error().message};
        out.body = *std::move(body);
    }
    co_return out;
}

}  // namespace

struct HttpClient::Impl : std::enable_shared_from_this<HttpClient::Impl> {
    Impl(asio::any_io_executor e, const Clock& k, HttpClientOptions o)
        : executor(std::move(e)), clock(k), options(std::move(o)), tls(ssl::context::tls_client) {}

    // A fresh connection where none is idle or `fresh` is asked for.
    ConnectionPtr take(const std::string& origin, bool fresh) EXCLUDES(mutex) {
        if (!fresh) {
            const Lock lock(mutex);
            auto& idle = pool[origin];
            while (!idle.empty()) {
                const ConnectionPtr c = std::move(idle.back());
                idle.pop_back();
                if (clock.steady_now() - c->idle_since < options.idle_timeout && !c->stale()) return c;
            }
        }
        opened.fetch_add(1, std::memory_order_relaxed);
        return std::make_shared<Connection>(asio::make_strand(executor));
    }

    void give_back(const std::string& origin, ConnectionPtr c) EXCLUDES(mutex) {
        const SteadyTime now = clock.steady_now();
        c->idle_since = now;
        const Lock lock(mutex);
        auto& idle = pool[origin];
        std::erase_if(idle, [&](const ConnectionPtr& other) { return now - other->idle_since >= options.idle_timeout; });
        if (idle.size() < options.max_idle) idle.push_back(std::move(c));
    }

    asio::awaitable<Outcome> run(ConnectionPtr c, HttpCall& call, SteadyTime deadline, std::stop_token stop) {
        const std::uint64_t ticket = ++c->ticket;
        const std::weak_ptr<Connection> weak = c;
        c->timer.expires_after(std::min<Duration>(deadline - std::min(deadline, clock.steady_now()), kLongestWait));
        c->timer.async_wait([weak, ticket](const error_code& ec) {
            if (const auto held = weak.lock(); held && !ec) held->break_off(ticket, HttpFault::timeout);
        });
        const std::stop_callback on_stop(stop, [weak, ticket] {
            const auto held = weak.lock();
            if (held) asio::post(held->strand, [held, ticket] { held->break_off(ticket, HttpFault::stopped); });
        });
        std::optional<Failure> failed;
        if (!c->used) {
            // The system's certificates take a tenth of a second to read: only where they are asked for.
            if (call.url.tls && options.ca_file.empty()) std::call_once(trusted, [this] { trust_system(); });
            failed = co_await connect(*c, call.url, tls, options);
        }
        Outcome outcome = HttpAnswer{};
        if (failed) {
            outcome = *std::move(failed);
        } else if (c->tls) {
            outcome = co_await exchange(*c->tls, *c, call, options);
        } else {
            outcome = co_await exchange(c->plain, *c, call, options);
        }
        ++c->ticket;
        c->timer.cancel();
        co_return outcome;
    }

    asio::awaitable<Result<HttpAnswer>> send(HttpCall call, SteadyTime deadline, std::stop_token stop) {
        const auto self = shared_from_this();
        const std::string where = fmt::format("{} {}{}", call.method, call.url.shown(),
                                              options.proxy ? " through the proxy " + options.proxy->text() : "");
        const std::string origin = call.url.origin();
        for (bool fresh = false;; fresh = true) {
            if (stop.stop_requested()) co_return error_of_fault(HttpFault::stopped, where, {});
            if (deadline <= clock.steady_now()) co_return error_of_fault(HttpFault::timeout, where, {});
            const ConnectionPtr c = take(origin, fresh);
            const bool was_used = c->used;
            // The caller's cancellation slot is shut out: it would fire on the caller's executor, not on the strand. The stop
            // token is the way to give up a call.
            Outcome outcome =
                co_await asio::co_spawn(c->strand, run(c, call, deadline, stop),
                                        asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
            if (auto* failed = std::get_if<Failure>(&outcome)) {
                if (failed->repeatable && was_used && !fresh) continue;
                co_return error_of_fault(failed->fault, where, failed->detail);
            }
            c->used = true;
            if (c->socket().is_open() && !c->broken) give_back(origin, c);
            co_return std::get<HttpAnswer>(std::move(outcome));
        }
    }

    void trust_system() {
        error_code ignored;
        tls.set_default_verify_paths(ignored);
    }

    asio::any_io_executor executor;
    const Clock& clock;
    HttpClientOptions options;
    ssl::context tls;
    std::once_flag trusted;
    std::atomic<std::uint64_t> opened{0};
    Mutex mutex;
    std::map<std::string, std::vector<ConnectionPtr>> pool GUARDED_BY(mutex);
};

Result<std::unique_ptr<HttpClient>> HttpClient::create(asio::any_io_executor executor, const Clock& clock,
                                                       HttpClientOptions options) {
    auto impl = std::make_shared<Impl>(std::move(executor), clock, std::move(options));
    if (auto fine = set_up_tls(impl->tls, impl->options); !fine) return std::move(fine).error();
    return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

HttpClient::~HttpClient() = default;

asio::awaitable<Result<HttpAnswer>> HttpClient::send(HttpCall call, SteadyTime deadline, std::stop_token stop) {
    return impl_->send(std::move(call), deadline, std::move(stop));
}

std::uint64_t HttpClient::connections_opened() const noexcept { return impl_->opened.load(std::memory_order_relaxed); }

}  // namespace homeostat
