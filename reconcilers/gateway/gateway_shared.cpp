// The part of the gateway that takes from the cache that replicas share, and adds to it.
#include <algorithm>
#include <span>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "reconcilers/gateway/ranking.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

// Of all that decides a vector besides its text, and of nothing else. Another number whenever a release makes vectors otherwise
// of the same declarations and texts, or lays them out otherwise: then nothing that older ones kept is found.
constexpr const char* kVersion = "vectors 1";

}  // namespace

// Nothing where a vector is not to be shared: of queries, of what is computed here (which costs nothing but time, by a model
// whose files every replica has of its own), and of whoever asks for no pipeline.
std::optional<VectorScope> Gateway::shared_scope(const EmbedOrder& order) const {
    const ProviderSpec& p = order.provider;
    if (!shared_.enabled() || order.pipeline == 0 || order.role != TextRole::document) return std::nullopt;
    if (p.kind == "hashing" || p.kind == "local") return std::nullopt;
    VectorScope scope{.pipeline = order.pipeline,
                      .identity = kVersion,
                      .pool = p.pool.value_or(""),
                      .model = order.model,
                      .dimensions = order.dimensions,
                      .providers = {p.uid}};
    std::vector<std::string> members{declaration_key(declaration(p))};
    for (const ProviderSpec& peer : order.peers) {
        if (peer.name == p.name || !serves(peer, p, order.model, order.dimensions)) continue;
        members.push_back(declaration_key(declaration(peer)));
        scope.providers.push_back(peer.uid);
    }
    std::sort(members.begin(), members.end());
    // With their lengths, so that no two lists of parts read the same.
    const auto add = [&](const std::string& part) { scope.identity += "\n" + std::to_string(part.size()) + ":" + part; };
    for (const std::string& part : {scope.pool, order.model, std::to_string(order.dimensions)}) add(part);
    for (const std::string& member : members) add(member);
    if (order.cache_epoch != 0) add(std::to_string(order.pipeline) + " " + std::to_string(order.cache_epoch));
    return scope;
}

// Those of `owned`, indexes into `open`, that are kept there are fulfilled and taken out of it. Returns the tokens that it saves.
asio::awaitable<std::uint64_t> Gateway::take_shared(const EmbedOrder& order, const std::vector<std::string>& texts,
                                                    const std::vector<std::size_t>& open, Cache<PackedVector>::Claim& claim,
                                                    std::vector<std::size_t>& owned, Context context) {
    std::optional<VectorScope> scope = shared_scope(order);
    if (!scope || owned.empty()) co_return 0;
    std::vector<std::string> wanted;
    wanted.reserve(owned.size());
    for (const std::size_t k : owned) wanted.push_back(texts[open[k]]);
    const SharedCache::Found found = co_await shared_.find(*std::move(scope), wanted, context);
    std::vector<bool> had(owned.size(), false);
    std::uint64_t saved = 0;
    for (const auto& [i, values] : found) {
        had[i] = true;
        saved += estimate_tokens(wanted[i]);
        claim.fulfil(owned[i], PackedVector(values, settings_.compress_above));
    }
    note_saved(order, "shared", saved);
    std::size_t left = 0;
    for (std::size_t i = 0; i < had.size(); ++i) {
        if (!had[i]) owned[left++] = owned[i];
    }
    owned.resize(left);
    co_return saved;
}

asio::awaitable<void> Gateway::keep_shared(const EmbedOrder& order, const std::vector<std::string>& texts,
                                           const Embeddings& answer) {
    if (std::optional<VectorScope> scope = shared_scope(order)) co_await shared_.keep(*std::move(scope), texts, answer);
}

void Gateway::note_saved(const EmbedOrder& order, std::string_view cache, std::uint64_t tokens) {
    if (tokens == 0) return;
    if (order.spent != nullptr) order.spent->saved += tokens;
    parts_.telemetry.metrics
        .counter("homeostat_cache_saved_tokens_total",
                 "Tokens, as estimated, that were not asked for because a cache had the vectors.",
                 {{"cache", std::string(cache)}, {"provider", order.provider.name}})
        .add(static_cast<double>(tokens));
}

// What it has given since it was last found to agree may be another model's, and of which it is that nobody can tell.
asio::awaitable<void> Gateway::forget_vectors_of(const ProviderSpec& provider) {
    if (provider.pool) cache_.forget_prefix("pool " + *provider.pool + "\n");
    co_await shared_.forget(provider.uid);
}

}  // namespace homeostat
