// The only way to a provider: cache, ranking, the lane of each provider (breaker, limits, gate), retries, and isolation of texts
// that a provider refuses.
//
// Each (provider, model) has a lane of its own (lane.hpp), and each declaration of a provider is another: who is deleted and
// declared again under its name, or edited, is asked with nothing of what was known before, and nobody is asked as it was before.
// A request that fails goes to the next provider of the pool, or is sent again within the retry budget; one that is too large is
// cut and the limit kept; one that is refused for its content is bisected until the culprit is alone. What the caller gets is one
// vector a text, or the refused texts with their reasons, or the error that stopped everything. Any thread; suspends.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "reconcilers/gateway/cache.hpp"
#include "reconcilers/gateway/gateway_snapshot.hpp"
#include "reconcilers/gateway/lane.hpp"
#include "reconcilers/gateway/left_to_others.hpp"
#include "reconcilers/gateway/packed_vector.hpp"
#include "reconcilers/gateway/shared_cache.hpp"
#include "store/control/providers.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Makes the embedder of a provider row; the one place that knows the kinds (wired by the controller).
using EmbedderMaker = std::function<Result<std::shared_ptr<Embedder>>(const ProviderSpec& provider, const std::string& model,
                                                                      std::uint32_t dimensions)>;

struct GatewaySettings {
    std::string replica;
    std::chrono::milliseconds retry_base{500};
    int retries = 2;  // of a request, before its batch fails
    BreakerSettings breaker;  // where a provider does not say otherwise
    std::size_t ring = 1'000;  // calls and selections remembered
    bool older_names = false;  // of metrics of embeddings operations, beside those that the conventions have now
    std::set<ErrorClass> manual;  // classes that are left to a person rather than retried, cut or bisected
    std::uint64_t seed = 0;
    CacheSettings cache;  // of vectors by text
    SharedCacheSettings shared;  // the level below it, of all replicas
    std::size_t compress_above = PackedVector::kNeverCompress;  // bytes of a vector
};

struct GatewayParts {
    EmbedderMaker make;
    boost::asio::any_io_executor db;  // where an embedder is made and what is shared is read: both may block
    const Clock& clock;
    Telemetry telemetry;
    Pool* pool = nullptr;  // of what replicas share; null where there is nobody to share with
};

inline DeclaredProvider declaration(const ProviderSpec& p) { return {p.name, p.uid, p.generation}; }
// What is to be embedded, by whom. `provider` and `peers` outlive the call.
struct EmbedOrder {
    const ProviderSpec& provider;  // as declared
    const std::vector<ProviderSpec>& peers;  // of its pool, without itself
    std::string model;
    std::uint32_t dimensions = 0;
    TextRole role = TextRole::document;
    bool urgent = false;  // somebody has just written it, or waits: before what a fill asks for
    Spending* spent = nullptr;  // is added to, however it ends
    std::int64_t pipeline = 0, cache_epoch = 0;  // its uid; 0 = for none, and nothing is shared with other replicas
    std::function<boost::asio::awaitable<Status>(std::uint64_t tokens)> reserve{};  // what no cache has; its error stops all
    bool fresh = false;  // past all caches
};

struct RefusedText {
    std::size_t index = 0;
    Error error;  // content, or too_large
};

struct Embedded {
    Embeddings vectors;  // one row a text; the rows of refused texts mean nothing
    std::vector<RefusedText> refused;  // by index
};

class Gateway {
public:
    Gateway(GatewayParts parts, GatewaySettings settings);
    ~Gateway();

    boost::asio::awaitable<Result<Embedded>> embed(EmbedOrder order, const std::vector<std::string>& texts, Context context)
        EXCLUDES(mutex_);
    // Whether this process knows how the provider is, and why it is not well where it is not.
    struct Health {
        bool known = false;
        std::optional<ProviderTrouble> trouble;
    };
    Health health(const ProviderSpec& provider, const std::string& model) const EXCLUDES(mutex_);
    // Providers without a pool that would refuse every request for longer than is worth waiting, as they were declared then: one
    // that has been declared anew since is another.
    std::vector<DeclaredProvider> blocked() const EXCLUDES(mutex_);
    // All that are declared now. What is known of others is forgotten, and they are asked nothing any more.
    void know(const std::vector<DeclaredProvider>& all) EXCLUDES(mutex_);
    // A person asked, or the declaration changed: whatever is open may be tried at once.
    void allow_probe(const std::string& provider) EXCLUDES(mutex_);
    void set_members(int members) EXCLUDES(mutex_);
    // Writes what other replicas should know, and looks at what is declared; cheap where nothing changed.
    // What there is a new reason to try (another declaration, other secrets, a request to reconcile) is tried at once, and what
    // was put off because of it is due; returns the pipelines that had failed because of it, or of anything else.
    Result<std::vector<std::int64_t>> share(Session& session) EXCLUDES(mutex_);
    // A batch failed with that. True where the fault is this process's and its provider's batches are left to other replicas now:
    // blocked() names it until it answers here too.
    Result<bool> leave_to_others(Session& session, const LeftToOthers::Asked& asked, const Error& error) EXCLUDES(mutex_);
    std::uint64_t renewals(const std::string& provider) const EXCLUDES(mutex_);  // grows with each such reason
    // Asks those for a good text, on `io`, whose last word was a failure and that nobody has asked anything since: at most one
    // request in 5 s each, and ever fewer. Ends with the stop token of `context`.
    void look_again(const boost::asio::any_io_executor& io, const Context& context) EXCLUDES(mutex_);
    GatewaySnapshot snapshot() const EXCLUDES(mutex_);
    CacheStats cache_stats() const { return cache_.stats(); }
    SharedCache::Stats shared_stats() const { return shared_.stats(); }

private:
    friend class EmbedJob;
    // A provider as this process knows it; replaced when its declaration changes.
    struct Channel {
        ProviderSpec provider;
        std::shared_ptr<Embedder> embedder;
        std::shared_ptr<Lane> lane;
        std::uint32_t dimensions = 0;
        std::shared_ptr<class Remainders> remainders;  // null where it runs in this process
        std::shared_ptr<CacheUse> cached = std::make_shared<CacheUse>();
        std::shared_ptr<class SameAnswers> answers;  // likewise
    };
    using ChannelPtr = std::shared_ptr<const Channel>;
    bool outdated(const ProviderSpec& provider) const REQUIRES(mutex_);
    ChannelPtr find(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) const EXCLUDES(mutex_);
    void supersede(const DeclaredProvider& now) REQUIRES(mutex_);
    void probe(const std::string& provider) REQUIRES(mutex_);
    void look_at_secrets() EXCLUDES(mutex_);
    Status look_at_requests(Session& session) EXCLUDES(mutex_);
    Status share_names(Session& session) EXCLUDES(mutex_);
    Result<std::vector<std::int64_t>> look_anew(Session& session) EXCLUDES(mutex_);
    Status look_at_others(Session& session) EXCLUDES(mutex_);
    boost::asio::awaitable<void> try_again(LeftToOthers::Asked asked, Context context);
    Result<ChannelPtr> make(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions) EXCLUDES(mutex_);
    boost::asio::awaitable<Result<ChannelPtr>> channel(const ProviderSpec& provider, const std::string& model,
                                                       std::uint32_t dimensions);
    boost::asio::awaitable<Result<Embedded>> ask_cached(const EmbedOrder& order, const std::vector<ChannelPtr>& channels,
                                                        const std::vector<std::string>& texts, Context context);
    std::optional<VectorScope> shared_scope(const EmbedOrder& order) const;
    boost::asio::awaitable<std::uint64_t> take_shared(const EmbedOrder& order, const std::vector<std::string>& texts,
                                                      const std::vector<std::size_t>& open, Cache<PackedVector>::Claim& claim,
                                                      std::vector<std::size_t>& owned, Context context);
    boost::asio::awaitable<void> keep_shared(const EmbedOrder& order, const std::vector<std::string>& texts,
                                             const Embeddings& answer);
    void note_saved(const EmbedOrder& order, std::string_view cache, std::uint64_t tokens);
    boost::asio::awaitable<void> forget_vectors_of(const ProviderSpec& provider);
    boost::asio::awaitable<Status> check_canary(ChannelPtr channel, std::string model, std::uint32_t dimensions, Context context);
    boost::asio::awaitable<Result<Embeddings>> ask_embedder(ChannelPtr channel, Lane::Permit permit,
                                                            const std::vector<std::string>& texts, TextRole role,
                                                            std::uint32_t dimensions, Context context,
                                                            SteadyTime* answered = nullptr);
    // Asks for a text that is known to be good; adds what it costs to `wasted`. The lane's breaker learns of it either way.
    boost::asio::awaitable<Status> prove(ChannelPtr channel, std::uint32_t dimensions, Context context,
                                         std::uint64_t* wasted = nullptr);
    boost::asio::awaitable<Status> send_proof(ChannelPtr channel, Lane::Permit permit, std::string text, std::uint32_t dimensions,
                                              Context context, std::uint64_t* wasted = nullptr);
    void count_wasted(const std::string& provider, std::uint64_t tokens);
    boost::asio::awaitable<Result<bool>> ask_canary(ChannelPtr channel, std::string model, std::uint32_t dimensions,
                                                    Context context);
    Result<Canary> settle(const std::string& pool, const std::string& model, std::uint32_t dimensions, const Canary& ours)
        EXCLUDES(mutex_);
    void remember(CallLine line) EXCLUDES(mutex_);
    void remember(SelectionLine line) EXCLUDES(mutex_);

    const GatewayParts parts_;
    const GatewaySettings settings_;
    mutable Mutex mutex_;
    std::map<std::string, ChannelPtr> channels_ GUARDED_BY(mutex_);  // by provider, model and width
    std::map<std::string, DeclaredProvider> newest_ GUARDED_BY(mutex_);  // declarations that were seen, by name
    std::map<std::string, DeclaredProvider> listed_ GUARDED_BY(mutex_);  // at the last look, by name
    bool looked_ GUARDED_BY(mutex_) = false;  // at what is declared
    std::set<std::string> renewed_ GUARDED_BY(mutex_);  // providers that there is a reason to try again
    std::map<std::string, std::uint64_t> renewals_ GUARDED_BY(mutex_);
    std::optional<std::map<std::string, std::string>> requests_ GUARDED_BY(mutex_);  // by provider; while one is not well
    std::set<std::string> named_ GUARDED_BY(mutex_);  // channels whose model's name others know, by declaration, model and width
    std::map<std::string, Canary> references_ GUARDED_BY(mutex_);  // by pool, model and width
    std::deque<CallLine> calls_ GUARDED_BY(mutex_);
    std::deque<SelectionLine> selections_ GUARDED_BY(mutex_);
    int members_ GUARDED_BY(mutex_) = 1;
    std::uint64_t declarations_ GUARDED_BY(mutex_) = 0;  // seen to change: the version of the cache
    std::int64_t erased_ = 0;  // the last erasure that was heard of; of the thread that shares
    Cache<PackedVector> cache_;
    SharedCache shared_;
    LeftToOthers left_;
    Cache<bool> canaries_;  // channels that agreed with their pool
};

}  // namespace homeostat
