#include "reconcilers/embed/exec.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <optional>

#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_pool.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/request_telemetry.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/sandbox.hpp"
#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;

constexpr std::chrono::hours kLifetime{1};  // of one program, against what leaks

// In an optional, because what comes back from another executor has to be default constructible.
asio::awaitable<std::optional<Result<Embeddings>>> ask(std::shared_ptr<ExecPool> pool, std::string tail, std::size_t texts,
                                                       SteadyTime deadline, std::stop_token stop) {
    co_return co_await pool->ask(std::move(tail), texts, deadline, std::move(stop));
}

class Exec final : public ExecEmbedder {
public:
    Exec(const ProviderSpec& provider, std::string model, std::uint32_t dimensions, std::shared_ptr<ExecPool> pool,
         const Clock& clock, Telemetry telemetry, std::vector<std::string> values)
        : provider_(provider),
          model_(std::move(model)),
          dimensions_(dimensions),
          pool_(std::move(pool)),
          clock_(clock),
          telemetry_(telemetry, provider.name, model_, dimensions),
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
        const SteadyTime start = clock_.steady_now();
        const std::string& prefix = role == TextRole::query ? provider_.query_prefix : provider_.document_prefix;
        std::string tail = exec_request_tail(model_, dimensions_, role, prefix, texts);
        // The caller's cancellation slot is shut out, as in HttpClient: the stop token is the way to give up a request.
        auto asked =
            co_await asio::co_spawn(pool_->strand(), ask(pool_, std::move(tail), texts.size(), context.deadline, context.stop),
                                    asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
        Result<Embeddings> result = *std::move(asked);
        if (!result) result = told(result.error());
        if (result && result->tokens == 0) result->tokens = estimated_tokens(texts);
        telemetry_.finish(span, result, clock_.steady_now() - start);
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
    const Clock& clock_;
    const RequestTelemetry telemetry_;
    const std::vector<std::string> values_;  // of the variables that it is given
};

Status check(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) {
    if (provider.command.empty() || !provider.command.front().starts_with('/')) {
        return invalid(
            "command must begin with the absolute path of a program, for instance {/usr/bin/python3,/opt/embed.py}; no shell is "
            "involved");
    }
    const auto holds_nul = [](const std::string& word) { return word.find('\0') != std::string::npos; };
    if (std::any_of(provider.command.begin(), provider.command.end(), holds_nul)) return invalid("command holds a zero byte");
    if (model.empty()) return invalid("no model is declared");
    if (dimensions == 0) return invalid(fmt::format("no dimensions are declared for model \"{}\"", model));
    return {};
}

// Its arguments are whoever's who declares: without a limit it reads for him what this process may.
Status check_reading(const SandboxReport& report, const ExecRules& rules) {
    if (rules.reads_all() && geteuid() == 0) {
        return invalid(
            "no program is started that reads everything while homeostat is root; run homeostat as another user, or take / out "
            "of "
            "exec.read");
    }
    if (!report.landlock && !rules.reads_all()) {
        return invalid(
            "no program is started: without Landlock (Linux 5.13 or newer) what it reads cannot be limited; where it may read "
            "all that "
            "homeostat's user may, put / into exec.read of the settings");
    }
    return {};
}

// NAME=value of what is named, and of the two that most programs do not work without.
Result<std::vector<std::string>> environment_of(const ProviderSpec& provider, std::vector<std::string>& values) {
    std::vector<std::string> out;
    const auto named = [&](std::string_view name) {
        return std::find(provider.environment.begin(), provider.environment.end(), name) != provider.environment.end();
    };
    if (!named("PATH")) out.emplace_back("PATH=/usr/bin:/bin");
    if (!named("LANG")) out.emplace_back("LANG=C.UTF-8");
    for (const std::string& name : provider.environment) {
        const char* value = std::getenv(name.c_str());
        if (value == nullptr) {
            return invalid(
                fmt::format("environment names the variable {}, which is not set for homeostat; set it, or take it out", name));
        }
        out.push_back(name + "=" + value);
        values.emplace_back(value);
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<ExecEmbedder>> make_exec_embedder(const ProviderSpec& provider, std::string model,
                                                         std::uint32_t dimensions, const asio::any_io_executor& executor,
                                                         const Clock& clock, Telemetry telemetry, const ExecOptions& options) {
    if (auto fine = check(provider, model, dimensions); !fine) return std::move(fine).error();
    const ExecRules& rules = options.rules;
    Result<std::string> program = rules.program(provider);
    if (!program) return std::move(program).error();
    if (auto fine = rules.variables(provider); !fine) return std::move(fine).error();
    ExecPoolSettings settings;
    auto environment = environment_of(provider, settings.secrets);
    if (!environment) return std::move(environment).error();
    settings.report = examine_sandbox(options.namespaces);
    if (!settings.report.filter) return invalid(settings.report.text());
    if (auto fine = check_reading(settings.report, rules); !fine) return std::move(fine).error();
    settings.sandbox.command = provider.command;
    settings.sandbox.program = *program;
    if (!rules.reads_all()) settings.sandbox.readable = rules.readable(*program);
    settings.sandbox.environment = *std::move(environment);
    settings.sandbox.memory_bytes = static_cast<std::uint64_t>(provider.memory_limit_mb) << 20U;
    settings.sandbox.lifetime = kLifetime + std::chrono::ceil<std::chrono::seconds>(provider.timeout);
    settings.provider = provider.name;
    settings.model = model;
    settings.dimensions = dimensions;
    settings.most_children = std::max(provider.max_in_flight, 1U);
    settings.timeout = provider.timeout;
    settings.idle = options.idle;
    settings.probe = exec_request_tail(model, dimensions, TextRole::document, provider.document_prefix, {"This is a test."});
    settings.quarantine = options.quarantine;
    std::vector<std::string> values = settings.secrets;
    auto pool = std::make_shared<ExecPool>(std::move(settings), executor, clock);
    return std::unique_ptr<ExecEmbedder>(
        std::make_unique<Exec>(provider, std::move(model), dimensions, std::move(pool), clock, telemetry, std::move(values)));
}

}  // namespace homeostat
