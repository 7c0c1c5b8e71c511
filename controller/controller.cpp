#include "controller/controller.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <random>
#include <thread>

#include "controller/election.hpp"
#include "controller/embedders.hpp"
#include "controller/export_prometheus.hpp"
#include "controller/http/health.hpp"
#include "controller/http/server.hpp"
#include "controller/loop.hpp"
#include "controller/target_watch.hpp"
#include "controller/workqueue.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/pipeline.hpp"
#include "reconcilers/target_view.hpp"
#include "store/migrator.hpp"
#include "store/pool.hpp"
#include "store/watch.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

ConnectOptions connection(const Settings& s, std::string name) {
    ConnectOptions o;
    o.url = s.database_url;
    o.application_name = std::move(name);
    o.statement_timeout_ms = static_cast<std::uint32_t>(s.database_statement_timeout.count());
    o.lock_timeout_ms = static_cast<std::uint32_t>(s.database_lock_timeout.count());
    o.connect_timeout_s = static_cast<std::uint32_t>(std::max<std::int64_t>(1, s.database_connect_timeout.count() / 1000));
    o.prepare = s.database_prepare;
    return o;
}

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

PipelineSettings pipeline_settings(const Settings& s, bool once) {
    PipelineSettings p;
    p.batch_documents = s.batch_documents;
    p.window = static_cast<int>(s.batch_window);
    p.slice = s.sweep_slice;
    p.slice_target = s.sweep_slice_target;
    p.budget = {s.sweep_rows_per_second, s.sweep_share};
    p.overrun_share = s.feed_overrun_share;
    p.prune_floor = s.prune_floor;
    p.history_weeks = static_cast<int>(s.history_weeks);
    p.keep_revisions = static_cast<int>(s.revision_keep);
    p.retry_base = s.loop_backoff_base;
    p.retry_cap = s.loop_backoff_cap;
    p.once = once;
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

GatewaySettings gateway_settings(const Settings& s, bool once) {
    GatewaySettings g;
    g.probe_at_once = once;
    g.manual = manual_classes(s);
    g.replica = s.replica_name;
    g.retry_base = s.retry_base;
    g.seed = std::random_device{}();
    g.cache = {s.cache_bytes, s.cache_ttl};
    if (s.cache_compress_above > 0) g.compress_above = s.cache_compress_above;
    return g;
}

unsigned cores(const Settings& s) {
    return s.embed_threads > 0 ? s.embed_threads : std::max(1U, std::thread::hardware_concurrency());
}

std::optional<std::pair<std::string, std::uint16_t>> listen_address(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (text.empty() || colon == std::string::npos) return std::nullopt;
    return std::make_pair(text.substr(0, colon), static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
}

}  // namespace

// Members stand in the order they are started; they are destroyed in the other.
struct Controller::Impl {
    Impl(const Settings& s, bool run_once, const Clock& c, Registry& m, SpanSink* spans, EmbedderMaker make)
        : settings(s),
          once(run_once),
          clock(c),
          metrics(m),
          tracer(spans, c),
          health(c),
          reads(connection(s, "homeostat-read"), s.database_read_connections),
          writes(connection(s, "homeostat-write"), s.database_write_connections),
          feed_writes(connection(s, "homeostat-feed"), s.database_feed_connections),
          db(s.database_read_connections + s.database_write_connections),
          feed_db(s.database_feed_connections),
          cpu(cores(s)),
          memory(memory_budget(s), m),
          gateway({make ? std::move(make) : make_embedder_maker(s, io.get_executor(), cpu.get_executor(), c, telemetry()),
                   db.get_executor(), c, telemetry(), &reads},
                  gateway_settings(s, run_once)),
          targets(reads, feed_db.get_executor(), c, m),
          queue(c, m),
          feeds(c, m, "feed"),
          election(connection(s, "homeostat-lease"), {s.replica_name, s.lease_ttl, std::chrono::milliseconds(2'000)}, c, m),
          pipelines(reads, writes, gateway, memory, pressure, c, telemetry(), pipeline_settings(s, run_once)),
          factory({reads, writes, feed_writes, gateway, targets, memory, pressure, c, telemetry(), io.get_executor(),
                   db.get_executor(), feed_db.get_executor(), cpu.get_executor(),
                   [this](std::int64_t uid, bool last) { batch_ended(uid, last); }, [this] { loop.wake_dispatcher(); }},
                  factory_settings(s, run_once)),
          feed(feed_writes, targets, factory, pressure, c, io.get_executor(), telemetry(), feed_settings(s)),
          loop(queue, feeds, election, pipelines, feed, factory, health, reads, c, telemetry(), loop_settings()),
          target_views(reads, writes, c, telemetry(), run_once, [this] { loop.wake_watch(); }),
          target_watch(election, target_views, reads, c, {s.loop_poll, s.lease_renew, s.loop_pass_timeout, run_once},
                       [this](const Result<RunSummaryCounts>& counts) { loop.target_views_listed(counts); }) {}

    Telemetry telemetry() { return {metrics, tracer}; }

    LoopSettings loop_settings() const {
        LoopSettings l;
        l.poll = settings.loop_poll;
        l.renew = settings.lease_renew;
        l.heartbeat = settings.claim_heartbeat;
        l.pass_timeout = settings.loop_pass_timeout;
        l.backoff_base = settings.loop_backoff_base;
        l.backoff_cap = settings.loop_backoff_cap;
        l.history_weeks = static_cast<int>(settings.history_weeks);
        l.replica = settings.replica_name;
        l.once = once;
        return l;
    }

    // Many batches of a pipeline end within moments: one look at it serves them all. After the last one there is nothing else
    // to wait for.
    void batch_ended(std::int64_t uid, bool last) {
        queue.add(uid, kPrioritySpec, std::chrono::milliseconds(last ? 2 : 100));
        loop.wake_dispatcher();
    }

    // Whatever was said while nobody listened is looked for.
    void listening() {
        for (const std::int64_t uid : loop.fed()) feeds.add(uid, kPriorityDrift);
    }

    Status check_schema() {
        Context context;
        Result<Pool::Lease> session = reads.acquire(context);
        if (!session) return session.error().with_prefix("the database cannot be used");
        Result<int> version = schema_version(**session);
        if (!version) return version.error();
        if (*version < newest_migration()) {
            return invalid(fmt::format("the schema is at {} and this binary needs {}; run `homeostat migrate up`", *version,
                                       newest_migration()));
        }
        if (*version > newest_migration()) {
            return invalid(fmt::format("the schema is at {}, newer than this binary knows ({}); use a newer binary", *version,
                                       newest_migration()));
        }
        return {};
    }

    Status start_http() {
        const auto address = listen_address(settings.http_listen);
        if (!address || once) return {};
        HttpServerOptions options;
        options.address = address->first;
        options.port = address->second;
        http = std::make_unique<HttpServer>(io.get_executor(), options);
        health.add_routes(*http);
        add_metrics_route(*http, metrics);
        return http->start();
    }

    Status start() {
        const SteadyTime started = clock.steady_now();
        work.emplace(io.get_executor());
        for (int i = 0; i < 2; ++i) io_threads.emplace_back([this] { io.run(); });
        if (const Status served = start_http(); !served) return served;
        Status schema = check_schema();
        // A connection that breaks in this very moment is no reason to give up; a database that is not there is one.
        for (int more = 4; more > 0 && !schema && schema.error().cls == ErrorClass::db_transient; --more) {
            if (clock.steady_now() - started > std::chrono::seconds(2)) break;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            schema = check_schema();
        }
        if (!schema) return schema;
        health.set_ready({});
        // One worker plans while another may be building an index.
        for (std::uint32_t i = 0; i < settings.loop_workers; ++i) {
            workers.emplace_back([this](const std::stop_token& s) { loop.work(s); });
        }
        dispatcher = std::jthread([this](const std::stop_token& s) { loop.dispatch(s); });
        watcher = std::jthread([this](const std::stop_token& s) { loop.watch(s); });
        target_watcher = std::jthread([this](const std::stop_token& s) { target_watch.watch(s); });
        if (!once) {
            listener = std::jthread([this](const std::stop_token& s) {
                listen_for_changes(connection(settings, "homeostat-listen"), s,
                                   {.changed = [this](std::int64_t uid) { queue.add(uid, kPrioritySpec); },
                                    .fed = [this](std::int64_t uid) { feeds.add(uid, kPriorityRequested); },
                                    .connected = [this] { listening(); }});
            });
            for (int i = 0; i < 2; ++i) drainers.emplace_back([this](const std::stop_token& s) { loop.drain(s); });
        }
        return {};
    }

    void stop() {
        for (std::jthread* t : {&target_watcher, &watcher, &listener}) {
            t->request_stop();
            if (t->joinable()) t->join();
        }
        for (auto* threads : {&workers, &drainers}) {
            for (std::jthread& w : *threads) w.request_stop();
            for (std::jthread& w : *threads) w.join();
            threads->clear();
        }
        // The dispatcher goes on sending heartbeats while the factory drains.
        factory.drain(std::chrono::steady_clock::now() + settings.drain_budget);
        dispatcher.request_stop();
        if (dispatcher.joinable()) dispatcher.join();
        // What was learnt of providers is for the next start too.
        if (const Status shared = factory.share(Context{}, true); !shared)
            spdlog::debug("what was learnt of providers is lost: {}", shared.error().message);
        if (const Status resigned = election.resign(); !resigned)
            spdlog::debug("leases are left to expire: {}", resigned.error().message);
        if (http) http->stop(std::chrono::seconds(2));
        work.reset();
        io.stop();
        io_threads.clear();
        db.join();
        feed_db.join();
        cpu.join();
    }

    const Settings settings;
    const bool once;
    const Clock& clock;
    Registry& metrics;
    const Tracer tracer;
    Health health;
    Pool reads;
    Pool writes;
    Pool feed_writes;
    asio::io_context io;
    asio::thread_pool db;
    asio::thread_pool feed_db;
    asio::thread_pool cpu;
    MemoryBudget memory;
    WriterPressure pressure;
    Gateway gateway;
    Targets targets;
    WorkQueue queue;
    WorkQueue feeds;
    Election election;
    PipelineReconciler pipelines;
    Factory factory;
    Feed feed;
    Loop loop;
    TargetViewReconciler target_views;
    TargetWatch target_watch;
    std::unique_ptr<HttpServer> http;
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
    std::vector<std::jthread> io_threads;
    std::vector<std::jthread> workers;
    std::vector<std::jthread> drainers;
    std::jthread dispatcher;
    std::jthread watcher;
    std::jthread target_watcher;
    std::jthread listener;
    bool stopped = false;
};

Controller::Controller(const Settings& settings, bool once, const Clock& clock, Registry& metrics, SpanSink* spans,
                       EmbedderMaker make)
    : impl_(std::make_unique<Impl>(settings, once, clock, metrics, spans, std::move(make))) {}

Controller::~Controller() { stop(); }

Status Controller::start() { return impl_->start(); }

Result<RunSummaryCounts> Controller::wait(const std::stop_token& stop) { return impl_->loop.wait(stop); }

void Controller::stop() {
    if (std::exchange(impl_->stopped, true)) return;
    impl_->stop();
}

std::uint16_t Controller::http_port() const noexcept { return impl_->http ? impl_->http->port() : 0; }

// Many threads, short-lived buffers: without a bound every thread's arena keeps its high-water mark.
void bound_allocator() noexcept {
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

}  // namespace homeostat
