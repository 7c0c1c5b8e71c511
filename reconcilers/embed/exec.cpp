#include "reconcilers/embed/exec.hpp"

#include <fmt/core.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_pool.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/exec_start.hpp"
#include "reconcilers/embed/redaction.hpp"
#include "reconcilers/embed/request_telemetry.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;

ExecQuestion question_of(const std::string& model, std::uint32_t dimensions, std::string tail, std::size_t texts,
                         const std::shared_ptr<Embeddings>& into) {
    return {.tail = std::move(tail),
            .most = exec_answer_limit(texts, dimensions),
            .read = [=](std::string line, std::uint64_t id) -> Status {
                auto answer = parse_exec_answer(std::move(line), id, model, texts, dimensions);
                if (!answer) return std::move(answer).error();
                *into = *std::move(answer);
                return {};
            }};
}

// In an optional, because what comes back from another executor has to be default constructible.
asio::awaitable<std::optional<Result<Embeddings>>> ask(std::shared_ptr<ExecPool> pool, ExecQuestion question,
                                                       std::shared_ptr<Embeddings> into, SteadyTime deadline,
                                                       std::stop_token stop) {
    Status asked = co_await pool->ask(std::move(question), deadline, std::move(stop));
    if (!asked) co_return std::move(asked).error();
    co_return std::move(*into);
}

class Exec final : public ExecEmbedder {
public:
    Exec(const ProviderSpec& provider, std::string model, std::uint32_t dimensions, std::shared_ptr<ExecPool> pool,
         Telemetry telemetry, std::vector<std::string> values)
        : provider_(provider),
          model_(std::move(model)),
          dimensions_(dimensions),
          pool_(std::move(pool)),
          telemetry_(telemetry, "ask program"),
          values_(std::move(values)) {}
    ~Exec() override { pool_->close(); }
    Exec(const Exec&) = delete;
    Exec& operator=(const Exec&) = delete;

    asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole role,
                                              const Context& context) override {
        if (texts.empty()) co_return Embeddings{.dimensions = dimensions_, .values = {}, .tokens = 0, .model = model_};
        if (texts.size() > provider_.max_batch) {
            co_return internal_error(fmt::format("{} texts were put into one request to provider \"{}\", which takes {}",
                                                 texts.size(), provider_.name, provider_.max_batch));
        }
        Span span = telemetry_.start(context);
        const std::string& prefix = role == TextRole::query ? provider_.query_prefix : provider_.document_prefix;
        std::string tail = exec_request_tail(model_, dimensions_, role, prefix, texts);
        // The caller's cancellation slot is shut out, as in HttpClient: the stop token is the way to give up a request.
        const auto answer = std::make_shared<Embeddings>();
        ExecQuestion question = question_of(model_, dimensions_, std::move(tail), texts.size(), answer);
        auto asked =
            co_await asio::co_spawn(pool_->strand(), ask(pool_, std::move(question), answer, context.deadline, context.stop),
                                    asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
        Result<Embeddings> result = *std::move(asked);
        if (!result) result = told(result.error());
        if (result && result->tokens == 0) result->tokens = estimated_tokens(texts);
        RequestTelemetry::finish(span, result);
        co_return result;
    }

    std::uint32_t dimensions() const noexcept override { return dimensions_; }

    EmbedderLimits limits() const noexcept override {
        return {.max_batch = provider_.max_batch,
                .max_text_tokens = provider_.max_text_tokens.value_or(0),
                .max_in_flight = provider_.max_in_flight,
                .price_per_million_tokens = provider_.price_per_million_tokens};
    }

    std::string quarantine_reason() const override { return pool_->quarantine_reason(); }

private:
    // The program knows what it was given, and may say it anywhere.
    Error told(Error e) const {
        e.message = outside_text(redact_all(std::move(e.message), values_));
        return e.with_prefix(fmt::format("provider \"{}\"", provider_.name));
    }

    const ProviderSpec provider_;
    const std::string model_;
    const std::uint32_t dimensions_;
    const std::shared_ptr<ExecPool> pool_;
    const RequestTelemetry telemetry_;
    const std::vector<std::string> values_;  // of the variables that it is given
};

}  // namespace

Result<std::unique_ptr<ExecEmbedder>> make_exec_embedder(const ProviderSpec& provider, std::string model,
                                                         std::uint32_t dimensions, const asio::any_io_executor& executor,
                                                         const Clock& clock, Telemetry telemetry, const ExecOptions& options) {
    if (auto fine = check_command(provider); !fine) return std::move(fine).error();
    if (model.empty()) return invalid("no model is declared");
    if (dimensions == 0) return invalid(fmt::format("no dimensions are declared for model \"{}\"", model));
    Result<ExecPoolSettings> prepared = exec_pool_settings(provider, options);
    if (!prepared) return std::move(prepared).error();
    ExecPoolSettings settings = *std::move(prepared);
    std::string probe = exec_request_tail(model, dimensions, TextRole::document, provider.document_prefix, {kHarmlessText});
    settings.probe = question_of(model, dimensions, std::move(probe), 1, std::make_shared<Embeddings>());
    std::vector<std::string> values = settings.secrets;
    auto pool = std::make_shared<ExecPool>(std::move(settings), executor, clock);
    return std::unique_ptr<ExecEmbedder>(
        std::make_unique<Exec>(provider, std::move(model), dimensions, std::move(pool), telemetry, std::move(values)));
}

}  // namespace homeostat
