#include "controller/part_settings.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "controller/config/config_values.hpp"
#include "controller/config/readers.hpp"

namespace homeostat {

namespace {

// What is left to a person rather than met by the strategy of its class.
std::set<ErrorClass> manual_classes(const Settings& s) {
    const std::pair<const std::string&, std::vector<ErrorClass>> rows[] = {
        {s.strategy_throttled, {ErrorClass::throttled}},
        {s.strategy_breaker_open, {ErrorClass::unavailable}},
        {s.strategy_transient, {ErrorClass::transient, ErrorClass::timeout, ErrorClass::local}},
        {s.strategy_bad_answer, {ErrorClass::bad_answer}},
        {s.strategy_too_large, {ErrorClass::too_large}},
        {s.strategy_content, {ErrorClass::content}}};
    std::set<ErrorClass> out;
    for (const auto& [strategy, classes] : rows) {
        if (strategy == "manual_intervention") out.insert(classes.begin(), classes.end());
    }
    return out;
}

// The triggers of runs, by the event they come from.
std::set<std::string> sequential_triggers(const Settings& s) {
    std::set<std::string> out;
    if (s.strategy_change == "sequential") out.insert("spec");
    if (s.strategy_drift == "sequential") out.insert({"interval", "once", "refresh", "feed"});
    if (s.strategy_request == "sequential") out.insert({"requested", "approved"});
    if (s.strategy_retry == "sequential") out.insert({"retry", "provider"});
    return out;
}

}  // namespace

ConnectOptions connection(const Settings& s, std::string name, const std::stop_token& abandon) {
    ConnectOptions o;
    o.abandon = abandon;
    o.answer_timeout_ms = static_cast<std::uint32_t>(s.database_answer_timeout.count());
    // Of a process that was stopped: its successor need not wait for what it had locked.
    o.idle_timeout_ms = static_cast<std::uint32_t>(std::min<std::int64_t>(5'000, s.lease_ttl.count() / 2));
    o.url = s.database_url;
    o.readers = reader_logins(s);
    o.trusted_owners = parse_list(s.source_trusted_owners);
    o.application_name = std::move(name);
    o.statement_timeout_ms = static_cast<std::uint32_t>(s.database_statement_timeout.count());
    o.lock_timeout_ms = static_cast<std::uint32_t>(s.database_lock_timeout.count());
    o.connect_timeout_s = static_cast<std::uint32_t>(std::max<std::int64_t>(1, s.database_connect_timeout.count() / 1000));
    o.prepare = s.database_prepare;
    return o;
}

PipelineSettings pipeline_settings(const Settings& s, RunMode mode, SweepStandby* standby, std::function<void()> planned,
                                   AskAgain ask) {
    PipelineSettings p;
    p.ask = std::move(ask);
    p.planned = std::move(planned);
    p.batch_documents = s.batch_documents;
    p.window = static_cast<int>(s.batch_window);
    p.slice = s.sweep_slice;
    p.slice_target = s.sweep_slice_target;
    p.budget = {s.sweep_rows_per_second, s.sweep_share};
    p.overrun_share = s.feed_overrun_share;
    p.prune_floor = s.prune_floor;
    p.journal = {static_cast<int>(s.journal_runs), static_cast<int>(s.history_weeks), s.journal_bytes};
    p.standby = standby;
    p.keep_revisions = static_cast<int>(s.revision_keep);
    p.keep_days = static_cast<int>(s.revision_keep_days);
    p.retry_base = s.loop_backoff_base;
    p.retry_cap = s.loop_backoff_cap;
    p.once = mode.once;
    p.deep = mode.deep;
    p.sequential = sequential_triggers(s);
    return p;
}

// What is declared, or half of what this process may use: the rest is for the program itself and for what cannot be counted.
std::uint64_t memory_budget(const Settings& s) {
    return s.memory_budget > 0 ? s.memory_budget : std::max<std::uint64_t>(64ULL << 20, memory_limit() / 2);
}

FactorySettings factory_settings(const Settings& s, bool once) {
    FactorySettings f;
    f.once = once;
    f.replica = s.replica_name;
    f.parallel_from = s.batch_parallel_from;
    f.slots = static_cast<int>(s.batch_in_flight);
    f.claim_ttl = s.claim_ttl;
    f.batch_documents = s.batch_documents;
    // All slots full of text at once must fit into the budget, with what becomes of it.
    const std::uint64_t share = memory_budget(s) / (std::max(1U, s.batch_in_flight) * kHeldPerByte);
    f.read_budget =
        static_cast<std::int64_t>(std::clamp<std::uint64_t>(share, 64 << 10, std::max<std::uint64_t>(s.batch_bytes, 64 << 10)));
    f.memory_limit = memory_limit();
    f.retry = {s.retry_base, s.retry_cap, static_cast<int>(s.batch_max_attempts), manual_classes(s)};
    f.shrink = s.strategy_memory_pressure == "reduce_batch_size";
    f.seed = std::random_device{}();
    return f;
}

FeedSettings feed_settings(const Settings& s) {
    FeedSettings f;
    f.batch_documents = s.batch_documents;
    f.prune_floor = s.prune_floor;
    return f;
}

GatewaySettings gateway_settings(const Settings& s) {
    GatewaySettings g;
    g.manual = manual_classes(s);
    g.replica = s.replica_name;
    g.retry_base = s.retry_base;
    g.older_names = s.trace_older_names;
    g.breaker.consecutive = static_cast<int>(s.breaker_failures);
    g.breaker.failure_share = s.breaker_share;
    g.breaker.open_base = s.breaker_pause;
    g.breaker.open_cap = s.breaker_pause_cap;
    g.breaker.refused_open = s.breaker_refused_pause;
    g.seed = std::random_device{}();
    g.cache = {s.cache_bytes, s.cache_ttl};
    g.shared = {s.cache_shared_bytes, std::chrono::duration_cast<std::chrono::seconds>(s.cache_shared_ttl)};
    if (s.cache_compress_above > 0) g.compress_above = s.cache_compress_above;
    return g;
}

TraceKeeping trace_keeping(const Settings& s, ConnectOptions connection) {
    return {{static_cast<std::int64_t>(s.trace_keep), static_cast<std::int64_t>(s.trace_bytes)},
            s.replica_name,
            std::move(connection)};
}

unsigned cores(const Settings& s) {
    return s.embed_threads > 0 ? s.embed_threads : std::max(1U, std::thread::hardware_concurrency());
}

std::optional<std::pair<std::string, std::uint16_t>> listen_address(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (text.empty() || colon == std::string::npos) return std::nullopt;
    return std::make_pair(text.substr(0, colon), static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
}

}  // namespace homeostat
