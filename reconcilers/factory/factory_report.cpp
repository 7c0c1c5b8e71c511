// The part of the executor that says what it is and does: capabilities, snapshot, and what is shared with other replicas.
#include <nlohmann/json.hpp>
#include <thread>

#include "reconcilers/factory/factory.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShown = 20;  // calls and selections in a snapshot; the process remembers more

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

std::int64_t unix_ms(WallTime t) { return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count(); }

Json lane_json(const LaneSnapshot& l) {
    return {{"provider", l.provider},
            {"model", l.model},
            {"breaker", to_string(l.breaker)},
            {"reason", l.reason},
            {"message", l.message},
            {"retryInSeconds", seconds(l.retry_in)},
            {"limit", l.limit},
            {"ceiling", l.ceiling},
            {"inFlight", l.in_flight},
            {"waiting", l.waiting},
            {"leftOver", l.left_over},
            {"maxTexts", l.max_texts},
            {"maxTokens", l.max_tokens},
            {"requests", l.requests},
            {"failures", l.failures},
            {"throttled", l.throttled},
            {"retries", l.retries},
            {"meanSeconds", l.mean_seconds},
            {"breakerCalls", {{"succeeded", l.succeeded}, {"failed", l.failed}, {"rejected", l.rejected}, {"opened", l.opened}}},
            {"cache", {{"texts", l.looked_up}, {"found", l.found}, {"savedTokens", l.saved_tokens}}}};
}

Json chunker_json(const ChunkPrograms::Line& l) {
    return {{"name", l.name},         {"command", l.command},   {"state", to_string(l.state)},  {"reason", l.reason},
            {"requests", l.requests}, {"failures", l.failures}, {"meanSeconds", l.mean_seconds}};
}

template <class T, class F>
Json newest(const std::vector<T>& lines, F f) {
    Json out = Json::array();
    for (std::size_t i = lines.size() > kShown ? lines.size() - kShown : 0; i < lines.size(); ++i) out.push_back(f(lines[i]));
    return out;
}

Json pool_json(std::string_view name, const PoolFigures& f) {
    return {{"name", name},   {"size", f.size},       {"inUse", f.in_use},
            {"idle", f.idle}, {"waiting", f.waiting}, {"broken", f.broken}};
}

Json cache_json(const CacheStats& c, const SharedCache::Stats& shared) {
    return {{"bytes", c.bytes},
            {"entries", c.entries},
            {"hits", c.hits},
            {"misses", c.misses},
            {"evictions", c.evictions},
            {"sharedLoads", c.shared_loads},
            {"shared",
             {{"hits", shared.hits}, {"misses", shared.misses}, {"evictions", shared.evictions}, {"lookups", shared.lookups}}}};
}

}  // namespace

std::string Factory::snapshot() const {
    const GatewaySnapshot g = parts_.gateway.snapshot();
    const MemoryState m = parts_.memory.state();
    Json s;
    s["at"] = unix_ms(parts_.clock.now());
    Json in_flight = Json::array();
    {
        const Lock lock(mutex_);
        for (const auto& [id, r] : running_) {
            in_flight.push_back({{"batch", id},
                                 {"pipeline", r->batch.uid},
                                 {"kind", to_string(r->batch.kind)},
                                 {"class", r->batch.cls},
                                 {"documents", r->batch.keys.size()},
                                 {"provider", r->batch.provider},
                                 {"attempts", r->batch.attempts},
                                 {"seconds", seconds(parts_.clock.steady_now() - r->started)}});
        }
    }
    // Between the least and the usual, by how much memory is free.
    const auto recommended = static_cast<std::uint32_t>(settings_.batch_documents * parts_.memory.scale());
    s["capabilities"] = {
        {"cores", std::thread::hardware_concurrency()},
        {"slotsPerProvider", settings_.slots},
        {"freeSlots", std::max<int>(0, settings_.slots - static_cast<int>(in_flight.size()))},
        {"recommendedBatch", std::max(16U, recommended)},
        {"readBytes", settings_.read_budget},
        {"memory",
         {{"budget", m.budget}, {"held", m.held}, {"resident", m.resident}, {"limit", m.limit}, {"level", to_string(m.level)}}}};
    s["pools"] = {pool_json("read", parts_.reads.figures()), pool_json("write", parts_.writes.figures()),
                  pool_json("feed", parts_.feeds.figures())};
    s["providers"] = Json::array();
    for (const LaneSnapshot& l : g.lanes) s["providers"].push_back(lane_json(l));
    s["leftToOthers"] = Json::array();
    for (const LeftToOthers::Line& l : g.left) s["leftToOthers"].push_back({{"provider", l.provider}, {"message", l.message}});
    s["chunkers"] = Json::array();
    for (const ChunkPrograms::Line& l : parts_.chunkers.lines()) s["chunkers"].push_back(chunker_json(l));
    s["inFlight"] = std::move(in_flight);
    s["cache"] = cache_json(parts_.gateway.cache_stats(), parts_.gateway.shared_stats());
    s["calls"] = newest(g.calls, [](const CallLine& l) {
        return Json{{"at", unix_ms(l.at)}, {"provider", l.provider}, {"model", l.model},
                    {"texts", l.texts},    {"seconds", l.seconds},   {"outcome", l.outcome}};
    });
    s["selections"] = newest(g.selections, [](const SelectionLine& l) {
        return Json{{"at", unix_ms(l.at)}, {"model", l.model}, {"chosen", l.chosen}, {"insteadOf", l.instead_of}};
    });
    s["batches"] = Json::array();
    {
        const Lock lock(mutex_);
        const std::vector<BatchLine> lines(ended_.begin(), ended_.end());
        s["batches"] = newest(lines, [](const BatchLine& l) {
            return Json{{"at", unix_ms(l.at)},      {"batch", l.id},        {"pipeline", l.uid},
                        {"documents", l.documents}, {"seconds", l.seconds}, {"outcome", l.outcome}};
        });
    }
    return s.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// At most once a second, and only what has changed; the snapshot goes with the heartbeat.
Status Factory::share(const Context& context, bool now) {
    const SteadyTime at = parts_.clock.steady_now();
    if (!now && at - shared_at_ < std::chrono::seconds(1)) return {};
    shared_at_ = at;
    Result<Pool::Lease> session = parts_.reads.acquire(context);
    if (!session) return session.error();
    if (const Status looked = budgets_.look(**session); !looked) return looked;
    Result<std::vector<std::int64_t>> failed = parts_.gateway.share(**session);
    if (!failed) return failed.error();
    if (now) return {};
    for (const std::int64_t uid : *failed) parts_.finished(uid, true);
    parts_.gateway.look_again(parts_.io, context);
    return {};
}

Status Factory::report(Session& session) {
    Result<int> members = count_live_replicas(session);
    if (!members) return members.error();
    parts_.gateway.set_members(*members);
    return write_replica_snapshot(session, settings_.replica, snapshot());
}

}  // namespace homeostat
