#include "reconcilers/embed/request_telemetry.hpp"

#include <fmt/core.h>

#include <vector>

namespace homeostat {

namespace {

constexpr std::string_view kDuration = "gen_ai_client_operation_duration_seconds";
constexpr std::string_view kDurationHelp = "Duration of requests to embedding endpoints.";
constexpr std::string_view kTokens = "gen_ai_client_token_usage";
constexpr std::string_view kTokensHelp = "Tokens a request to an embedding endpoint used, as billed.";
const std::vector<double> kDurationBounds{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
const std::vector<double> kTokenBounds{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};

}  // namespace

RequestTelemetry::RequestTelemetry(Telemetry telemetry, std::string service, std::string model, std::uint32_t dimensions)
    : telemetry_(telemetry),
      service_(std::move(service)),
      model_(std::move(model)),
      dimensions_(dimensions),
      span_name_(fmt::format("embeddings {}", model_)),
      succeeded_(duration_of({})),
      tokens_(telemetry_.metrics.histogram(kTokens, kTokensHelp, kTokenBounds,
                                           {{"gen_ai_operation_name", "embeddings"},
                                            {"gen_ai_provider_name", service_},
                                            {"gen_ai_request_model", model_},
                                            {"gen_ai_token_type", "input"}})) {}

Histogram& RequestTelemetry::duration_of(std::string_view error_type) const {
    return telemetry_.metrics.histogram(kDuration, kDurationHelp, kDurationBounds,
                                        {{"error_type", std::string(error_type)},
                                         {"gen_ai_operation_name", "embeddings"},
                                         {"gen_ai_provider_name", service_},
                                         {"gen_ai_request_model", model_}});
}

Span RequestTelemetry::start(const Context& context) const {
    Span span = telemetry_.tracer.start(span_name_, SpanKind::client, context.span);
    span.set("gen_ai.operation.name", std::string("embeddings"));
    span.set("gen_ai.provider.name", service_);
    span.set("gen_ai.request.model", model_);
    span.set("gen_ai.embeddings.dimension.count", static_cast<std::int64_t>(dimensions_));
    return span;
}

void RequestTelemetry::finish(Span& span, const Result<Embeddings>& result, Duration took) const {
    const double seconds = std::chrono::duration<double>(took).count();
    if (result) {
        succeeded_.observe(seconds);
        tokens_.observe(static_cast<double>(result->tokens));
        span.set("gen_ai.response.model", result->model);
        span.set("gen_ai.usage.input_tokens", static_cast<std::int64_t>(result->tokens));
        return;
    }
    const std::string_view type = to_string(result.error().cls);
    duration_of(type).observe(seconds);
    span.set("error.type", std::string(type));
    span.fail(result.error().message);
}

}  // namespace homeostat
