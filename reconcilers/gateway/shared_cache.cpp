#include "reconcilers/gateway/shared_cache.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/hash.hpp"
#include "reconcilers/gateway/on.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr Duration kLeftAlone = std::chrono::seconds(30);
constexpr Duration kTended = std::chrono::minutes(10);
constexpr std::uint64_t kMostAdded = 16 << 20;  // bytes that come before room is made
constexpr int kSlices = 64;
constexpr int kFewSlices = 8;

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

    Metrics(Registry& m, const Labels& labels)
        : hits(m.counter("homeostat_cache_hits_total", "Askings that a cache could answer.", labels)),
          misses(m.counter("homeostat_cache_misses_total", "Askings that a cache could not answer.", labels)),
          evictions(m.counter("homeostat_cache_evictions_total", "Entries that went for want of room or by age.", labels)),
          unfit(m.counter("homeostat_cache_unfit_total", "Entries that did not fit their seal and were not used.", labels)),
          failures(m.counter("homeostat_cache_failures_total", "Times that the table of a cache could not be used.", labels)) {}
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
    return {whole(metrics_->hits), whole(metrics_->misses), whole(metrics_->evictions)};
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

asio::awaitable<SharedCache::Found> SharedCache::find(VectorScope scope, const std::vector<std::string>& texts,
                                                      const Context& context) {
    Found out;
    if (!usable() || texts.empty()) co_return out;
    std::vector<std::string> hashes;
    hashes.reserve(texts.size());
    for (const std::string& text : texts) hashes.push_back(chunk_hash(text));
    const Result<std::vector<FoundVector>> found = co_await on(db_, [&]() -> Result<std::vector<FoundVector>> {
        Result<Pool::Lease> session = pool_->acquire(context);
        if (!session) return session.error();
        return find_kept_vectors(**session, scope, hashes);
    });
    if (!found) {
        if (found.error().cls != ErrorClass::cancelled) failed("read", found.error());
        co_return out;
    }
    for (const FoundVector& f : *found) {
        std::vector<float> values = unpacked(scope, hashes[f.index], f);
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
