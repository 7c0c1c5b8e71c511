// Requests and responses as handlers see them. Plain values.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace homeostat {

class HttpStream;

struct HttpRequest {
    std::string method;
    std::string path;  // without the query, as it came
    std::string query;  // what stands behind "?", as it came
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers{};  // names in small letters
    std::vector<std::pair<std::string, std::string>> parameters{};  // what stands for {name} in the route's pattern
    std::string peer{};  // the address that asks
    bool loopback = false;  // that is this machine's own
    bool trusted = false;  // it has shown the token that is in force

    // "" where it is not there.
    std::string_view header(std::string_view name) const noexcept;
    std::string_view parameter(std::string_view name) const noexcept;
};

struct HttpResponse {
    int status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::shared_ptr<HttpStream> stream{};  // where it is set: sent instead of the body, until it ends
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// An error as RFC 9457 has it: application/problem+json with title, status and this sentence, which says what to do.
HttpResponse problem(int status, std::string_view detail);

// 503, and after how many seconds to come again.
HttpResponse come_again(std::string_view detail, int seconds);

// Whether an Accept header (as it came; "" = anything) admits that media type. A quality of 0 excludes it.
bool accepts(std::string_view accept, std::string_view type);

}  // namespace homeostat
