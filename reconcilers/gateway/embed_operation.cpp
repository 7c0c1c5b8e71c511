#include "reconcilers/gateway/embed_operation.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "core/outside_text.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kDuration = "gen_ai_client_embeddings_duration_seconds";
constexpr std::string_view kDurationHelp = "Duration of embeddings operations, with all their requests.";
constexpr std::string_view kTokens = "gen_ai_client_embeddings_operation_input_tokens";
constexpr std::string_view kTokensHelp = "Input tokens of an embeddings operation, as billed.";
constexpr std::string_view kOlderDuration = "gen_ai_client_operation_duration_seconds";
constexpr std::string_view kOlderTokens = "gen_ai_client_token_usage";
const std::vector<double> kDurationBounds{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
const std::vector<double> kTokenBounds{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
constexpr std::size_t kMostName = 100;  // letters of a name that somebody else gave

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kServices{
    {{"openai.azure.com", "azure.ai.openai"},
     {"openai.com", "openai"},
     {"cohere.com", "cohere"},
     {"cohere.ai", "cohere"},
     {"mistral.ai", "mistral_ai"},
     {"generativelanguage.googleapis.com", "gcp.gemini"},
     {"aiplatform.googleapis.com", "gcp.vertex_ai"},
     {"amazonaws.com", "aws.bedrock"},
     {"ml.cloud.ibm.com", "ibm.watsonx.ai"}}};

// "api.openai.com" is of "openai.com", "notopenai.com" is not.
bool is_of(std::string_view host, std::string_view domain) {
    if (!host.ends_with(domain)) return false;
    return host.size() == domain.size() || host[host.size() - domain.size() - 1] == '.' ||
           host[host.size() - domain.size() - 1] == '-';  // us-central1-aiplatform.googleapis.com
}

}  // namespace

std::string provider_service(const ProviderSpec& provider) {
    const Result<Url> url = provider.endpoint ? parse_url(*provider.endpoint) : Result<Url>(Url{});
    if (url) {
        for (const auto& [domain, service] : kServices) {
            if (is_of(url->host, domain)) return std::string(service);
        }
    }
    return provider.name;
}

Context EmbedOperation::request(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions,
                                const Context& context) {
    model_ = model;
    service_ = provider_service(provider);
    address_.clear();
    port_ = 0;
    if (provider.endpoint) {
        if (const Result<Url> url = parse_url(*provider.endpoint)) {
            address_ = url->host;
            port_ = url->port;
        }
    }
    if (++requests_ == 1) {
        began_ = clock_.steady_now();
        span_ = telemetry_.tracer.start("embeddings " + model, SpanKind::client, context.span);
        for (const SpanContext& other : links_) span_.link(other);
        span_.set("gen_ai.operation.name", std::string("embeddings"));
        span_.set("gen_ai.request.model", model);
        span_.set("gen_ai.embeddings.dimension.count", static_cast<std::int64_t>(dimensions));
    }
    // Of a pool the one that was asked last.
    span_.set("gen_ai.provider.name", service_);
    if (!address_.empty()) {
        span_.set("gen_ai.request.encoding_formats", std::vector<std::string>{provider.encoding});
        span_.set("server.address", address_);
        span_.set("server.port", port_);
    }
    return context.under(span_);
}

void EmbedOperation::end(const Result<Embeddings>& answer) {
    if (requests_ == 0) return;
    measure(std::chrono::duration<double>(clock_.steady_now() - began_).count(), answer);
    if (requests_ > 1) span_.set("homeostat.requests", requests_);
    if (answer) {
        span_.set("gen_ai.response.model", outside_text(answer->model, kMostName));
        span_.set("gen_ai.usage.input_tokens", static_cast<std::int64_t>(answer->tokens));
    } else {
        span_.fail(answer.error());
    }
    span_.end();
}

void EmbedOperation::measure(double seconds, const Result<Embeddings>& answer) const {
    Registry& metrics = telemetry_.metrics;
    const std::string error(answer ? "" : to_string(answer.error().cls));
    const Labels about{{"gen_ai_operation_name", "embeddings"},
                       {"gen_ai_provider_name", service_},
                       {"gen_ai_request_model", model_},
                       {"server_address", address_},
                       {"server_port", port_ > 0 ? std::to_string(port_) : ""}};
    Labels ended = about;
    ended.emplace(ended.begin(), "error_type", error);
    metrics.histogram(kDuration, kDurationHelp, kDurationBounds, ended).observe(seconds);
    if (answer) metrics.histogram(kTokens, kTokensHelp, kTokenBounds, about).observe(static_cast<double>(answer->tokens));
    if (!older_names_) return;
    const Labels before(about.begin(), about.begin() + 3);
    Labels before_ended = before;
    before_ended.emplace(before_ended.begin(), "error_type", error);
    metrics.histogram(kOlderDuration, kDurationHelp, kDurationBounds, before_ended).observe(seconds);
    if (!answer) return;
    Labels before_used = before;
    before_used.emplace_back("gen_ai_token_type", "input");
    metrics.histogram(kOlderTokens, kTokensHelp, kTokenBounds, before_used).observe(static_cast<double>(answer->tokens));
}

}  // namespace homeostat
