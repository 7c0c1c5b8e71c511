// A small HTTP/1.1 server for health, metrics and the API: on loopback unless told otherwise, plain, without secrets in it.
//
// Handlers are registered before start(). They run on the given executor, so they answer from memory and never block; those that
// may wait for the database run on another one, a bounded number at a time, and who comes beyond is told to come again (503).
// Sizes and times of requests are bounded, connections too: who opens many loses those that say nothing, and nobody else waits.
// HEAD is answered wherever GET is; an unknown path is 404, a known one with another method 405, a handler that throws 500. What
// is refused is told as application/problem+json.
//
// start() once; stop() from any thread that does not run the executor, safe twice and without start(). After stop() no handler
// runs.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "controller/http/message.hpp"
#include "controller/http/routes.hpp"
#include "core/error.hpp"

namespace homeostat {

struct HttpServerOptions {
    std::string address = "127.0.0.1";  // an IP address
    std::uint16_t port = 0;  // 0 lets the system choose
    std::uint32_t max_header_bytes = 8 * 1024;
    std::uint64_t max_body_bytes = 1024 * 1024;
    std::size_t max_connections = 128;  // one more, and the one that has waited longest for its request is closed
    std::size_t max_of_peer = 64;  // likewise, of one address
    std::string token;  // asked for (Authorization: Bearer) on every path that is not open; empty = on none
    std::chrono::milliseconds request_timeout{10'000};  // to send a whole request, and to take a whole response
    std::chrono::milliseconds idle_timeout{30'000};  // between two requests of a connection
    std::chrono::milliseconds heartbeat{15'000};  // of a stream that has nothing to say
    std::size_t max_streams = 32;
    std::optional<boost::asio::any_io_executor> blocking{};  // of handlers that may wait; without it they run as all do
    std::size_t max_blocking = 16;  // of them, running and waiting to run
};

class HttpServer {
public:
    using Handler = HttpHandler;

    HttpServer(boost::asio::any_io_executor executor, HttpServerOptions options);
    ~HttpServer();  // stops at once where stop() was not called
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    void route(std::string method, std::string path, Handler handler);
    // Whoever reaches it may ask it without the token: what orchestrators probe.
    void route_open(std::string method, std::string path, Handler handler);
    void route(std::string method, std::string pattern, Handler handler, RouteTraits traits);
    // Where blocking handlers run from then on; before start().
    void block_on(boost::asio::any_io_executor executor);

    // Listens and begins to accept. Fails with a sentence where the address is none or taken.
    Status start();
    std::uint16_t port() const noexcept;

    // Accepts nothing more, lets running requests finish within `grace`, then cuts what is left.
    void stop(std::chrono::milliseconds grace);

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace homeostat
