// What is told of every request to a provider: one span, by the OpenTelemetry conventions for HTTP clients where it is one. The
// operation that it belongs to, with all its requests, is told of by the gateway (reconcilers/gateway/embed_operation.hpp). Safe
// from any thread.
#pragma once

#include <string>

#include "core/context.hpp"
#include "core/error.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {

class RequestTelemetry {
public:
    // What `telemetry` refers to outlives this.
    RequestTelemetry(Telemetry telemetry, std::string span_name) : telemetry_(telemetry), span_name_(std::move(span_name)) {}

    Span start(const Context& context) const { return telemetry_.tracer.start(span_name_, SpanKind::client, context.span); }
    // Of a POST to there; what a query says is left out.
    Span start_post(const Context& context, const Url& url) const;
    // How it went; the span is the caller's to end.
    static void finish(Span& span, const Result<Embeddings>& result);
    static void finish_post(Span& span, const Result<Embeddings>& result);

private:
    const Telemetry telemetry_;
    const std::string span_name_;
};

}  // namespace homeostat
