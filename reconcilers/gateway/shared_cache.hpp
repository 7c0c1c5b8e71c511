// The level below the cache in memory: vectors that were paid for, in a bounded table that all replicas share
// (store/data/kept_vectors.hpp), so that another replica, the next process and another pipeline of the same declarer over the
// same text do not pay again.
//
// What several batches look up of one scope at the same time is looked up by one statement: while one is under way, those who
// come wait for it, and the next is for all of them.
//
// A vector that is taken from here is one that was answered under exactly this scope for exactly these bytes: each has a seal
// over scope, text and floats, and what does not fit its seal is not used. It is never needed: where the table is away, locked or
// not permitted, providers are asked as if there were none, and the table is left alone for a while. Any thread; suspends.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "store/data/kept_vectors.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct SharedCacheSettings {
    std::uint64_t bytes = 0;  // 0: there is none
    std::chrono::seconds unused{std::chrono::hours(24 * 30)};
};

class SharedCache {
public:
    // `db`: an executor whose threads may block. `pool` may be null: then there is nobody to share with.
    SharedCache(SharedCacheSettings settings, Pool* pool, boost::asio::any_io_executor db, const Clock& clock, Registry& metrics);
    ~SharedCache();

    bool enabled() const noexcept { return settings_.bytes > 0 && pool_ != nullptr; }

    // Those that are kept, by the index of their text.
    using Found = std::vector<std::pair<std::size_t, std::vector<float>>>;
    boost::asio::awaitable<Found> find(VectorScope scope, const std::vector<std::string>& texts, const Context& context);
    // What a provider has answered; `answer` has a row a text.
    boost::asio::awaitable<void> keep(VectorScope scope, const std::vector<std::string>& texts, const Embeddings& answer);
    // This provider has turned out not to make the vectors that it should.
    boost::asio::awaitable<void> forget(std::int64_t provider);
    struct Stats {
        std::uint64_t hits = 0;
        std::uint64_t misses = 0;
        std::uint64_t evictions = 0;
        std::uint64_t lookups = 0;  // statements that looked for vectors
    };
    Stats stats() const;
    // Now and then, also where nobody asks: what is old goes.
    void tend(Session& session);

private:
    struct Metrics;
    struct Lookup;
    using LookupPtr = std::shared_ptr<Lookup>;
    boost::asio::awaitable<void> look_up(const VectorScope& scope, const LookupPtr& mine);
    bool begin(const std::string& key, const LookupPtr& mine) EXCLUDES(mutex_);
    void hand_over(const std::string& key) EXCLUDES(mutex_);
    bool usable() const noexcept;
    void failed(std::string_view what, const Error& error);
    void trim(Session& session, int slices);

    const SharedCacheSettings settings_;
    Pool* const pool_;
    const boost::asio::any_io_executor db_;
    const Clock& clock_;
    const std::unique_ptr<Metrics> metrics_;
    std::atomic<SteadyTime::rep> left_alone_until_{0};  // by the steady clock
    std::atomic<SteadyTime::rep> tended_at_;
    std::atomic<std::uint64_t> added_{0};  // bytes, since room was made
    Mutex mutex_;
    std::map<std::string, std::vector<LookupPtr>> waiting_ GUARDED_BY(mutex_);  // by scope, while a statement looks in it
};

}  // namespace homeostat
