#include "reconcilers/gateway/gateway.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/hash.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/gateway/blame.hpp"
#include "reconcilers/gateway/embed_job.hpp"
#include "reconcilers/gateway/on.hpp"
#include "reconcilers/gateway/quotes.hpp"
#include "reconcilers/gateway/remainders.hpp"
#include "reconcilers/gateway/same_answers.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

// What every provider of a pool must make the same vector of. Never changed: stored canaries are compared with it.
constexpr const char* kCanaryText = "The quick brown fox jumps over the lazy dog; homeostat compares what it becomes.";
constexpr Duration kCanaryLife = std::chrono::hours(24);
constexpr Duration kCanaryPause = std::chrono::minutes(30);

double cosine_distance(const std::vector<float>& a, const std::vector<float>& b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return aa == 0 || bb == 0 ? 2 : 1 - dot / std::sqrt(aa * bb);
}

std::string key_of(std::string_view provider, std::string_view model, std::uint32_t dimensions) {
    return fmt::format("{}\n{}\n{}", provider, model, dimensions);
}

// Of everything that decides a vector: whose, which model, how wide, for what, and the text itself. And of which epoch: after one
// has ended nothing that was kept in it is to be used again by that pipeline, and what is under way may be kept still.
std::string cache_key(const EmbedOrder& order, const std::string& text) {
    const std::string epoch = order.cache_epoch == 0 ? "" : fmt::format("\n{} {}", order.pipeline, order.cache_epoch);
    return fmt::format("{}\n{}\n{}\n{}\n{}{}",
                       order.provider.pool ? "pool " + *order.provider.pool : declaration_key(declaration(order.provider)),
                       order.model, order.dimensions, order.role == TextRole::query ? 'q' : 'd', chunk_hash(text), epoch);
}

// The answer while it is put together from the cache, from our own requests and from others'.
struct Filling {
    Filling(const EmbedOrder& order, std::size_t texts) {
        embedded.vectors.dimensions = order.dimensions;
        embedded.vectors.model = order.model;
        embedded.vectors.values.resize(texts * order.dimensions);
    }
    void place(std::size_t i, const PackedVector& v) {
        v.copy_to(
            std::span<float>(embedded.vectors.values).subspan(i * embedded.vectors.dimensions, embedded.vectors.dimensions));
    }
    void refuse(std::size_t i, const Error& error) { no.emplace(i, error); }
    bool refused(std::size_t i) const { return no.contains(i); }
    Embedded take() && {
        for (auto& [i, error] : no) embedded.refused.push_back({i, std::move(error)});
        return std::move(embedded);
    }

    Embedded embedded;
    std::map<std::size_t, Error> no;
};

BreakerSettings breaker_of(const ProviderSpec& provider, BreakerSettings settings) {
    if (provider.breaker_failures) settings.consecutive = static_cast<int>(*provider.breaker_failures);
    if (provider.breaker_share) settings.failure_share = *provider.breaker_share;
    if (provider.breaker_pause) settings.open_base = *provider.breaker_pause;
    if (provider.breaker_pause_cap) settings.open_cap = *provider.breaker_pause_cap;
    // One of them is declared and the other is not.
    if (provider.breaker_pause_cap) settings.open_base = std::min(settings.open_base, settings.open_cap);
    settings.open_cap = std::max(settings.open_cap, settings.open_base);
    return settings;
}

std::string good_text(const Lane& lane) {
    std::string text = lane.good_text();
    return text.empty() ? std::string(kCanaryText) : text;
}

void add_spending(const EmbedOrder& order, const Spending& spent) {
    if (order.spent == nullptr) return;
    order.spent->used += spent.used;
    order.spent->wasted += spent.wasted;
    for (const auto& [provider, tokens] : spent.paid) order.spent->paid[provider] += tokens;
}

// Before any of them is asked for.
asio::awaitable<Status> reserve(const EmbedOrder& order, const std::vector<std::string>& texts) {
    if (!order.reserve || texts.empty()) co_return Status{};
    std::uint64_t tokens = 0;
    for (const std::string& text : texts) tokens += estimate_tokens(text);
    co_return co_await order.reserve(tokens);
}

template <class T>
void keep(std::deque<T>& ring, T line, std::size_t most) {
    ring.push_back(std::move(line));
    while (ring.size() > most) ring.pop_front();
}

}  // namespace

Gateway::Gateway(GatewayParts parts, GatewaySettings settings)
    : parts_(std::move(parts)),
      settings_(std::move(settings)),
      cache_(
          "embeddings", settings_.cache, [](const PackedVector& v) { return v.bytes(); }, parts_.clock, parts_.telemetry.metrics),
      shared_(settings_.shared, parts_.pool, parts_.db, parts_.clock, parts_.telemetry.metrics),
      canaries_(
          "canaries", {1 << 20, kCanaryLife}, [](const bool&) { return sizeof(bool); }, parts_.clock, parts_.telemetry.metrics) {}
Gateway::~Gateway() = default;

Gateway::ChannelPtr Gateway::find(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) const {
    const Lock lock(mutex_);
    const auto it = channels_.find(key_of(provider.name, model, dimensions));
    if (it == channels_.end() || declaration(it->second->provider) != declaration(provider)) return nullptr;
    return it->second;
}

// Blocks: a model may have to be read, and what other replicas know is asked for. Of two made at once the first stored is used.
Result<Gateway::ChannelPtr> Gateway::make(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) {
    {
        const Lock lock(mutex_);
        if (outdated(provider)) return declared_anew(provider.name);
    }
    Result<std::shared_ptr<Embedder>> embedder = parts_.make(provider, model, dimensions);
    if (!embedder) return embedder.error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    const std::string key = key_of(provider.name, model, dimensions);
    ProviderSpec taken = provider;
    const EmbedderLimits limits = (*embedder)->limits();
    taken.max_batch = limits.max_batch;
    taken.max_in_flight = limits.max_in_flight;
    auto channel = std::make_shared<Channel>();
    channel->lane =
        std::make_shared<Lane>(taken, model, parts_.clock, parts_.telemetry, settings_.seed ^ std::hash<std::string>{}(key),
                               breaker_of(provider, settings_.breaker));
    channel->provider = provider;
    channel->dimensions = dimensions;
    channel->embedder = *std::move(embedder);
    if (provider.kind != "local" && provider.kind != "hashing") {
        channel->remainders = std::make_shared<Remainders>();
        // What runs in this process has no cache before it, and may rightly have one vector for what has no words.
        channel->answers = std::make_shared<SameAnswers>();
    }
    if (parts_.pool != nullptr) {
        Result<Pool::Lease> session = parts_.pool->acquire(Context{});
        if (session) {
            const auto record = read_provider_record(**session, provider.uid, model);
            if (record && *record) {
                channel->lane->restore(**record);
                if ((*record)->generation == provider.generation) channel->embedder->ask_for((*record)->encoding);
            }
            auto name = settle_name(**session, declaration(provider), model, "");
            if (name && *name) channel->embedder->call_it(**std::move(name));
            // What another process, or this one before it was started again, found closed is tried once.
            channel->lane->allow_probe();
        }
    }
    const Lock lock(mutex_);
    if (outdated(provider)) return declared_anew(provider.name);
    channel->lane->set_members(members_);
    supersede(declaration(provider));
    ChannelPtr& slot = channels_[key];
    if (!slot) slot = std::move(channel);
    return slot;
}

asio::awaitable<Result<Gateway::ChannelPtr>> Gateway::channel(const ProviderSpec& provider, const std::string& model,
                                                              std::uint32_t dimensions) {
    if (ChannelPtr known = find(provider, model, dimensions)) co_return known;
    co_return co_await on(parts_.db, [&] { return make(provider, model, dimensions); });
}

asio::awaitable<Result<Embedded>> Gateway::embed(EmbedOrder order, const std::vector<std::string>& texts, Context context) {
    std::vector<ChannelPtr> channels;
    std::optional<Error> unmade;
    Result<ChannelPtr> declared = co_await channel(order.provider, order.model, order.dimensions);
    if (declared) {
        channels.push_back(*declared);
    } else {
        unmade = declared.error();
    }
    for (const ProviderSpec& peer : order.peers) {
        if (!serves(peer, order.provider, order.model, order.dimensions)) continue;
        Result<ChannelPtr> made = co_await channel(peer, order.model, order.dimensions);
        if (made) channels.push_back(*made);
    }
    if (channels.empty()) co_return *unmade;
    const bool dear = order.provider.kind != "hashing";  // what costs less than looking it up is not kept
    if (dear && !order.fresh && (settings_.cache.bytes > 0 || shared_.enabled()))
        co_return co_await ask_cached(order, channels, texts, std::move(context));
    const Status reserved = co_await reserve(order, texts);
    if (!reserved) co_return reserved.error();
    EmbedJob job(*this, channels, order, texts, std::move(context));
    EmbedJob::Outcome outcome = co_await job.run();
    add_spending(order, outcome.spent);
    if (outcome.error) co_return *std::move(outcome.error);
    co_return std::move(outcome.embedded);
}

// What is known is taken, what nobody loads is loaded, and only then is what others load waited for: so two batches that share
// texts cannot wait for each other. A load of another's that came to nothing is asked for again.
asio::awaitable<Result<Embedded>> Gateway::ask_cached(const EmbedOrder& order, const std::vector<ChannelPtr>& channels,
                                                      const std::vector<std::string>& texts, Context context) {
    Filling all(order, texts.size());
    std::vector<std::size_t> open(texts.size());
    std::iota(open.begin(), open.end(), std::size_t{0});
    while (!open.empty()) {
        std::vector<std::string> keys;
        keys.reserve(open.size());
        for (const std::size_t i : open) keys.push_back(cache_key(order, texts[i]));
        auto claim = cache_.claim(keys);
        CacheUse& use = *channels.front()->cached;
        std::uint64_t saved = 0;
        for (std::size_t k = 0; k < open.size(); ++k) {
            if (!claim.value(k)) continue;
            ++use.found;
            saved += estimate_tokens(texts[open[k]]);
        }
        note_saved(order, "embeddings", saved);
        std::vector<std::size_t> owned = claim.owned();
        saved += co_await take_shared(order, texts, open, claim, owned, context);
        use.looked_up += open.size();
        use.found += claim.owned().size() - owned.size();
        use.tokens += saved;
        std::vector<std::string> mine;
        for (const std::size_t k : owned) mine.push_back(texts[open[k]]);
        if (!mine.empty()) {
            const Status reserved = co_await reserve(order, mine);
            if (!reserved) co_return reserved.error();
            EmbedJob job(*this, channels, order, mine, context);
            const EmbedJob::Outcome loaded = co_await job.run();
            add_spending(order, loaded.spent);
            all.embedded.vectors.tokens += loaded.embedded.vectors.tokens;
            for (const RefusedText& r : loaded.embedded.refused) {
                claim.fail(owned[r.index], r.error);
                all.refuse(open[owned[r.index]], r.error);
            }
            for (std::size_t j = 0; j < mine.size(); ++j) {
                if (!loaded.placed[j]) continue;
                const std::span<const float> row(loaded.embedded.vectors.row(j), order.dimensions);
                claim.fulfil(owned[j], PackedVector(row, settings_.compress_above));
            }
            if (loaded.error) co_return *loaded.error;
        }
        for (const std::size_t k : claim.awaited()) {
            Result<Cache<PackedVector>::Value> theirs = co_await claim.wait(k, context);
            if (theirs) continue;
            if (!of_content(theirs.error().cls)) co_return std::move(theirs).error();
            all.refuse(open[k], theirs.error());
        }
        std::vector<std::size_t> again;
        for (std::size_t k = 0; k < open.size(); ++k) {
            if (const auto value = claim.value(k)) {
                all.place(open[k], *value);
            } else if (!all.refused(open[k])) {
                again.push_back(open[k]);
            }
        }
        open = std::move(again);
    }
    co_return std::move(all).take();
}

// Of a pool only: does this provider make of the canary what the pool's first one made of it? Asked once a day and declaration.
asio::awaitable<Status> Gateway::check_canary(ChannelPtr channel, std::string model, std::uint32_t dimensions, Context context) {
    std::string key = key_of(declaration_key(declaration(channel->provider)), model, dimensions);
    if (canaries_.find(key)) co_return Status{};
    std::function<asio::awaitable<Result<bool>>()> load = [this, channel, model, dimensions, context] {
        return ask_canary(channel, model, dimensions, context);
    };
    const Result<Cache<bool>::Value> agrees = co_await canaries_.get(std::move(key), std::move(load), std::move(context));
    if (!agrees) co_return agrees.error();
    co_return Status{};
}

// The request itself. However it ends, the lane is told and the permit is given back.
asio::awaitable<Result<Embeddings>> Gateway::ask_embedder(ChannelPtr channel, Lane::Permit permit,
                                                          const std::vector<std::string>& texts, TextRole role,
                                                          std::uint32_t dimensions, Context context, SteadyTime* answered) {
    context.deadline = std::min(context.deadline, parts_.clock.steady_now() + Duration(channel->provider.timeout));
    Result<Embeddings> answer = internal_error("the provider's answer got lost");
    try {
        Result<Embeddings> got = co_await channel->embedder->embed(texts, role, context);
        Status valid = got ? validate_embeddings(*got, texts.size(), dimensions) : Status{};
        if (got && valid && channel->answers && role == TextRole::document) valid = channel->answers->look(texts, *got);
        answer = valid ? std::move(got) : Result<Embeddings>(valid.error());
        if (answer) answer->provider = channel->provider.uid;
        if (answer) answer->tokens = believable_tokens(answer->tokens, texts);
    } catch (const std::exception& e) {
        answer = internal_error(e.what());
    }
    if (answered != nullptr) *answered = parts_.clock.steady_now();
    const std::optional<Error> failed = answer ? std::nullopt : std::optional(without_quotes(answer.error(), texts));
    const bool doubted = channel->lane->leave(permit, failed ? &*failed : nullptr, answer ? answer->tokens : 0);
    if (answer && role == TextRole::document && !texts.empty()) channel->lane->keep_good(texts.front());
    if (doubted) {
        std::string good = good_text(*channel->lane);
        const Lane::Permit proof = channel->lane->begin_proof(estimate_tokens(good));
        [[maybe_unused]] const Status told =
            co_await send_proof(std::move(channel), proof, std::move(good), dimensions, std::move(context));
    }
    co_return answer;
}

asio::awaitable<Status> Gateway::send_proof(ChannelPtr channel, Lane::Permit permit, std::string text, std::uint32_t dimensions,
                                            Context context, std::uint64_t* wasted) {
    permit.proof = true;
    const std::vector<std::string> texts{std::move(text)};
    const Result<Embeddings> answer =
        co_await ask_embedder(channel, permit, texts, TextRole::document, dimensions, std::move(context));
    if (!answer) co_return without_quotes(answer.error(), texts);  // told of whom it is proved for, who has not sent it
    count_wasted(channel->provider.name, answer->tokens);
    if (wasted != nullptr) *wasted += answer->tokens;
    co_return Status{};
}

void Gateway::count_wasted(const std::string& provider, std::uint64_t tokens) {
    parts_.telemetry.metrics
        .counter("homeostat_provider_wasted_tokens_total",
                 "Tokens of requests that were worked on and whose answers were not used.", {{"provider", provider}})
        .add(static_cast<double>(tokens));
}

asio::awaitable<Status> Gateway::prove(ChannelPtr channel, std::uint32_t dimensions, Context context, std::uint64_t* wasted) {
    std::string good = good_text(*channel->lane);
    const Result<Lane::Permit> permit = co_await channel->lane->enter(1, estimate_tokens(good), true, context);
    if (!permit) co_return permit.error();
    co_return co_await send_proof(std::move(channel), *permit, std::move(good), dimensions, std::move(context), wasted);
}

asio::awaitable<Result<bool>> Gateway::ask_canary(ChannelPtr channel, std::string model, std::uint32_t dimensions,
                                                  Context context) {
    const std::vector<std::string> texts{kCanaryText};
    Result<Lane::Permit> permit = co_await channel->lane->enter(1, estimate_tokens(kCanaryText), true, context);
    if (!permit) co_return permit.error();
    Result<Embeddings> answer = co_await ask_embedder(channel, *permit, texts, TextRole::document, dimensions, context);
    if (!answer) co_return answer.error();
    Canary ours{std::move(answer->values), channel->provider.name};
    const Result<Canary> agreed =
        co_await on(parts_.db, [&] { return settle(*channel->provider.pool, model, dimensions, ours); });
    if (!agreed) co_return agreed.error();
    const double distance = cosine_distance(ours.embedding, agreed->embedding);
    if (!(distance <= channel->provider.canary_tolerance)) {
        Error e{.cls = ErrorClass::unavailable, .message = {}, .origin = Origin::theirs, .code = "CanaryDisagrees"};
        e.message = fmt::format(
            "provider \"{}\" says it serves model \"{}\", but its vector of the canary text is {:.3f} away from that of provider "
            "\"{}\" (canary_tolerance {}); it is not used; correct its model, or take it out of pool \"{}\"",
            channel->provider.name, model, distance, agreed->provider, channel->provider.canary_tolerance,
            *channel->provider.pool);
        channel->lane->eject(e, kCanaryPause);
        co_await forget_vectors_of(channel->provider);
        co_return e;
    }
    co_return true;
}

// The first one's, kept for all replicas, or for this process where there is nobody to share with.
Result<Canary> Gateway::settle(const std::string& pool, const std::string& model, std::uint32_t dimensions, const Canary& ours) {
    if (parts_.pool == nullptr) {
        const Lock lock(mutex_);
        return references_.try_emplace(key_of(pool, model, dimensions), ours).first->second;
    }
    Result<Pool::Lease> session = parts_.pool->acquire(Context{});
    if (!session) return session.error();
    return settle_canary(**session, pool, model, dimensions, ours);
}

void Gateway::remember(CallLine line) {
    const Lock lock(mutex_);
    keep(calls_, std::move(line), settings_.ring);
}

void Gateway::remember(SelectionLine line) {
    const Lock lock(mutex_);
    keep(selections_, std::move(line), settings_.ring);
}

}  // namespace homeostat
