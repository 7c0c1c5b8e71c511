// What is told of every request to a provider: one span `embeddings {model}` and two histograms, named as the OpenTelemetry GenAI
// conventions have them (1.37, in development), spelt for Prometheus. Safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/context.hpp"
#include "core/error.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

class RequestTelemetry {
public:
    // `service` is gen_ai.provider.name. What `telemetry` refers to outlives this.
    RequestTelemetry(Telemetry telemetry, std::string service, std::string model, std::uint32_t dimensions);

    Span start(const Context& context) const;
    // Tells how it went; the span is the caller's to end.
    void finish(Span& span, const Result<Embeddings>& result, Duration took) const;

private:
    Histogram& duration_of(std::string_view error_type) const;

    const Telemetry telemetry_;
    const std::string service_;
    const std::string model_;
    const std::uint32_t dimensions_;
    const std::string span_name_;
    Histogram& succeeded_;
    Histogram& tokens_;
};

}  // namespace homeostat
