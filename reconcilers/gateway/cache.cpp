#include "reconcilers/gateway/cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

namespace homeostat {

namespace asio = boost::asio;

namespace {

// Rung at most once to any effect. Why somebody was woken is read from the state, under the lock, never from the bell.
using Bell = asio::experimental::concurrent_channel<void(boost::system::error_code)>;

void ring(Bell& bell) { bell.try_send(boost::system::error_code{}); }

// Nodes of policy, maps and lists, and the control block of the value, measured roughly.
constexpr std::size_t kEntryOverhead = 320;
constexpr auto kLongestTimer = std::chrono::hours(24 * 365);  // beyond it steady_timer's own arithmetic overflows

Error stopped(std::string_view key) {
    return cancelled(fmt::format("stopped while waiting for cache key \"{}\", which somebody else is loading", key));
}

Error too_late(std::string_view key) {
    return {.cls = ErrorClass::timeout,
            .message = fmt::format("cache key \"{}\" was not loaded by the deadline; give it longer", key),
            .origin = Origin::ours};
}

}  // namespace

struct CacheCore::Metrics {
    Counter& hits;
    Counter& misses;
    Counter& evictions;
    Counter& shared_loads;
    Gauge& bytes;
    Gauge& entries;

    Metrics(Registry& m, const Labels& labels)
        : hits(m.counter("homeostat_cache_hits_total", "Askings that a cache could answer.", labels)),
          misses(m.counter("homeostat_cache_misses_total", "Askings that a cache could not answer.", labels)),
          evictions(m.counter("homeostat_cache_evictions_total", "Entries that went for want of room or by age.", labels)),
          shared_loads(m.counter("homeostat_cache_shared_loads_total", "Askings that waited for a load of another.", labels)),
          bytes(m.gauge("homeostat_cache_bytes", "Bytes that a cache holds, with keys and bookkeeping.", labels)),
          entries(m.gauge("homeostat_cache_entries", "Entries that a cache holds.", labels)) {}
};

// One load under way. Everything in it is guarded by the cache's mutex.
struct CacheCore::Flight {
    bool landed = false;
    Value value{};
    std::optional<Error> error{};
    std::vector<std::shared_ptr<Bell>> bells{};
};

// One who waits; takes its bell down again however it leaves, so that a load rings only for those who are still there.
struct CacheCore::Waiter {
    CacheCore& core;
    const FlightPtr flight;
    const std::shared_ptr<Bell> bell;

    ~Waiter() {
        const Lock lock(core.mutex_);
        std::erase(flight->bells, bell);
    }
};

CacheCore::CacheCore(const std::string& name, CacheSettings settings, const Clock& clock, Registry& metrics)
    : clock_(clock),
      metrics_(std::make_unique<Metrics>(metrics, Labels{{"cache", name}})),
      policy_(settings.bytes, settings.ttl) {}
CacheCore::~CacheCore() = default;

CacheCore::Value CacheCore::lookup(std::string_view key) {
    const CachePolicy::Found found = policy_.ask(key, clock_.steady_now());
    const auto it = values_.find(key);
    if (found == CachePolicy::Found::held) return it->second;
    if (found == CachePolicy::Found::expired) {
        values_.erase(it);
        metrics_->evictions.add();
        show();
    }
    return nullptr;
}

void CacheCore::keep(std::string_view key, Loaded loaded) {
    const std::size_t size = loaded.bytes + 2 * key.size() + kEntryOverhead;
    values_.insert_or_assign(std::string(key), std::move(loaded.value));
    for (const std::string& gone : policy_.put(key, size, clock_.steady_now())) {
        values_.erase(gone);
        metrics_->evictions.add();
    }
    show();
}

void CacheCore::empty() {
    policy_.forget_all();
    values_.clear();
    flights_.clear();  // who waits for them is still given what they bring
    show();
}

void CacheCore::show() {
    metrics_->bytes.set(static_cast<double>(policy_.bytes()));
    metrics_->entries.set(static_cast<double>(policy_.entries()));
}

CacheCore::Value CacheCore::find(std::string_view key) {
    const Lock lock(mutex_);
    Value value = lookup(key);
    (value ? metrics_->hits : metrics_->misses).add();
    return value;
}

void CacheCore::put(std::string_view key, Loaded loaded) {
    const Lock lock(mutex_);
    keep(key, std::move(loaded));
}

void CacheCore::forget(std::string_view key) {
    const Lock lock(mutex_);
    policy_.forget(key);
    if (const auto it = values_.find(key); it != values_.end()) values_.erase(it);
    if (const auto it = flights_.find(key); it != flights_.end()) flights_.erase(it);
    show();
}

void CacheCore::forget_prefix(std::string_view prefix) {
    const Lock lock(mutex_);
    for (auto it = values_.lower_bound(prefix); it != values_.end() && it->first.starts_with(prefix); it = values_.erase(it)) {
        policy_.forget(it->first);
    }
    for (auto it = flights_.lower_bound(prefix); it != flights_.end() && it->first.starts_with(prefix);) it = flights_.erase(it);
    show();
}

void CacheCore::forget_all() {
    const Lock lock(mutex_);
    empty();
}

void CacheCore::set_version(std::uint64_t version) {
    const Lock lock(mutex_);
    if (version <= version_) return;
    version_ = version;
    empty();
}

CacheStats CacheCore::stats() const {
    const Lock lock(mutex_);
    const auto whole = [](const Counter& c) { return static_cast<std::uint64_t>(c.value()); };
    return {.hits = whole(metrics_->hits),
            .misses = whole(metrics_->misses),
            .evictions = whole(metrics_->evictions),
            .shared_loads = whole(metrics_->shared_loads),
            .bytes = policy_.bytes(),
            .entries = policy_.entries(),
            .window_share = policy_.window_share()};
}

CacheCore::Claim CacheCore::claim(const std::vector<std::string>& keys) { return claim(keys, Counting::yes); }

CacheCore::Claim CacheCore::claim(const std::vector<std::string>& keys, Counting counting) {
    Claim c(shared_from_this(), keys);
    std::unordered_map<std::string_view, std::size_t> first;
    const Lock lock(mutex_);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        c.same_as_[i] = first.emplace(c.keys_[i], i).first->second;
        if (c.same_as_[i] != i) continue;
        c.values_[i] = lookup(c.keys_[i]);
        if (counting == Counting::yes) (c.values_[i] ? metrics_->hits : metrics_->misses).add();
        if (c.values_[i]) continue;
        FlightPtr& flight = flights_[c.keys_[i]];
        const bool mine = !flight;
        if (mine) flight = std::make_shared<Flight>();
        if (!mine && counting == Counting::yes) metrics_->shared_loads.add();
        c.flights_[i] = flight;
        (mine ? c.owned_ : c.awaited_).push_back(i);
    }
    for (std::size_t i = 0; i < keys.size(); ++i) c.values_[i] = c.values_[c.same_as_[i]];
    return c;
}

void CacheCore::land(const FlightPtr& flight, std::string_view key, Loaded loaded, std::optional<Error> error) {
    std::vector<std::shared_ptr<Bell>> bells;
    {
        const Lock lock(mutex_);
        flight->landed = true;
        flight->value = loaded.value;
        flight->error = std::move(error);
        bells.swap(flight->bells);
        // It is there no longer, or another's, where the key was forgotten or the version changed while it was loaded.
        const auto it = flights_.find(key);
        if (it != flights_.end() && it->second == flight) {
            flights_.erase(it);
            if (flight->value) keep(key, std::move(loaded));
        }
    }
    for (const auto& bell : bells) ring(*bell);
}

asio::awaitable<Status> CacheCore::wait(FlightPtr flight, Context context) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const auto bell = std::make_shared<Bell>(executor, 1);
    {
        const Lock lock(mutex_);
        if (flight->landed) co_return Status{};
        flight->bells.push_back(bell);
    }
    const Waiter waiter{*this, flight, bell};
    const std::stop_callback on_stop(context.stop, [bell] { ring(*bell); });
    asio::steady_timer timer(executor);
    if (context.deadline != SteadyTime::max()) {
        const Duration left = context.deadline - std::min(context.deadline, clock_.steady_now());
        timer.expires_after(std::min<Duration>(left, kLongestTimer));
        timer.async_wait([bell](boost::system::error_code ec) {
            if (!ec) ring(*bell);
        });
    }
    boost::system::error_code ec;
    co_await bell->async_receive(asio::redirect_error(asio::use_awaitable, ec));
    const Lock lock(mutex_);
    if (flight->landed) co_return Status{};
    // An error of the channel is the cancellation of this very coroutine.
    if (ec || context.stop.stop_requested()) co_return cancelled("stopped");
    co_return Error{.cls = ErrorClass::timeout, .message = "deadline"};
}

asio::awaitable<Result<CacheCore::Value>> CacheCore::get(std::string key, Load load, Context context) {
    const auto self = shared_from_this();
    for (Counting counting = Counting::yes;; counting = Counting::no) {
        if (context.stop.stop_requested()) co_return stopped(key);
        if (clock_.steady_now() >= context.deadline) co_return too_late(key);
        const std::vector<std::string> keys{key};
        Claim c = claim(keys, counting);
        if (c.value(0)) co_return c.value(0);
        if (c.owned().empty()) {
            Result<Value> shared = co_await c.wait(0, context);
            if (!shared || *shared) co_return shared;
            continue;
        }
        Result<Loaded> loaded = co_await load();
        if (loaded) {
            c.fulfil(0, *std::move(loaded));
            co_return c.value(0);
        }
        // Where the load failed for this asker's own sake, the end of the claim lets another asker take over.
        const bool own = context.stop.stop_requested() || loaded.error().cls == ErrorClass::cancelled ||
                         clock_.steady_now() >= context.deadline;
        if (!own) c.fail(0, loaded.error());
        co_return std::move(loaded).error();
    }
}

CacheCore::Claim::Claim(std::shared_ptr<CacheCore> core, std::vector<std::string> keys)
    : core_(std::move(core)), keys_(std::move(keys)), values_(keys_.size()), flights_(keys_.size()), same_as_(keys_.size()) {}

CacheCore::Claim::~Claim() {
    if (core_) release();
}

void CacheCore::Claim::release() {
    for (const std::size_t i : owned_) {
        if (flights_[i]) core_->land(std::exchange(flights_[i], nullptr), keys_[i], {}, std::nullopt);
    }
}

void CacheCore::Claim::fulfil(std::size_t index, Loaded loaded) {
    index = same_as_[index];
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        if (same_as_[i] == index) values_[i] = loaded.value;
    }
    // Where it was given up (by wait), it is this claim's alone: another may be loading it by now.
    if (flights_[index]) core_->land(std::exchange(flights_[index], nullptr), keys_[index], std::move(loaded), std::nullopt);
}

void CacheCore::Claim::fail(std::size_t index, const Error& error) {
    index = same_as_[index];
    if (flights_[index]) core_->land(std::exchange(flights_[index], nullptr), keys_[index], {}, error);
}

asio::awaitable<Result<CacheCore::Value>> CacheCore::Claim::wait(std::size_t index, Context context) {
    release();
    const FlightPtr flight = flights_[same_as_[index]];
    if (values_[index] || !flight) co_return values_[index];
    const Status woken = co_await core_->wait(flight, context);
    if (!woken) co_return woken.error().cls == ErrorClass::cancelled ? stopped(keys_[index]) : too_late(keys_[index]);
    const Lock lock(core_->mutex_);
    if (flight->error) co_return *flight->error;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        if (same_as_[i] == same_as_[index]) values_[i] = flight->value;
    }
    co_return values_[index];
}

}  // namespace homeostat
