// A small HTTP/1.1 server for health, metrics and the API: on loopback unless told otherwise, plain, without secrets in it.
//
// Handlers are registered by path before start() and run on the given executor, so they answer from memory and never block.
// Sizes and times of requests are bounded, connections too: who opens many loses those that say nothing, and nobody else waits.
// HEAD is answered wherever GET is; an unknown path is 404, a known one with another method 405, a handler that throws 500.
//
// start() once; stop() from any thread that does not run the executor, safe twice and without start(). After stop() no handler
// runs.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

struct HttpRequest {
    std::string method;
    std::string path;  // without the query
    std::string query;  // what stands behind "?", as it came
    std::string body;
};

struct HttpResponse {
    int status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers{};
};

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
};

class HttpServer {
public:
    using Handler = std::function<HttpResponse(const HttpRequest&)>;

    HttpServer(boost::asio::any_io_executor executor, HttpServerOptions options);
    ~HttpServer();  // stops at once where stop() was not called
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    void route(std::string method, std::string path, Handler handler);
    // Whoever reaches it may ask it without the token: what orchestrators probe.
    void route_open(std::string method, std::string path, Handler handler);

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
