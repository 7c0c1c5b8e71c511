// A cache in memory: bounded in bytes, with a time to live, adaptive (cache_policy.hpp), and one load shared by all who ask for
// the same missing key at the same time. Invalidated by version: what was loaded under an older one is handed to those who asked
// for it and not kept.
//
// Safe from any thread. Who waits for a load suspends; nobody blocks. Waiting obeys the asker's own stop and deadline and hurts
// nobody else. One lock (Cache in core/sync.hpp), never held across a load. `Clock` and `Registry` outlive it; claims may not.
//
// Claims of many keys cannot deadlock: a batch loads what it owns BEFORE it waits for what others own, and wait() gives up, for
// others to load, what its claim still owns. A load must not ask the same cache for a key whose load may ask for its own.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/context.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "reconcilers/gateway/cache_policy.hpp"

namespace homeostat {

struct CacheSettings {
    std::size_t bytes = 0;          // keys and bookkeeping count; 0 keeps nothing, and loads are still shared
    Duration ttl = Duration::zero();  // zero: until it is evicted
};

struct CacheStats {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t evictions = 0;      // for want of room or by age
    std::uint64_t shared_loads = 0;   // askers who were given somebody else's load to wait for
    std::size_t bytes = 0;
    std::size_t entries = 0;
    double window_share = 0;          // of the bytes, for what is new
};

// The cache without the type of its values; use Cache<V>.
class CacheCore : public std::enable_shared_from_this<CacheCore> {
public:
    using Value = std::shared_ptr<const void>;
    struct Loaded {
        Value value;
        std::size_t bytes = 0;
    };
    using Load = std::function<boost::asio::awaitable<Result<Loaded>>()>;
    class Claim;

    CacheCore(const std::string& name, CacheSettings settings, const Clock& clock, Registry& metrics);
    ~CacheCore();

    Value find(std::string_view key) EXCLUDES(mutex_);
    void put(std::string_view key, Loaded loaded) EXCLUDES(mutex_);
    void forget(std::string_view key) EXCLUDES(mutex_);
    void forget_prefix(std::string_view prefix) EXCLUDES(mutex_);
    void forget_all() EXCLUDES(mutex_);
    void set_version(std::uint64_t version) EXCLUDES(mutex_);
    CacheStats stats() const EXCLUDES(mutex_);
    boost::asio::awaitable<Result<Value>> get(std::string key, Load load, Context context);
    Claim claim(const std::vector<std::string>& keys) EXCLUDES(mutex_);

private:
    struct Flight;
    struct Waiter;
    struct Metrics;
    using FlightPtr = std::shared_ptr<Flight>;
    enum class Counting : std::uint8_t { yes, no };

    Claim claim(const std::vector<std::string>& keys, Counting counting) EXCLUDES(mutex_);
    Value lookup(std::string_view key) REQUIRES(mutex_);
    void keep(std::string_view key, Loaded loaded) REQUIRES(mutex_);
    void empty() REQUIRES(mutex_);
    void show() REQUIRES(mutex_);
    // Ends a load, for good or (with neither value nor error) to be begun again by whoever asks next.
    void land(const FlightPtr& flight, std::string_view key, Loaded loaded, std::optional<Error> error) EXCLUDES(mutex_);
    boost::asio::awaitable<Status> wait(FlightPtr flight, Context context);

    const Clock& clock_;
    const std::unique_ptr<Metrics> metrics_;
    mutable Mutex mutex_;
    CachePolicy policy_ GUARDED_BY(mutex_);
    std::map<std::string, Value, std::less<>> values_ GUARDED_BY(mutex_);
    std::map<std::string, FlightPtr, std::less<>> flights_ GUARDED_BY(mutex_);  // the loads under way of this version
    std::uint64_t version_ GUARDED_BY(mutex_) = 0;
};

// What one batch was given of many keys: some values, some keys to load, some to wait for. Belongs to one coroutine at a time.
// Destroyed with owned keys that were not loaded, it lets those who wait for them ask again, and one of them then owns them.
class CacheCore::Claim {
public:
    Claim(Claim&&) noexcept = default;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

    const Value& value(std::size_t index) const { return values_[index]; }
    const std::vector<std::size_t>& owned() const noexcept { return owned_; }      // as claimed; a key given twice only once
    const std::vector<std::size_t>& awaited() const noexcept { return awaited_; }  // as claimed
    void fulfil(std::size_t index, Loaded loaded);
    void fail(std::size_t index, const Error& error);
    boost::asio::awaitable<Result<Value>> wait(std::size_t index, Context context);

private:
    friend class CacheCore;
    Claim(std::shared_ptr<CacheCore> core, std::vector<std::string> keys);
    void release();

    std::shared_ptr<CacheCore> core_;
    std::vector<std::string> keys_;
    std::vector<Value> values_;
    std::vector<FlightPtr> flights_;  // by index: of an owned key until it has landed, of an awaited one to the end
    std::vector<std::size_t> same_as_;  // the first index with this key
    std::vector<std::size_t> owned_;
    std::vector<std::size_t> awaited_;
};

template <class V>
class Cache {
public:
    using Value = std::shared_ptr<const V>;
    using SizeOf = std::function<std::size_t(const V&)>;
    class Claim;

    Cache(const std::string& name, CacheSettings settings, SizeOf size_of, const Clock& clock, Registry& metrics)
        : size_of_(std::move(size_of)), core_(std::make_shared<CacheCore>(name, settings, clock, metrics)) {}

    Value find(std::string_view key) { return typed(core_->find(key)); }
    void put(std::string_view key, V value) { core_->put(key, loaded(size_of_, std::move(value))); }
    void forget(std::string_view key) { core_->forget(key); }
    void forget_prefix(std::string_view prefix) { core_->forget_prefix(prefix); }  // every key that begins so
    void forget_all() { core_->forget_all(); }
    // Drops what was kept and what is being loaded under an older version; an older or the same version changes nothing.
    void set_version(std::uint64_t version) { core_->set_version(version); }
    CacheStats stats() const { return core_->stats(); }

    // The value of `key`, loaded by one of its askers at a time. A failed load fails for all who wait for it and is not kept; but
    // where it failed because its own asker was stopped or had no time left, another asker takes over with its own `load`.
    boost::asio::awaitable<Result<Value>> get(std::string key, std::function<boost::asio::awaitable<Result<V>>()> load,
                                              Context context) {
        CacheCore::Load erased = [load = std::move(load), size_of = size_of_] { return run(load, size_of); };
        Result<CacheCore::Value> got = co_await core_->get(std::move(key), std::move(erased), std::move(context));
        if (!got) co_return std::move(got).error();
        co_return typed(*std::move(got));
    }

    Claim claim(const std::vector<std::string>& keys) { return {size_of_, core_->claim(keys)}; }

private:
    static Value typed(CacheCore::Value value) { return std::static_pointer_cast<const V>(std::move(value)); }
    static CacheCore::Loaded loaded(const SizeOf& size_of, V value) {
        auto kept = std::make_shared<const V>(std::move(value));
        const std::size_t bytes = size_of(*kept);
        return {std::move(kept), bytes};
    }
    static boost::asio::awaitable<Result<CacheCore::Loaded>> run(std::function<boost::asio::awaitable<Result<V>>()> load,
                                                                 SizeOf size_of) {
        Result<V> value = co_await load();
        if (!value) co_return std::move(value).error();
        co_return loaded(size_of, *std::move(value));
    }

    SizeOf size_of_;
    std::shared_ptr<CacheCore> core_;
};

template <class V>
class Cache<V>::Claim {
public:
    // Null where the key was not found and has not been fulfilled or waited for.
    Value value(std::size_t index) const { return typed(claim_.value(index)); }
    const std::vector<std::size_t>& owned() const noexcept { return claim_.owned(); }
    const std::vector<std::size_t>& awaited() const noexcept { return claim_.awaited(); }
    void fulfil(std::size_t index, V value) { claim_.fulfil(index, loaded(size_of_, std::move(value))); }
    // Hands the error to those who wait for an owned key. To let one of them try instead, destroy the claim.
    void fail(std::size_t index, const Error& error) { claim_.fail(index, error); }
    // Null: the other load came to nothing; claim this key again. Owned keys that are not fulfilled by now are given up. The
    // claim stays alive until the awaitable has finished.
    boost::asio::awaitable<Result<Value>> wait(std::size_t index, Context context) {
        Result<CacheCore::Value> got = co_await claim_.wait(index, std::move(context));
        if (!got) co_return std::move(got).error();
        co_return typed(*std::move(got));
    }

private:
    friend class Cache<V>;
    Claim(SizeOf size_of, CacheCore::Claim claim) : size_of_(std::move(size_of)), claim_(std::move(claim)) {}

    SizeOf size_of_;
    CacheCore::Claim claim_;
};

}  // namespace homeostat
