#include "reconcilers/embed/request_telemetry.hpp"

#include <algorithm>
#include <charconv>

namespace homeostat {

namespace {

constexpr std::int64_t kGood = 200;
constexpr std::size_t kDigits = 3;

// 0 where the error has no status of HTTP.
std::int64_t status_of(const Error& error) {
    std::int64_t status = 0;
    const auto [end, problem] = std::from_chars(error.code.data(), error.code.data() + error.code.size(), status);
    const bool whole = problem == std::errc() && end == error.code.data() + error.code.size();
    return whole && error.code.size() == kDigits ? status : 0;
}

}  // namespace

Span RequestTelemetry::start_post(const Context& context, const Url& url) const {
    Span span = start(context);
    if (!span.context().valid()) return span;
    span.set("http.request.method", std::string("POST"));
    span.set("server.address", url.host);
    span.set("server.port", static_cast<std::int64_t>(url.port));
    span.set("url.full", url.origin() + url.path.substr(0, std::min(url.path.find('?'), url.path.size())));
    return span;
}

void RequestTelemetry::finish(Span& span, const Result<Embeddings>& result) {
    if (!result) span.fail(result.error());
}

void RequestTelemetry::finish_post(Span& span, const Result<Embeddings>& result) {
    finish(span, result);
    const std::int64_t status = result ? kGood : status_of(result.error());
    if (status > 0) span.set("http.response.status_code", status);
}

}  // namespace homeostat
