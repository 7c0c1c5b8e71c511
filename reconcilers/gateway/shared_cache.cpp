#include "reconcilers/gateway/shared_cache.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <boost/asio/this_coro.hpp>
#include <cmath>
#include <cstring>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/hash.hpp"
#include "reconcilers/gateway/on.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr Duration kLeftAlone = std::chrono::seconds(30);
constexpr Duration kTended = std::chrono::minutes(10);
constexpr std::uint64_t kMostAdded = 16 << 20;  // bytes that come before room is made
constexpr int kSlices = 64;
constexpr int kFewSlices = 8;
constexpr int kMostTogether = 16;  // batches that one statement looks for

static_assert(std::endian::native == std::endian::little, "kept floats have their lowest byte first");

std::string packed(const float* row, std::uint32_t dimensions) {
    std::string out(dimensions * sizeof(float), '\0');
    std::memcpy(out.data(), row, out.size());
    return out;
}

std::string seal_of(const VectorScope& scope, std::string_view text_hash, std::string_view embedding) {
    std::string all = scope.identity;
    all += '\n';
    all += text_hash;
    all += embedding;
    return chunk_hash(all);
}

// Nothing where it is not what was kept.
std::vector<float> unpacked(const VectorScope& scope, std::string_view text_hash, const FoundVector& found) {
    if (found.embedding.size() != scope.dimensions * sizeof(float) || found.seal != seal_of(scope, text_hash, found.embedding))
        return {};
    std::vector<float> values(scope.dimensions);
    std::memcpy(values.data(), found.embedding.data(), found.embedding.size());
    const bool sound = std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
    return sound ? values : std::vector<float>();
}

}  // namespace

struct SharedCache::Metrics {
    Counter& hits;
    Counter& misses;
    Counter& evictions;
    Counter& unfit;
    Counter& failures;
    Counter& lookups;

    Metrics(Registry& m, const Labels& labels)
        : hits(m.counter("homeostat_cache_hits_total", "Askings that a cache could answer.", labels)),
          misses(m.counter("homeostat_cache_misses_total", "Askings that a cache could not answer.", labels)),
          evictions(m.counter("homeostat_cache_evictions_total", "Entries that went for want of room or by age.", labels)),
          unfit(m.counter("homeostat_cache_unfit_total", "Entries that did not fit their seal and were not used.", labels)),
          failures(m.counter("homeostat_cache_failures_total", "Times that the table of a cache could not be used.", labels)),
          lookups(m.counter("homeostat_cache_lookups_total", "Statements that looked into the table of a cache.", labels)) {}
};

// What one batch looks for. It waits until it is to look for others too, or another has looked.
struct SharedCache::Lookup {
    Lookup(const asio::any_io_executor& executor, Context stops)
        : context(std::move(stops)), bell(std::make_shared<Wake>(executor)) {}

    // Whom it looks for besides itself; absent where another has looked.
    asio::awaitable<std::optional<std::vector<LookupPtr>>> wait() {
        for (;;) {
            {
                const Lock lock(mutex);
                if (ended) co_return std::exchange(others, std::nullopt);
            }
            co_await bell->wait(std::chrono::hours(1));
        }
    }
    void end(std::optional<std::vector<LookupPtr>> led) {
        {
            const Lock lock(mutex);
            ended = true;
            others = std::move(led);
        }
        bell->wake();
    }

    const Context context;
    const std::shared_ptr<Wake> bell;
    std::vector<std::string> hashes;
    std::vector<FoundVector> found;  // by whoever leads, before it ends
    std::optional<Error> error;
    Mutex mutex;
    bool ended GUARDED_BY(mutex) = false;
    std::optional<std::vector<LookupPtr>> others GUARDED_BY(mutex);
};

SharedCache::SharedCache(SharedCacheSettings settings, Pool* pool, asio::any_io_executor db, const Clock& clock,
                         Registry& metrics)
    : settings_(settings),
      pool_(pool),
      db_(std::move(db)),
      clock_(clock),
      metrics_(std::make_unique<Metrics>(metrics, Labels{{"cache", "shared"}})),
      tended_at_(clock.steady_now().time_since_epoch().count()) {}
SharedCache::~SharedCache() = default;

SharedCache::Stats SharedCache::stats() const {
    const auto whole = [](const Counter& c) { return static_cast<std::uint64_t>(c.value()); };
    return {whole(metrics_->hits), whole(metrics_->misses), whole(metrics_->evictions), whole(metrics_->lookups)};
}

bool SharedCache::usable() const noexcept {
    return enabled() && clock_.steady_now().time_since_epoch().count() >= left_alone_until_.load();
}

// Told once a while: many batches may have met it at the same time.
void SharedCache::failed(std::string_view what, const Error& error) {
    metrics_->failures.add();
    const SteadyTime now = clock_.steady_now();
    const SteadyTime::rep before = left_alone_until_.exchange((now + kLeftAlone).time_since_epoch().count());
    if (before > now.time_since_epoch().count()) return;
    spdlog::warn("the shared cache of vectors (homeostat.kept_vector) cannot be {}: {}; providers are asked without it for {} s",
                 what, error.message, std::chrono::duration_cast<std::chrono::seconds>(kLeftAlone).count());
}

// False where it waits for the statement that is under way.
bool SharedCache::begin(const std::string& key, const LookupPtr& mine) {
    const Lock lock(mutex_);
    const auto [it, first] = waiting_.try_emplace(key);
    if (!first) it->second.push_back(mine);
    return first;
}

// A statement has ended: the next is for all who have come meanwhile, by the first of them.
void SharedCache::hand_over(const std::string& key) {
    std::vector<LookupPtr> next;
    {
        const Lock lock(mutex_);
        const auto it = waiting_.find(key);
        if (it->second.size() > kMostTogether) {
            next.assign(it->second.begin(), it->second.begin() + kMostTogether);
            it->second.erase(it->second.begin(), it->second.begin() + kMostTogether);
        } else {
            next = std::exchange(it->second, {});
        }
        if (next.empty()) waiting_.erase(it);
    }
    if (next.empty()) return;
    next.front()->end(std::vector<LookupPtr>(next.begin() + 1, next.end()));
}

// By one statement with those of others; who leads goes on where it was stopped meanwhile, because others wait for it.
asio::awaitable<void> SharedCache::look_up(const VectorScope& scope, const LookupPtr& mine) {
    const std::string key = std::to_string(scope.pipeline) + "\n" + scope.identity;
    std::vector<LookupPtr> together{mine};
    if (!begin(key, mine)) {
        const std::optional<std::vector<LookupPtr>> others = co_await mine->wait();
        if (!others) co_return;
        together.insert(together.end(), others->begin(), others->end());
    }
    std::vector<std::string> hashes;
    for (const LookupPtr& l : together) hashes.insert(hashes.end(), l->hashes.begin(), l->hashes.end());
    Result<std::vector<FoundVector>> found = internal_error("nothing was looked up");
    try {
        found = co_await on(db_, [&]() -> Result<std::vector<FoundVector>> {
            Result<Pool::Lease> session = pool_->acquire(together.size() == 1 ? mine->context : Context{});
            if (!session) return session.error();
            metrics_->lookups.add();
            return find_kept_vectors(**session, scope, hashes);
        });
    } catch (const std::exception& e) {
        found = internal_error(e.what());
    }
    hand_over(key);
    std::vector<std::size_t> ends;
    for (const LookupPtr& l : together) ends.push_back((ends.empty() ? 0 : ends.back()) + l->hashes.size());
    if (found) {
        for (FoundVector& f : *found) {
            const auto at = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), f.index) - ends.begin());
            f.index -= at == 0 ? 0 : ends[at - 1];
            together[at]->found.push_back(std::move(f));
        }
    } else {
        for (const LookupPtr& l : together) l->error = found.error();
    }
    for (const LookupPtr& l : together) {
        if (l != mine) l->end(std::nullopt);
    }
}

asio::awaitable<SharedCache::Found> SharedCache::find(VectorScope scope, const std::vector<std::string>& texts,
                                                      const Context& context) {
    Found out;
    if (!usable() || texts.empty()) co_return out;
    const auto mine = std::make_shared<Lookup>(co_await asio::this_coro::executor, context);
    mine->hashes.reserve(texts.size());
    for (const std::string& text : texts) mine->hashes.push_back(chunk_hash(text));
    co_await look_up(scope, mine);
    if (mine->error) {
        if (mine->error->cls != ErrorClass::cancelled) failed("read", *mine->error);
        co_return out;
    }
    for (const FoundVector& f : mine->found) {
        std::vector<float> values = unpacked(scope, mine->hashes[f.index], f);
        if (values.empty()) {
            metrics_->unfit.add();
        } else {
            out.emplace_back(f.index, std::move(values));
        }
    }
    metrics_->hits.add(static_cast<double>(out.size()));
    metrics_->misses.add(static_cast<double>(texts.size() - out.size()));
    co_return out;
}

// Whoever was stopped meanwhile has paid all the same.
asio::awaitable<void> SharedCache::keep(VectorScope scope, const std::vector<std::string>& texts, const Embeddings& answer) {
    if (!usable() || texts.empty() || answer.dimensions != scope.dimensions || answer.count() != texts.size()) co_return;
    std::vector<KeptVector> vectors;
    vectors.reserve(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        KeptVector v{chunk_hash(texts[i]), packed(answer.row(i), scope.dimensions), ""};
        v.seal = seal_of(scope, v.text_hash, v.embedding);
        vectors.push_back(std::move(v));
    }
    const Status kept = co_await on(db_, [&]() -> Status {
        Result<Pool::Lease> session = pool_->acquire(Context{});
        if (!session) return session.error();
        const Result<std::uint64_t> bytes = keep_vectors(**session, scope, vectors);
        if (!bytes) return bytes.error();
        if (added_.fetch_add(*bytes) + *bytes >= std::min(settings_.bytes / 64, kMostAdded)) trim(**session, kSlices);
        return {};
    });
    if (!kept) failed("written", kept.error());
}

asio::awaitable<void> SharedCache::forget(std::int64_t provider) {
    if (!enabled()) co_return;
    const Status forgotten = co_await on(db_, [&]() -> Status {
        Result<Pool::Lease> session = pool_->acquire(Context{});
        if (!session) return session.error();
        return forget_vectors_of(**session, provider);
    });
    if (!forgotten) failed("made to forget a provider", forgotten.error());
}

void SharedCache::trim(Session& session, int slices) {
    added_ = 0;
    tended_at_ = clock_.steady_now().time_since_epoch().count();
    const Result<std::uint64_t> gone = trim_kept_vectors(session, {settings_.bytes, settings_.unused, slices});
    if (gone) {
        metrics_->evictions.add(static_cast<double>(*gone));
    } else {
        spdlog::debug("no room was made in the shared cache of vectors: {}", gone.error().message);
    }
}

void SharedCache::tend(Session& session) {
    if (!usable() || clock_.steady_now().time_since_epoch().count() - tended_at_.load() < kTended.count()) return;
    trim(session, kFewSlices);
}

}  // namespace homeostat
