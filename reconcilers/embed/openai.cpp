#include "reconcilers/embed/openai.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>

#include "core/outside_text.hpp"
#include "core/sync.hpp"
#include "reconcilers/embed/http_client.hpp"
#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/http_way.hpp"
#include "reconcilers/embed/limit_reset.hpp"
#include "reconcilers/embed/openai_answer.hpp"
#include "reconcilers/embed/redaction.hpp"
#include "reconcilers/embed/request_telemetry.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;

constexpr std::string_view kEndpointLeaf = "embeddings";
constexpr std::size_t kLongestName = 200;
constexpr std::size_t kMayBeAnError = 16UL * 1024;

bool is_header_value(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool is_header_name(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
    });
}

// What says where a request goes and where it ends is ours to write: a secret is bound to an origin, and behind one address
// another Host is somebody else. Declarations are checked for the same (homeostat.check_provider_headers); older ones are not.
bool is_our_header(std::string_view name) {
    static constexpr std::string_view kOurs[] = {
        "host", "content-length", "transfer-encoding", "content-encoding", "connection",       "keep-alive",
        "te",   "trailer",        "upgrade",           "expect",           "proxy-connection", "forwarded"};
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    return std::find(std::begin(kOurs), std::end(kOurs), lower) != std::end(kOurs) || lower.starts_with("x-forwarded-") ||
           lower.starts_with("x-original-") || lower.starts_with("x-rewrite-");
}

std::vector<std::string> references_of(const ProviderSpec& provider) {
    std::vector<std::string> out;
    if (provider.credential) out.push_back(*provider.credential);
    for (const auto& [key, value] : provider.headers) {
        if (is_declared_reference(value)) out.push_back(value);
    }
    return out;
}

// By the endpoint, of what it was sent.
bool is_refusal(const Error& error) { return error.cls == ErrorClass::auth && (error.code == "401" || error.code == "403"); }

enum class Encoding : std::uint8_t { base64, number, none };  // none: encoding_format is left out

std::string_view name_of(Encoding encoding) {
    return encoding == Encoding::base64 ? "base64" : encoding == Encoding::number ? "float" : "none";
}

Encoding encoding_named(std::string_view name) {
    return name == "base64" ? Encoding::base64 : name == "float" ? Encoding::number : Encoding::none;
}

// What a request has beside ours, each member behind a comma.
struct Members {
    std::string document;
    std::string query;
};

Result<Members> members_of(const ProviderSpec& provider) {
    Result<std::string> document = append_members(provider.request);
    Result<std::string> query = append_members(provider.request, provider.query_request);
    if (!document || !query) {
        return invalid(fmt::format("request and query_request of provider \"{}\" must be JSON objects", provider.name));
    }
    return Members{*std::move(document), *std::move(query)};
}

class OpenAiEmbedder final : public Embedder {
public:
    OpenAiEmbedder(const ProviderSpec& provider, Url url, std::string model, std::uint32_t dimensions, Members members,
                   std::unique_ptr<HttpClient> http, const Clock& clock, Telemetry telemetry,
                   std::shared_ptr<const Outbound> outbound)
        : provider_(provider),
          url_(std::move(url)),
          model_(std::move(model)),
          dimensions_(dimensions),
          http_(std::move(http)),
          clock_(clock),
          telemetry_(telemetry, "POST"),
          members_(std::move(members)),
          encoding_(encoding_named(provider.encoding)),
          references_(references_of(provider)),
          outbound_(std::move(outbound)) {}

    asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole role,
                                              const Context& context) override {
        if (texts.empty()) co_return Embeddings{.dimensions = dimensions_, .values = {}, .tokens = 0, .model = model_};
        if (texts.size() > provider_.max_batch) {
            co_return internal_error(fmt::format("{} texts were put into one request to provider \"{}\", which takes {}",
                                                 texts.size(), provider_.name, provider_.max_batch));
        }
        const SteadyTime start = clock_.steady_now();
        const SteadyTime deadline = std::min(context.deadline, start + provider_.timeout);
        if (!references_.empty()) co_await outbound_->ready(references_, url_, deadline, context.stop);
        // Before it is asked: what is changed meanwhile is another.
        std::size_t mark = mark_now();
        auto result = co_await ask(texts, role, context);
        // A token that a program prints may have ended early: another one is tried once.
        if (!result && is_refusal(result.error()) && outbound_->refused(references_, url_, mark)) {
            co_await outbound_->ready(references_, url_, deadline, context.stop);
            if (const std::size_t renewed = mark_now(); renewed != mark) {
                mark = renewed;
                result = co_await ask(texts, role, context);
            }
        }
        if (result) outbound_->accepted(references_, url_);
        // One that was sent with other secrets, and is answered late, says nothing of those that failed meanwhile.
        if (!result) failed_with_ = mark;
        if (result) failed_with_.compare_exchange_strong(mark, 0);
        co_return result;
    }

    std::uint32_t dimensions() const noexcept override { return dimensions_; }

    std::string called() const override EXCLUDES(name_mutex_) {
        const Lock lock(name_mutex_);
        return called_;
    }

    void call_it(std::string name) override EXCLUDES(name_mutex_) {
        const Lock lock(name_mutex_);
        called_ = std::move(name);
    }

    std::string encoding_found() const override {
        const Encoding asked = encoding_;
        return asked == encoding_named(provider_.encoding) ? "" : std::string(name_of(asked));
    }
    void ask_for(std::string_view encoding) override {
        for (const Encoding e : {Encoding::number, Encoding::none}) {
            if (encoding == name_of(e) && e > encoding_named(provider_.encoding)) encoding_ = e;
        }
    }

    bool take_renewed() override {
        const std::size_t failed = failed_with_;
        if (failed == 0) return false;
        const std::size_t now = mark_now();
        if (now == failed) return false;
        failed_with_ = now;
        return true;
    }

    EmbedderLimits limits() const noexcept override {
        return {.max_batch = provider_.max_batch,
                .max_text_tokens = provider_.max_text_tokens.value_or(0),
                .max_in_flight = provider_.max_in_flight,
                .price_per_million_tokens = provider_.price_per_million_tokens};
    }

private:
    asio::awaitable<Result<Embeddings>> ask(const std::vector<std::string>& texts, TextRole role, const Context& context) {
        const Encoding known = encoding_;
        Encoding encoding = known;
        auto result = co_await request(texts, role, encoding, context);
        // Some know only numbers, some of no choice at all. How it is asked for changes no vector.
        while (!result && encoding != Encoding::none && result.error().code == kEncodingRefused) {
            encoding = encoding == Encoding::base64 ? Encoding::number : Encoding::none;
            result = co_await request(texts, role, encoding, context);
        }
        if (result && encoding != known) encoding_ = encoding;
        co_return result;
    }

    std::size_t mark_now() const { return references_.empty() ? 0 : outbound_->mark(references_, url_); }

    asio::awaitable<Result<Embeddings>> request(const std::vector<std::string>& texts, TextRole role, Encoding encoding,
                                                const Context& context) {
        Span span = telemetry_.start_post(context, url_);
        std::vector<std::string> secrets;
        auto headers = headers_now(span, secrets);
        if (!headers) co_return std::move(headers).error().with_prefix(name());
        Url url = url_now();
        HttpCall call{.method = "POST", .url = url, .headers = *headers, .body = body_of(texts, role, encoding)};
        const SteadyTime deadline = std::min(context.deadline, clock_.steady_now() + provider_.timeout);
        auto answer = co_await http_->send(std::move(call), deadline, context.stop);
        if (answer && answer->status >= 300 && answer->status < 400) {
            // Frameworks send whoever forgot a slash, or wrote one too many, there; nothing else is followed.
            if (auto to = other_slash(url, find_header(answer->headers, "location"))) {
                url = *std::move(to);
                HttpCall again{.method = "POST", .url = url, .headers = *headers, .body = body_of(texts, role, encoding)};
                answer = co_await http_->send(std::move(again), deadline, context.stop);
                if (answer && answer->status < 300) slash_ = url.path != url_.path;
            }
        }
        std::optional<HttpAnswer> told;
        if (answer && answer->body.size() <= kMayBeAnError) told = *answer;
        auto result = read(std::move(answer), texts, url);
        if (!result) {
            Error e = std::move(result).error().with_prefix(name());
            for (const auto& secret : secrets) e.message = redact(std::move(e.message), secret);
            e.message = outside_text(e.message);
            if (told) add_wait(e, *told, clock_.now());
            result = std::move(e);
        }
        RequestTelemetry::finish_post(span, result);
        co_return result;
    }

    Url url_now() const {
        if (!slash_) return url_;
        Url url = url_;
        url.path.insert(std::min(url.path.find('?'), url.path.size()), 1, '/');
        return url;
    }

    Result<Embeddings> read(Result<HttpAnswer> answer, const std::vector<std::string>& texts, const Url& url) const {
        if (!answer) return std::move(answer).error();
        if (answer->status / 100 != 2) return error_of_status(*answer, url.shown(), clock_.now());
        // What is small may be an error all the same; vectors are large.
        std::optional<HttpAnswer> kept;
        if (answer->body.size() <= kMayBeAnError) kept = *answer;
        auto result = read(std::move(answer->body), texts);
        if (result || !kept) return result;
        if (std::optional<Error> inside = error_inside(*kept, url.shown(), clock_.now())) return *std::move(inside);
        return result;
    }

    Result<Embeddings> read(std::string body, const std::vector<std::string>& texts) const {
        auto result = parse_openai_answer(std::move(body), texts.size(), dimensions_);
        if (!result) return result;
        if (!same_model_family(provider_.answers_as.value_or(model_), result->model)) return other_model(result->model);
        if (auto valid = validate_embeddings(*result, texts.size(), dimensions_); !valid) return std::move(valid).error();
        if (auto same = settle_name(clean_excerpt(result->model, kLongestName)); !same) return std::move(same).error();
        if (result->model.empty()) result->model = model_;
        if (result->tokens == 0) result->tokens = estimated_tokens(texts);
        return result;
    }

    // The first name that it answers by is the one that it keeps.
    Status settle_name(std::string answered) const EXCLUDES(name_mutex_) {
        if (answered.empty()) return {};
        const Lock lock(name_mutex_);
        if (called_.empty()) called_ = answered;
        // Who has declared what it answers as has said that all of those are one.
        if (provider_.answers_as ? same_model_family(called_, answered) : same_model_name(called_, answered)) return {};
        return Error{
            .cls = ErrorClass::bad_answer,
            .message = fmt::format("model \"{}\" answered as \"{}\" until now, and as \"{}\" now; vectors of two models must not "
                                   "be mixed: put the old one back, or declare the new one as the model; where both make the "
                                   "same vectors, declare answers_as",
                                   model_, called_, answered),
            .origin = Origin::theirs,
            .code = bad_answer::kModel};
    }

    Error other_model(const std::string& answered) const {
        const std::string remedy =
            provider_.answers_as
                ? fmt::format("it was to answer as \"{}\"; correct answers_as", *provider_.answers_as)
                : "correct the model of the provider or pipeline; where that is its name there, declare answers_as";
        return {.cls = ErrorClass::bad_answer,
                .message = fmt::format("model \"{}\" was asked for, \"{}\" answered; {}, or the endpoint", model_,
                                       clean_excerpt(answered, 100), remedy),
                .origin = Origin::theirs,
                .code = bad_answer::kModel};
    }

    std::string body_of(const std::vector<std::string>& texts, TextRole role, Encoding encoding) const {
        const std::string& prefix = role == TextRole::query ? provider_.query_prefix : provider_.document_prefix;
        std::string body = "{\"model\":";
        append_json_string(body, model_);
        if (encoding != Encoding::none) body += fmt::format(",\"encoding_format\":\"{}\"", name_of(encoding));
        if (provider_.send_dimensions) body += fmt::format(",\"dimensions\":{}", dimensions_);
        body += role == TextRole::query ? members_.query : members_.document;
        body += ",\"input\":";
        append_json_texts(body, prefix, texts);
        body += '}';
        return body;
    }

    Result<HttpHeaders> headers_now(const Span& span, std::vector<std::string>& secrets) const {
        HttpHeaders headers{{"Content-Type", "application/json"}, {"Accept", "application/json"}};
        if (provider_.credential) {
            auto secret = outbound_->secret(*provider_.credential, url_);
            if (!secret) return std::move(secret).error();
            headers.emplace_back("Authorization", "Bearer " + *secret);
            secrets.push_back(*std::move(secret));
        }
        if (provider_.organization) headers.emplace_back("OpenAI-Organization", *provider_.organization);
        for (const auto& [key, value] : provider_.headers) {
            if (!is_declared_reference(value)) {
                headers.emplace_back(key, value);
                continue;
            }
            auto secret = outbound_->secret(value, url_);
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
    const RequestTelemetry telemetry_;
    const Members members_;
    std::atomic<Encoding> encoding_;  // as declared, or as it was found to understand
    const std::vector<std::string> references_;
    const std::shared_ptr<const Outbound> outbound_;
    std::atomic<bool> slash_{false};  // it wants one at the end of the path
    mutable Mutex name_mutex_;
    mutable std::string called_ GUARDED_BY(name_mutex_);
    std::atomic<std::size_t> failed_with_{0};  // the mark of the secrets; 0 = it did not fail, or has none
};

Status check_headers(const ProviderSpec& provider) {
    if (provider.credential && !is_declared_reference(*provider.credential)) {
        return invalid(fmt::format(
            "the credential of provider \"{}\" must be a reference, secret:NAME, env:NAME, file:PATH or exec:PATH; take the "
            "secret out of the declaration",
            provider.name));
    }
    if (provider.organization && !is_header_value(*provider.organization)) {
        return invalid(fmt::format("the organization of provider \"{}\" holds a control character", provider.name));
    }
    for (const auto& [key, value] : provider.headers) {
        if (!is_header_name(key))
            return invalid(fmt::format("\"{}\" of provider \"{}\" is not a header name", key, provider.name));
        if (is_our_header(key)) {
            return invalid(fmt::format("header \"{}\" of provider \"{}\" is homeostat's own to write; take it out of headers",
                                       key, provider.name));
        }
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
    if (provider.encoding != "base64" && provider.encoding != "float" && provider.encoding != "none") {
        return invalid(fmt::format("encoding \"{}\" of provider \"{}\" is neither base64, float nor none", provider.encoding,
                                   provider.name));
    }
    return check_headers(provider);
}

}  // namespace

Result<std::unique_ptr<Embedder>> make_openai_embedder(const ProviderSpec& provider, std::string model, std::uint32_t dimensions,
                                                       asio::any_io_executor executor, const Clock& clock, Telemetry telemetry,
                                                       std::shared_ptr<const Outbound> outbound) {
    if (auto fine = check(provider, model, dimensions); !fine) return std::move(fine).error();
    auto url = parse_url(*provider.endpoint);
    if (!url) return std::move(url).error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    url = endpoint_of(*std::move(url), kEndpointLeaf);
    Result<Members> members = members_of(provider);
    if (!members) return std::move(members).error();
    if (!outbound) outbound = std::make_shared<const Outbound>();
    auto options = way_to(provider, *url, !references_of(provider).empty(), outbound);
    if (!options) return std::move(options).error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    options->max_idle = provider.max_in_flight;
    auto http = HttpClient::create(std::move(executor), clock, *std::move(options));
    if (!http) return std::move(http).error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    return std::unique_ptr<Embedder>(std::make_unique<OpenAiEmbedder>(provider, *std::move(url), std::move(model), dimensions,
                                                                      *std::move(members), *std::move(http), clock, telemetry,
                                                                      std::move(outbound)));
}

}  // namespace homeostat
