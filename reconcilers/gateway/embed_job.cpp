#include "reconcilers/gateway/embed_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <numeric>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/embed/limit_words.hpp"
#include "reconcilers/gateway/request_limits.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr int kMostThrottles = 20;  // of one request; then its batch is given back
constexpr int kTrials = 8;          // requests of a job that go alone

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

// One that took too long is cut instead, and an answer of another shape would be paid for again.
bool worth_a_retry(const std::vector<std::size_t>& part, const Error& e) {
    if (e.cls == ErrorClass::timeout) return part.size() == 1;
    if (e.cls == ErrorClass::bad_answer) return !breaks_contract(e) && !mixes_up(e);
    return e.cls == ErrorClass::transient || e.cls == ErrorClass::local;
}

}  // namespace

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
    const Status done = co_await solve_in_turn(std::move(all));
    const Lock lock(mutex_);
    std::sort(result_.refused.begin(), result_.refused.end(),
              [](const RefusedText& a, const RefusedText& b) { return a.index < b.index; });
    Outcome outcome{std::move(result_), std::move(placed_), spent_, std::nullopt};
    if (!done) outcome.error = done.error();
    co_return outcome;
}

// What every provider of the pool takes, so that a request may go to any of them.
RequestRoom EmbedJob::sizes() const {
    RequestRoom out;
    for (const ChannelPtr& c : channels_) {
        const std::uint32_t t = c->lane->max_texts();
        const std::uint64_t k = c->lane->max_tokens();
        out.texts = out.texts == 0 ? t : std::min(out.texts, t);
        if (k > 0) out.tokens = out.tokens == 0 ? k : std::min(out.tokens, k);
    }
    return out;
}

std::vector<EmbedJob::Part> EmbedJob::cut(const Part& part) const {
    const RequestRoom most = sizes();
    return cut_requests(part, tokens_, most.texts, most.tokens);
}

// `last`: nothing follows that it could teach how to be cut, but for what other jobs have.
bool EmbedJob::is_trial(const Part& part, bool last) const {
    std::uint64_t tokens = 0;
    for (const std::size_t i : part) tokens += tokens_[i];
    return std::any_of(channels_.begin(), channels_.end(), [&](const ChannelPtr& c) {
        return last ? c->lane->is_new_size(part.size(), tokens) : c->lane->is_trial(part.size(), tokens);
    });
}

// What a request of a size that was never answered tells, of limits or of the time it takes, cuts those that follow.
asio::awaitable<Status> EmbedJob::solve_in_turn(Part all) {
    std::vector<Part> parts = cut(all);
    const auto trial = [&] { return !parts.empty() && is_trial(parts.front(), parts.size() == 1); };
    for (int i = 0; i < kTrials && trial(); ++i) {
        const std::shared_ptr<Lane> lane = channels_.front()->lane;
        co_await lane->take_turn(context_);
        const std::unique_ptr<Lane, void (*)(Lane*)> turn(lane.get(), [](Lane* l) { l->end_turn(); });
        parts = cut(all);  // as whoever had the turn before has taught
        if (!trial()) break;
        all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(parts.front().size()));
        if (Status s = co_await solve(std::move(parts.front())); !s) co_return s;
        parts = cut(all);
    }
    co_return co_await solve_all({}, std::move(all), Sharing::yes);
}

// Smaller requests may pass: it was too large, or took too long.
bool EmbedJob::to_be_cut(const Part& part, const Error& error) const {
    if (part.size() == 1) return false;
    if (error.cls == ErrorClass::timeout) return true;
    std::uint64_t tokens = 0;
    for (const std::size_t i : part) tokens += tokens_[i];
    return error.cls == ErrorClass::too_large && limit_in_words(error.said, tokens) != LimitOf::text;
}

asio::awaitable<Status> EmbedJob::solve(Part part) {
    if (failed_) co_return cancelled("another request of the batch has failed");
    Asked asked = co_await call(part, false);
    if (asked.answer) {
        place(part, *asked.answer);
        co_return Status{};
    }
    Error error = std::move(asked.answer).error();
    if (gateway_.settings_.manual.contains(error.cls)) co_return error;
    if (to_be_cut(part, error)) {
        // Too many of them are no fault of any; one that took too long may be.
        const Sharing sharing = error.cls == ErrorClass::too_large ? Sharing::yes : Sharing::no;
        if (cut(part).size() > 1) co_return co_await solve_all({}, std::move(part), sharing);
        const auto middle = part.begin() + static_cast<std::ptrdiff_t>(part.size() / 2);
        std::vector<Part> halves{Part(part.begin(), middle), Part(middle, part.end())};
        co_return co_await solve_all(std::move(halves));
    }
    if (!asked.channel || !may_be_a_text(error, asked.channel->lane->has_answered())) co_return error;
    Refusal refusal{std::move(error), asked.channel, asked.sent_at, asked.failed_at, {asked.failures, 0}};
    co_return co_await isolate(std::move(part), std::move(refusal));
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

asio::awaitable<EmbedJob::Asked> EmbedJob::call(const Part& part, bool once) {
    EmbedOperation operation(gateway_.parts_.telemetry, gateway_.parts_.clock, gateway_.settings_.older_names);
    for (const SpanContext& other : links_) operation.link(other);
    Asked asked = co_await call_in(operation, part, once);
    operation.end(asked.answer);
    co_return asked;
}

asio::awaitable<EmbedJob::Asked> EmbedJob::call_in(EmbedOperation& operation, const Part& part, bool once) {
    std::set<std::string> without;
    Asked asked;
    bool told = false;  // `asked` holds what a provider said
    std::shared_ptr<Lane> retrying;  // whose budget this attempt is on
    int attempts = 0;
    int throttles = 0;
    for (;;) {
        const ChannelPtr channel = choose(without);
        if (!channel) co_return asked;
        if (channel->provider.pool) {
            const Status same = co_await gateway_.check_canary(channel, order_.model, order_.dimensions, context_);
            if (!same) {
                if (!told) asked.answer = same.error();
                if (!of_provider(same.error().cls)) co_return asked;
                without.insert(channel->provider.name);
                continue;
            }
        }
        Asked sent = co_await send(operation, channel, part);
        Result<Embeddings>& answer = sent.answer;
        if (retrying) std::exchange(retrying, nullptr)->retry_ended();
        const ErrorClass cls = answer ? ErrorClass::internal : answer.error().cls;
        // The error of a provider that was really asked says more than that another is left alone.
        if (answer || !told || cls != ErrorClass::unavailable) {
            const bool same = !answer && told && asked.channel == channel && same_failure(asked.answer.error(), answer.error());
            sent.failures = same ? asked.failures + 1 : 1;
            asked = std::move(sent);
            told = told || cls != ErrorClass::unavailable;
        }
        if (asked.answer || !of_provider(cls) || gateway_.settings_.manual.contains(cls)) co_return asked;
        if (without.size() + 1 < channels_.size()) {
            without.insert(channel->provider.name);
            continue;
        }
        if (cls == ErrorClass::throttled && asked.answer.error().code != "Throttled" && ++throttles < kMostThrottles) {
            without.clear();  // the lane's gate decides how long to wait, and whether that is too long
            continue;
        }
        if (once || asked.failures > 1 || !worth_a_retry(part, asked.answer.error()) || attempts >= gateway_.settings_.retries)
            co_return asked;
        const std::optional<Duration> wait = channel->lane->try_retry(attempts, gateway_.settings_.retry_base);
        if (!wait) co_return asked;
        ++attempts;
        retrying = channel->lane;
        const Status waited = co_await pause(*wait);
        if (!waited) {
            retrying->retry_ended();
            asked.answer = waited.error();
            co_return asked;
        }
        without.clear();
    }
}

asio::awaitable<EmbedJob::Asked> EmbedJob::send(EmbedOperation& operation, ChannelPtr channel, const Part& part) {
    Asked asked;
    asked.channel = channel;
    const bool whole = part.size() == texts_.size() && part.size() > 1;
    std::vector<std::string> copy;
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;
    if (part.size() == 1) {
        copy.push_back(text_now(part.front()));
        tokens = estimate_tokens(copy.front());
        bytes = copy.front().size();
    } else {
        for (const std::size_t i : part) {
            tokens += tokens_[i];
            bytes += texts_[i].size();
        }
    }
    Result<Lane::Permit> permit = co_await channel->lane->enter(part.size(), tokens, order_.urgent, context_);
    if (!permit) {
        asked.answer = permit.error();
        co_return asked;
    }
    permit->bytes = bytes;
    if (!whole && copy.empty()) {
        copy.reserve(part.size());
        for (const std::size_t i : part) copy.push_back(texts_[i]);
    }
    const Clock& clock = gateway_.parts_.clock;
    asked.sent_at = permit->started;
    Context context = operation.request(channel->provider, order_.model, order_.dimensions, context_);
    asked.answer = co_await gateway_.ask_embedder(channel, *permit, whole ? texts_ : copy, order_.role, order_.dimensions,
                                                  std::move(context), &asked.failed_at);
    const Result<Embeddings>& answer = asked.answer;
    const double seconds = std::chrono::duration<double>(clock.steady_now() - permit->started).count();
    gateway_.remember(CallLine{clock.now(), channel->provider.name, order_.model, part.size(), seconds,
                               answer ? "ok" : std::string(to_string(answer.error().cls))});
    if (answer) {
        gateway_.parts_.telemetry.metrics
            .counter("homeostat_provider_tokens_total", "Tokens embedded, as billed or estimated.",
                     {{"provider", channel->provider.name}})
            .add(static_cast<double>(answer->tokens));
        // At once: it is paid for. What was asked for less than the whole of a text is no vector of that text.
        if (part.size() > 1 || copy.front() == texts_[part.front()])
            co_await gateway_.keep_shared(order_, whole ? texts_ : copy, *answer);
    } else if (answer.error().cls == ErrorClass::bad_answer || answer.error().cls == ErrorClass::timeout) {
        gateway_.count_wasted(channel->provider.name, tokens);
        note_wasted(tokens, channel->provider.uid);
    }
    co_return asked;
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
    spent_.used += answer.tokens;
    spent_.paid[answer.provider] += answer.tokens;
    result_.vectors.model = answer.model;
    for (const std::size_t i : part) placed_[i] = true;
}

void EmbedJob::note_wasted(std::uint64_t tokens, std::int64_t provider) {
    if (tokens == 0) return;
    const Lock lock(mutex_);
    spent_.wasted += tokens;
    spent_.paid[provider] += tokens;
}

void EmbedJob::refuse(std::size_t index, const Error& error) {
    const Lock lock(mutex_);
    result_.refused.push_back({index, error});
}

}  // namespace homeostat
