#include "reconcilers/factory/embed_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <numeric>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/factory/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr int kMostThrottles = 20;         // of one request; then its batch is given back
constexpr std::size_t kAllRefused = 8;     // culprits without a single good text: the fault is not the texts'

// Another provider of the pool may do better.
bool of_provider(ErrorClass c) {
    switch (c) {
        case ErrorClass::throttled:
        case ErrorClass::unavailable:
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local:
        case ErrorClass::bad_answer:
        case ErrorClass::auth:
        case ErrorClass::not_found: return true;
        default: return false;
    }
}

bool worth_a_retry(ErrorClass c) {
    return c == ErrorClass::transient || c == ErrorClass::timeout || c == ErrorClass::local || c == ErrorClass::bad_answer;
}

}  // namespace

bool of_content(ErrorClass c) noexcept { return c == ErrorClass::content || c == ErrorClass::too_large; }

EmbedJob::EmbedJob(Gateway& gateway, std::vector<ChannelPtr> channels, EmbedOrder order, const std::vector<std::string>& texts,
                   Context context)
    : gateway_(gateway), channels_(std::move(channels)), order_(std::move(order)), texts_(texts), context_(std::move(context)) {
    tokens_.reserve(texts.size());
    for (const std::string& text : texts) tokens_.push_back(estimate_tokens(text));
}

asio::awaitable<EmbedJob::Outcome> EmbedJob::run() {
    {
        const Lock lock(mutex_);
        result_.vectors.dimensions = order_.dimensions;
        result_.vectors.model = order_.model;
        result_.vectors.values.resize(texts_.size() * order_.dimensions);
        placed_.resize(texts_.size());
    }
    Part all(texts_.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    const Status done = co_await solve_all(cut(all));
    const Lock lock(mutex_);
    std::sort(result_.refused.begin(), result_.refused.end(),
              [](const RefusedText& a, const RefusedText& b) { return a.index < b.index; });
    Outcome outcome{std::move(result_), std::move(placed_), std::nullopt};
    if (!done) outcome.error = done.error();
    co_return outcome;
}

std::vector<EmbedJob::Part> EmbedJob::cut(const Part& part) const {
    std::uint32_t texts = 0;
    std::uint64_t tokens = 0;
    // What every provider of the pool takes, so that a request may go to any of them.
    for (const ChannelPtr& c : channels_) {
        const std::uint32_t t = c->lane->max_texts();
        const std::uint64_t k = c->lane->max_tokens();
        texts = texts == 0 ? t : std::min(texts, t);
        if (k > 0) tokens = tokens == 0 ? k : std::min(tokens, k);
    }
    return cut_requests(part, tokens_, texts, tokens);
}

asio::awaitable<void> EmbedJob::solve_into(Status& out, Part part, std::function<void()> done) {
    try {
        out = co_await solve(std::move(part));
    } catch (const std::exception& e) {
        out = internal_error(e.what());
    }
    if (!out) failed_ = true;
    done();
}

// Side by side; the lanes see to it that no more are in flight than may be. All have ended when this returns.
asio::awaitable<Status> EmbedJob::solve_all(std::vector<Part> parts) {
    if (parts.empty()) co_return Status{};
    if (parts.size() == 1) co_return co_await solve(std::move(parts.front()));
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    std::vector<Status> outcomes(parts.size());
    const auto bell = std::make_shared<Wake>(executor);
    const auto left = std::make_shared<std::atomic<std::size_t>>(parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
        std::function<void()> done = [bell, left] {
            if (left->fetch_sub(1) == 1) bell->wake();
        };
        asio::co_spawn(executor, solve_into(outcomes[i], std::move(parts[i]), std::move(done)), asio::detached);
    }
    while (left->load() > 0) co_await bell->wait(std::chrono::hours(1));
    for (Status& outcome : outcomes) {
        if (!outcome && outcome.error().cls != ErrorClass::cancelled) co_return std::move(outcome);
    }
    for (Status& outcome : outcomes) {
        if (!outcome) co_return std::move(outcome);
    }
    co_return Status{};
}

asio::awaitable<Status> EmbedJob::solve(Part part) {
    if (failed_) co_return cancelled("another request of the batch has failed");
    Result<Embeddings> answer = co_await call(part);
    if (answer) {
        place(part, *answer);
        co_return Status{};
    }
    Error error = std::move(answer).error();
    if (!of_content(error.cls) || gateway_.settings_.manual.contains(error.cls)) co_return error;
    if (part.size() == 1) co_return refuse(part.front(), error);
    if (error.cls == ErrorClass::content) co_return co_await isolate(std::move(part), std::move(error));
    std::vector<Part> smaller = cut(part);
    if (smaller.size() == 1) {
        const auto middle = part.begin() + static_cast<std::ptrdiff_t>(part.size() / 2);
        smaller = {Part(part.begin(), middle), Part(middle, part.end())};
    }
    co_return co_await solve_all(std::move(smaller));
}

// Halving: a half that is refused holds a culprit, and the other half is put by; a half that is answered leaves it to the other
// without asking. What was put by is asked for at the end in one request. One culprit of n costs log2(n) + 2 requests.
asio::awaitable<Status> EmbedJob::isolate(Part part, Error first) {
    Part suspects = std::move(part);
    Part put_by;
    Error refusal = std::move(first);
    bool told = false;  // `refusal` was said of the suspects alone
    while (suspects.size() > 1) {
        const auto middle = suspects.begin() + static_cast<std::ptrdiff_t>(suspects.size() / 2);
        Part half(suspects.begin(), middle);
        Part other(middle, suspects.end());
        Result<Embeddings> answer = co_await call(half);
        if (answer) {
            place(half, *answer);
            suspects = std::move(other);
            told = false;
            continue;
        }
        refusal = std::move(answer).error();
        if (!of_content(refusal.cls)) co_return refusal;
        put_by.insert(put_by.end(), other.begin(), other.end());
        suspects = std::move(half);
        told = true;
    }
    if (told) {
        if (Status s = refuse(suspects.front(), refusal); !s) co_return s;
    } else if (Status s = co_await solve(std::move(suspects)); !s) {
        co_return s;
    }
    if (put_by.empty()) co_return Status{};
    co_return co_await solve(std::move(put_by));
}

EmbedJob::ChannelPtr EmbedJob::choose(const std::set<std::string>& without) {
    std::vector<RankedProvider> ranked;
    std::vector<ChannelPtr> usable;
    for (const ChannelPtr& c : channels_) {
        if (without.contains(c->provider.name)) continue;
        ranked.push_back({c->provider.name, channels_.size() == 1 ? ProviderHealthState::usable : c->lane->health(),
                          c->provider.rank, c->provider.price_per_million_tokens});
        usable.push_back(c);
    }
    if (usable.empty()) return nullptr;
    ChannelPtr best = usable[rank_providers(ranked).front()];
    if (channels_.size() > 1) {
        bool other = false;
        {
            const Lock lock(mutex_);
            other = std::exchange(chosen_, best->provider.name) != best->provider.name;
        }
        if (other) {
            gateway_.remember(SelectionLine{gateway_.parts_.clock.now(), order_.model, best->provider.name,
                                            best->provider.name == order_.provider.name ? "" : order_.provider.name});
        }
    }
    return best;
}

asio::awaitable<Result<Embeddings>> EmbedJob::call(const Part& part) {
    std::set<std::string> without;
    std::optional<Error> last;
    std::shared_ptr<Lane> retrying;  // whose budget this attempt is on
    int attempts = 0;
    int throttles = 0;
    for (;;) {
        const ChannelPtr channel = choose(without);
        if (!channel) co_return *last;
        if (channel->provider.pool) {
            const Status same = co_await gateway_.check_canary(channel, order_.model, order_.dimensions, context_);
            if (!same) {
                if (!of_provider(same.error().cls)) co_return same.error();
                last = same.error();
                without.insert(channel->provider.name);
                continue;
            }
        }
        Result<Embeddings> answer = co_await send(channel, part);
        if (retrying) std::exchange(retrying, nullptr)->retry_ended();
        if (answer || !of_provider(answer.error().cls)) co_return answer;
        // The error of a provider that was really asked says more than that another is left alone.
        if (!last || answer.error().cls != ErrorClass::unavailable) last = answer.error();
        const ErrorClass cls = answer.error().cls;
        if (gateway_.settings_.manual.contains(cls)) co_return *last;
        if (without.size() + 1 < channels_.size()) {
            without.insert(channel->provider.name);
            continue;
        }
        if (cls == ErrorClass::throttled && answer.error().code != "Throttled" && ++throttles < kMostThrottles) {
            without.clear();  // the lane's gate decides how long to wait, and whether that is too long
            continue;
        }
        if (!worth_a_retry(cls) || attempts >= (cls == ErrorClass::bad_answer ? 1 : gateway_.settings_.retries)) co_return *last;
        const std::optional<Duration> wait = channel->lane->try_retry(attempts, gateway_.settings_.retry_base);
        if (!wait) co_return *last;
        ++attempts;
        retrying = channel->lane;
        const Status waited = co_await pause(*wait);
        if (!waited) {
            retrying->retry_ended();
            co_return waited.error();
        }
        without.clear();
    }
}

asio::awaitable<Result<Embeddings>> EmbedJob::send(ChannelPtr channel, const Part& part) {
    std::uint64_t tokens = 0;
    for (const std::size_t i : part) tokens += tokens_[i];
    Result<Lane::Permit> permit = co_await channel->lane->enter(part.size(), tokens, order_.urgent, context_);
    if (!permit) co_return permit.error();
    std::vector<std::string> copy;
    const bool whole = part.size() == texts_.size();
    if (!whole) {
        copy.reserve(part.size());
        for (const std::size_t i : part) copy.push_back(texts_[i]);
    }
    const Clock& clock = gateway_.parts_.clock;
    Result<Embeddings> answer =
        co_await gateway_.ask_embedder(channel, *permit, whole ? texts_ : copy, order_.role, order_.dimensions, context_);
    const double seconds = std::chrono::duration<double>(clock.steady_now() - permit->started).count();
    gateway_.remember(CallLine{clock.now(), channel->provider.name, order_.model, part.size(), seconds,
                               answer ? "ok" : std::string(to_string(answer.error().cls))});
    if (answer) {
        gateway_.parts_.telemetry.metrics
            .counter("homeostat_provider_tokens_total", "Tokens embedded, as billed or estimated.",
                     {{"provider", channel->provider.name}})
            .add(static_cast<double>(answer->tokens));
    }
    co_return answer;
}

asio::awaitable<Status> EmbedJob::pause(Duration length) {
    const auto bell = std::make_shared<Wake>(co_await asio::this_coro::executor);
    const std::stop_callback on_stop(context_.stop, [bell] { bell->wake(); });
    co_await bell->wait(length);
    if (context_.stop.stop_requested()) co_return cancelled("stopped while waiting to ask a provider again");
    co_return Status{};
}

void EmbedJob::place(const Part& part, const Embeddings& answer) {
    const Lock lock(mutex_);
    const std::size_t width = order_.dimensions;
    for (std::size_t i = 0; i < part.size(); ++i) {
        std::copy_n(answer.row(i), width, result_.vectors.values.begin() + static_cast<std::ptrdiff_t>(part[i] * width));
    }
    result_.vectors.tokens += answer.tokens;
    result_.vectors.model = answer.model;
    for (const std::size_t i : part) placed_[i] = true;
    any_placed_ = true;
}

Status EmbedJob::refuse(std::size_t index, const Error& error) {
    const Lock lock(mutex_);
    result_.refused.push_back({index, error});
    if (any_placed_ || result_.refused.size() < kAllRefused) return {};
    return invalid(fmt::format("provider \"{}\" refused every one of {} texts; the last: {}", order_.provider.name,
                               result_.refused.size(), error.message));
}

}  // namespace homeostat
