#include "reconcilers/embed/openai.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/http_client.hpp"
#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/openai_answer.hpp"
#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;

// Names and buckets as the OpenTelemetry GenAI conventions (1.37, in development) have them, spelt for Prometheus.
constexpr std::string_view kDuration = "gen_ai_client_operation_duration_seconds";
constexpr std::string_view kDurationHelp = "Duration of requests to embedding endpoints.";
constexpr std::string_view kTokens = "gen_ai_client_token_usage";
constexpr std::string_view kTokensHelp = "Tokens a request to an embedding endpoint used, as billed.";
const std::vector<double> kDurationBounds{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
const std::vector<double> kTokenBounds{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};

constexpr std::string_view kEndpointLeaf = "embeddings";

void append_json_string(std::string& out, std::string_view text) {
    // Ill-formed UTF-8 becomes U+FFFD: a document must never make a request that is not JSON.
    out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_header_value(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool is_header_name(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
    });
}

// Where the provider does not say: about four bytes a token.
std::uint64_t estimated_tokens(const std::vector<std::string>& texts) {
    std::uint64_t bytes = 0;
    for (const auto& text : texts) bytes += text.size();
    return (bytes + 3) / 4;
}

class OpenAiEmbedder final : public Embedder {
public:
    OpenAiEmbedder(const ProviderSpec& provider, Url url, std::string model, std::uint32_t dimensions,
                   std::unique_ptr<HttpClient> http, const Clock& clock, Telemetry telemetry)
        : provider_(provider),
          url_(std::move(url)),
          model_(std::move(model)),
          dimensions_(dimensions),
          http_(std::move(http)),
          clock_(clock),
          telemetry_(telemetry),
          service_(url_.host.ends_with("openai.com") ? "openai" : provider.name),
          span_name_(fmt::format("embeddings {}", model_)),
          succeeded_(duration_of({})),
          tokens_(telemetry_.metrics.histogram(kTokens, kTokensHelp, kTokenBounds,
                                               {{"gen_ai_operation_name", "embeddings"},
                                                {"gen_ai_provider_name", service_},
                                                {"gen_ai_request_model", model_},
                                                {"gen_ai_token_type", "input"}})) {}

    asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole role,
                                              const Context& context) override {
        if (texts.empty()) co_return Embeddings{.dimensions = dimensions_, .values = {}, .tokens = 0, .model = model_};
        if (texts.size() > provider_.max_batch) {
            co_return internal_error(fmt::format("{} texts were put into one request to provider \"{}\", which takes {}",
                                                 texts.size(), provider_.name, provider_.max_batch));
        }
        Span span = started_span(context);
        const SteadyTime start = clock_.steady_now();
        auto result = co_await request(texts, role, context, span);
        const double seconds = std::chrono::duration<double>(clock_.steady_now() - start).count();
        if (result) {
            succeeded_.observe(seconds);
            tokens_.observe(static_cast<double>(result->tokens));
            span.set("gen_ai.response.model", result->model);
            span.set("gen_ai.usage.input_tokens", static_cast<std::int64_t>(result->tokens));
        } else {
            const std::string_view type = to_string(result.error().cls);
            duration_of(type).observe(seconds);
            span.set("error.type", std::string(type));
            span.fail(result.error().message);
        }
        co_return result;
    }

    std::uint32_t dimensions() const noexcept override { return dimensions_; }

    EmbedderLimits limits() const noexcept override {
        return {.max_batch = provider_.max_batch,
                .max_text_tokens = provider_.max_text_tokens.value_or(0),
                .max_in_flight = provider_.max_in_flight,
                .price_per_million_tokens = provider_.price_per_million_tokens};
    }

private:
    Histogram& duration_of(std::string_view error_type) const {
        return telemetry_.metrics.histogram(kDuration, kDurationHelp, kDurationBounds,
                                            {{"error_type", std::string(error_type)},
                                             {"gen_ai_operation_name", "embeddings"},
                                             {"gen_ai_provider_name", service_},
                                             {"gen_ai_request_model", model_}});
    }

    Span started_span(const Context& context) const {
        Span span = telemetry_.tracer.start(span_name_, SpanKind::client, context.span);
        span.set("gen_ai.operation.name", std::string("embeddings"));
        span.set("gen_ai.provider.name", service_);
        span.set("gen_ai.request.model", model_);
        span.set("gen_ai.embeddings.dimension.count", static_cast<std::int64_t>(dimensions_));
        span.set("gen_ai.request.encoding_formats", provider_.encoding);
        span.set("server.address", url_.host);
        span.set("server.port", static_cast<std::int64_t>(url_.port));
        return span;
    }

    asio::awaitable<Result<Embeddings>> request(const std::vector<std::string>& texts, TextRole role, const Context& context,
                                                const Span& span) {
        std::vector<std::string> secrets;
        auto headers = headers_now(span, secrets);
        if (!headers) co_return std::move(headers).error().with_prefix(name());
        HttpCall call{.method = "POST", .url = url_, .headers = *std::move(headers), .body = body_of(texts, role)};
        const SteadyTime deadline = std::min(context.deadline, clock_.steady_now() + provider_.timeout);
        auto answer = co_await http_->send(std::move(call), deadline, context.stop);
        if (!answer) co_return std::move(answer).error().with_prefix(name());
        if (answer->status != 200) {
            Error e = error_of_status(*answer, url_.text(), clock_.now()).with_prefix(name());
            for (const auto& secret : secrets) e.message = redact(std::move(e.message), secret);
            co_return e;
        }
        auto result = read(std::move(answer->body), texts);
        if (!result) co_return std::move(result).error().with_prefix(name());
        co_return result;
    }

    Result<Embeddings> read(std::string body, const std::vector<std::string>& texts) const {
        auto result = parse_openai_answer(std::move(body), texts.size(), dimensions_);
        if (!result) return result;
        if (!same_model_family(model_, result->model)) {
            return Error{.cls = ErrorClass::bad_answer,
                         .message = fmt::format("model \"{}\" was asked for, \"{}\" answered; correct the model of the provider "
                                                "or pipeline, or the endpoint",
                                                model_, result->model),
                         .origin = Origin::theirs,
                         .code = "model"};
        }
        if (auto valid = validate_embeddings(*result, texts.size(), dimensions_); !valid) return std::move(valid).error();
        if (result->model.empty()) result->model = model_;
        if (result->tokens == 0) result->tokens = estimated_tokens(texts);
        return result;
    }

    std::string body_of(const std::vector<std::string>& texts, TextRole role) const {
        const std::string& prefix = role == TextRole::query ? provider_.query_prefix : provider_.document_prefix;
        std::string body = "{\"model\":";
        append_json_string(body, model_);
        body += fmt::format(",\"encoding_format\":\"{}\"", provider_.encoding);
        if (provider_.send_dimensions) body += fmt::format(",\"dimensions\":{}", dimensions_);
        body += ",\"input\":[";
        for (const auto& text : texts) {
            if (body.back() != '[') body += ',';
            append_json_string(body, prefix.empty() ? text : prefix + text);
        }
        body += "]}";
        return body;
    }

    Result<HttpHeaders> headers_now(const Span& span, std::vector<std::string>& secrets) const {
        HttpHeaders headers{{"Content-Type", "application/json"}, {"Accept", "application/json"}};
        if (provider_.credential) {
            auto secret = read_secret(*provider_.credential);
            if (!secret) return std::move(secret).error();
            headers.emplace_back("Authorization", "Bearer " + *secret);
            secrets.push_back(*std::move(secret));
        }
        if (provider_.organization) headers.emplace_back("OpenAI-Organization", *provider_.organization);
        for (const auto& [key, value] : provider_.headers) {
            if (!is_secret_reference(value)) {
                headers.emplace_back(key, value);
                continue;
            }
            auto secret = read_secret(value);
            if (!secret) return std::move(secret).error();
            headers.emplace_back(key, *secret);
            secrets.push_back(*std::move(secret));
        }
        if (auto parent = span.context().traceparent(); !parent.empty()) headers.emplace_back("traceparent", std::move(parent));
        return headers;
    }

    std::string name() const { return fmt::format("provider \"{}\"", provider_.name); }

    const ProviderSpec provider_;
    const Url url_;
    const std::string model_;
    const std::uint32_t dimensions_;
    const std::unique_ptr<HttpClient> http_;
    const Clock& clock_;
    const Telemetry telemetry_;
    const std::string service_;  // gen_ai.provider.name
    const std::string span_name_;
    Histogram& succeeded_;
    Histogram& tokens_;
};

Status check_headers(const ProviderSpec& provider) {
    if (provider.credential && !is_secret_reference(*provider.credential)) {
        return invalid(
            fmt::format("the credential of provider \"{}\" must be a reference, env:NAME or file:PATH; take the secret out "
                        "of the declaration",
                        provider.name));
    }
    if (provider.organization && !is_header_value(*provider.organization)) {
        return invalid(fmt::format("the organization of provider \"{}\" holds a control character", provider.name));
    }
    for (const auto& [key, value] : provider.headers) {
        if (!is_header_name(key))
            return invalid(fmt::format("\"{}\" of provider \"{}\" is not a header name", key, provider.name));
        if (!is_header_value(value)) {
            return invalid(fmt::format("the header {} of provider \"{}\" holds a control character", key, provider.name));
        }
    }
    return {};
}

Status check(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) {
    if (!provider.endpoint || provider.endpoint->empty()) {
        return invalid(
            fmt::format("provider \"{}\" of kind openai has no endpoint; declare one, for instance "
                        "https://api.openai.com/v1",
                        provider.name));
    }
    if (model.empty()) return invalid(fmt::format("no model is declared for provider \"{}\"", provider.name));
    if (dimensions == 0) {
        return invalid(fmt::format("no dimensions are declared for model \"{}\" of provider \"{}\"", model, provider.name));
    }
    if (provider.encoding != "base64" && provider.encoding != "float") {
        return invalid(
            fmt::format("encoding \"{}\" of provider \"{}\" is neither base64 nor float", provider.encoding, provider.name));
    }
    return check_headers(provider);
}

}  // namespace

Result<std::unique_ptr<Embedder>> make_openai_embedder(const ProviderSpec& provider, std::string model, std::uint32_t dimensions,
                                                       asio::any_io_executor executor, const Clock& clock, Telemetry telemetry) {
    if (auto fine = check(provider, model, dimensions); !fine) return std::move(fine).error();
    auto url = parse_url(*provider.endpoint);
    if (!url) return std::move(url).error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    // Some addresses are given whole (Azure's deployments); they are taken as they are.
    const std::string_view path = std::string_view(url->path).substr(0, url->path.find('?'));
    if (!path.ends_with(std::string("/") + std::string(kEndpointLeaf))) url = url->below(kEndpointLeaf);
    HttpClientOptions options;
    options.ca_file = provider.ca_file.value_or("");
    options.max_idle = provider.max_in_flight;
    auto http = HttpClient::create(std::move(executor), clock, std::move(options));
    if (!http) return std::move(http).error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    return std::unique_ptr<Embedder>(std::make_unique<OpenAiEmbedder>(provider, *std::move(url), std::move(model), dimensions,
                                                                      *std::move(http), clock, telemetry));
}

}  // namespace homeostat
