// HTTP/1.1 requests over kept-alive connections, plain or TLS, as coroutines. The one HTTP client of the project: providers and
// the trace exporter's tests use it.
//
// Certificates are always checked (host name and chain; the system's roots, or a given CA file). Through a proxy TLS goes in a
// tunnel (CONNECT) and plain requests as they are. Redirects are never followed: a credential must not travel to an address
// nobody declared. Bodies that are packed (gzip, deflate, br) are unpacked; what comes before the answer (100, 103) is passed
// over. A request has one deadline for all of it (name, connect, TLS, answer), honours the stop token, and answers over the cap
// are refused unread. Every failure is an Error of http_error.hpp's table.
//
// Safe to call from any thread and concurrently: each connection lives on its own strand of the executor. send() touches nothing
// of the client's caller after it has finished; the client may be destroyed while idle connections are open.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/http_proxy.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// The first value of a header, whatever its case; "" where it is absent.
std::string_view find_header(const HttpHeaders& headers, std::string_view name) noexcept;

struct HttpCall {
    std::string method = "POST";
    Url url;
    HttpHeaders headers;  // Host, User-Agent, Content-Length and Connection are the client's own
    std::string body;
};

struct HttpAnswer {
    unsigned status = 0;
    HttpHeaders headers;
    std::string body;
};

struct HttpClientOptions {
    std::string ca_file;                             // PEM bundle to trust instead of the system's roots; "" = the system's
    std::string client_certificate;  // PEM file: who we are, where that is asked for; "" = nobody in particular
    std::string client_key;  // PEM file of its key; "" = it is in the same file
    std::optional<HttpProxy> proxy;  // of every request
    std::size_t max_idle = 32;  // kept-alive connections an origin
    std::chrono::milliseconds idle_timeout{30'000};  // below the 60 s at which most servers and balancers hang up
    std::size_t max_answer_bytes = 64U << 20U;
    std::string user_agent = "homeostat";
    // Asked of each address that a host turned out to have, before it is connected to; empty lets all pass.
    std::function<bool(const Url&, const boost::asio::ip::address&)> may_connect;
};

class HttpClient {
public:
    // Fails where a file that is named cannot be read or does not hold what it should. `clock` outlives the client.
    static Result<std::unique_ptr<HttpClient>> create(boost::asio::any_io_executor executor, const Clock& clock,
                                                      HttpClientOptions options = {});
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    // An answer of any status is a success here; what a status means is http_error's to say. Suspends, never blocks. A request
    // that fails on a kept-alive connection before any byte of the answer is sent once more on a fresh one.
    boost::asio::awaitable<Result<HttpAnswer>> send(HttpCall call, SteadyTime deadline, std::stop_token stop);

    // How many connections were opened so far: what keeping alive is judged by.
    std::uint64_t connections_opened() const noexcept;

private:
    struct Impl;
    explicit HttpClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<Impl> impl_;
};

}  // namespace homeostat
