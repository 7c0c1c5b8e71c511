#include "controller/controller.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <thread>

#include "controller/background_threads.hpp"
#include "controller/config/chunkers.hpp"
#include "controller/config/config_values.hpp"
#include "controller/election.hpp"
#include "controller/embedders.hpp"
#include "controller/export/export_prometheus.hpp"
#include "controller/export/export_traces.hpp"
#include "controller/http/health.hpp"
#include "controller/http/server.hpp"
#include "controller/liveness.hpp"
#include "controller/login.hpp"
#include "controller/loop.hpp"
#include "controller/part_settings.hpp"
#include "controller/pool_gauges.hpp"
#include "controller/reporter.hpp"
#include "controller/target_watch.hpp"
#include "controller/trace_keeper.hpp"
#include "controller/workqueue.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/gateway/embed_now.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/sweep_standby.hpp"
#include "reconcilers/target_view.hpp"
#include "store/control/migrator.hpp"
#include "store/control/watch.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds kFarewell{1'000};  // to give back what is left, after the budget

}  // namespace

// Members stand in the order they are started; they are destroyed in the other.
struct Controller::Impl {
    Impl(const Settings& s, RunMode mode, const Clock& c, Registry& m, SpanSink* spans, EmbedderMaker make)
        : settings(s),
          once(mode.once),
          migrate(mode.migrate),
          clock(c),
          metrics(m),
          keeper(trace_keeping(s, keeping(s, "homeostat-trace")), c, m),
          fan(spans, keeper.keeps() ? &keeper : nullptr),
          tracer(fan.used(), c, spans == nullptr ? TraceSampler(0) : trace_sampler()),
          health(c),
          reads(connection(s, "homeostat-read", abandon.get_token()), s.database_read_connections),
          standby_reads(standby_options(connection(s, "homeostat-observe", abandon.get_token()), s.database_observe_url),
                        s.database_read_connections),
          writes(connection(s, "homeostat-write", abandon.get_token()), s.database_write_connections),
          feed_writes(connection(s, "homeostat-feed", abandon.get_token()), s.database_feed_connections),
          db(s.database_read_connections + s.database_write_connections),
          feed_db(s.database_feed_connections),
          cpu(cores(s)),
          memory(memory_budget(s), m),
          turns(c),
          gateway({make ? std::move(make)
                        : make_embedder_maker(s, {io.get_executor(), cpu.get_executor(), quick.get_executor()}, c, telemetry()),
                   db.get_executor(), c, telemetry(), &reads},
                  gateway_settings(s)),
          chunkers(registered_chunkers(s), make_chunker_maker(s, io.get_executor(), c, telemetry()), db.get_executor()),
          targets(reads, feed_db.get_executor(), c, m),
          queue(c, m),
          feeds(c, m, "feed"),
          election(keeping(s, "homeostat-lease"), {s.replica_name, s.lease_ttl, std::chrono::milliseconds(2'000)}, c, m),
          liveness(keeping(s, "homeostat-live"), {s.replica_name, s.lease_ttl}, c, m),
          standby(standby_reads, reads, faults, c, s.database_observe_max_lag),
          pipelines(reads, writes, gateway, memory, pressure, feed_progress, faults, c, telemetry(),
                    pipeline_settings(
                        s, mode, s.database_observe_url.empty() ? nullptr : &standby, [this] { loop.wake_dispatcher(); },
                        [this](EmbedOrder order, const std::vector<std::string>& texts, const Context& context) {
                            return embed_now(io.get_executor(), gateway, std::move(order), texts, context);
                        })),
          factory({reads,
                   writes,
                   feed_writes,
                   gateway,
                   targets,
                   memory,
                   pressure,
                   turns,
                   gate,
                   faults,
                   chunkers,
                   c,
                   telemetry(),
                   io.get_executor(),
                   db.get_executor(),
                   feed_db.get_executor(),
                   cpu.get_executor(),
                   [this](std::int64_t uid, bool last) { batch_ended(uid, last); },
                   [this] { loop.wake_dispatcher(); },
                   [this](const Batch& batch, const SpanContext& span) { keeper.begun(batch, span); }},
                  factory_settings(s, mode.once)),
          feed(feed_writes, targets, factory, pressure, turns, c, io.get_executor(), telemetry(), feed_settings(s)),
          loop(queue, feeds, election, liveness, pipelines, feed, feed_progress, faults, factory, health, reads, c, telemetry(),
               loop_settings()),
          reporter(election, feed_progress, faults, reads, c, telemetry(), std::clamp(s.loop_poll, Millis(200), Millis(1'000))),
          target_views(reads, writes, c, telemetry(), mode.once, [this] { loop.wake_watch(); }),
          target_watch(election, target_views, faults, reads, c, {s.loop_poll, s.lease_renew, s.loop_pass_timeout, mode.once},
                       [this](const Result<RunSummaryCounts>& counts) { loop.target_views_listed(counts); }) {}

    Telemetry telemetry() { return {metrics, tracer}; }

    // Of connections that keep this replica's place: what they ask for is not waited for long, but asked for again.
    ConnectOptions keeping(const Settings& s, std::string name) const {
        ConnectOptions o = connection(s, std::move(name), abandon.get_token());
        o.lock_timeout_ms = std::min(o.lock_timeout_ms, 1'000U);
        o.statement_timeout_ms = std::min(o.statement_timeout_ms, 10'000U);
        return o;
    }

    LoopSettings loop_settings() {
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
        l.check_schema = check_schema;
        l.tend = [this] { tend_pools(); };
        return l;
    }

    // Once a second, by the keeper: what broke while it was idle is found before somebody needs it.
    void tend_pools() {
        const std::pair<const char*, Pool*> all[] = {
            {"read", &reads}, {"write", &writes}, {"feed", &feed_writes}, {"observe", &standby_reads}};
        for (const auto& [name, pool] : all) {
            if (pool == &standby_reads && settings.database_observe_url.empty()) continue;
            pool->tend();
            publish_pool(metrics, name, pool->figures());
        }
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

    static Status check_schema(Session& session) {
        Result<int> version = schema_version(session);
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

    Status look_for_database(const std::stop_token& stop) {
        Context context;
        context.stop = stop;
        Result<Pool::Lease> session = reads.acquire(context);
        if (!session) return session.error().with_prefix("the database cannot be used");
        if (const Status bounded = check_login(**session, settings); !bounded) return bounded;
        const Status fits = check_schema(**session);
        return fits || !migrate ? fits : bring_up(fits.error());
    }

    // By a connection of its own, which has prepared nothing for the schema as it was. Who comes second waits for the first.
    Status bring_up(const Error& misfit) {
        Result<std::unique_ptr<Session>> session =
            Session::connect(connection(settings, "homeostat-migrate", abandon.get_token()));
        if (!session) return session.error();
        const Result<int> before = schema_version(**session);
        if (!before || *before > newest_migration()) return misfit;
        const Result<int> done = migrate_up(**session);
        if (!done) return done.error().with_prefix(fmt::format("{}: --migrate was tried", misfit.message));
        if (*done > 0) spdlog::info("the schema was at {} and is at {} now", *before, newest_migration());
        return check_schema(**session);
    }

    // A database that is not there is waited for; who waits for the end of this run is told after a while.
    Status await_database(const std::stop_token& stop) {
        const std::stop_callback stopping(stop, [this] { abandon.request_stop(); });
        const SteadyTime started = clock.steady_now();
        Mutex alone;
        CondVar woken;
        for (;;) {
            health.tick();
            Status there = look_for_database(stop);
            health.set_ready(there);
            if (there) faults.over("the start", clock.steady_now());
            if (there || there.error().cls != ErrorClass::db_transient) return there;
            if (stop.stop_requested()) return cancelled("stopped before the database could be used");
            if (once && clock.steady_now() - started >= settings.database_start_timeout) return there;
            const std::string until =
                fmt::format(", for {} at most (database.start_timeout)", duration_text(settings.database_start_timeout));
            faults.met("the start", std::string("database"), there.error().message + "; it is waited for" + (once ? until : ""),
                       clock.steady_now());
            const Lock lock(alone);
            woken.wait_until(alone, stop, std::chrono::steady_clock::now() + std::min(settings.loop_poll, Millis(500)));
        }
    }

    Status start_http() {
        const auto address = listen_address(settings.http_listen);
        if (!address || once) return {};
        http = std::make_unique<HttpServer>(
            io.get_executor(),
            HttpServerOptions{.address = address->first, .port = address->second, .token = settings.http_token});
        health.add_routes(*http);
        add_metrics_route(*http, metrics);
        if (more_routes) more_routes(*http, health);
        const Status served = http->start();
        if (served) spdlog::info("serving /livez, /readyz and /metrics on port {}", http->port());
        return served;
    }

    Status start(const std::stop_token& stop) {
        give_way(cpu.get_executor(), cores(settings));
        work.emplace(io.get_executor());
        for (int i = 0; i < 2; ++i) io_threads.emplace_back([this] { io.run(); });
        if (const Status served = start_http(); !served) return served;
        if (const Status there = await_database(stop); !there) return there;
        // One worker plans while another may be building an index.
        for (std::uint32_t i = 0; i < settings.loop_workers; ++i) {
            workers.emplace_back([this](const std::stop_token& s) { loop.work(s); });
        }
        if (keeper.keeps()) trace_writer = std::jthread([this](const std::stop_token& s) { keeper.run(s); });
        lease_keeper = std::jthread([this](const std::stop_token& s) { loop.keep(s); });
        dispatcher = std::jthread([this](const std::stop_token& s) { loop.dispatch(s); });
        watcher = std::jthread([this](const std::stop_token& s) { loop.watch(s); });
        target_watcher = std::jthread([this](const std::stop_token& s) { target_watch.watch(s); });
        if (!once) {
            listener = std::jthread([this](const std::stop_token& s) {
                listen_for_changes(connection(settings, "homeostat-listen", abandon.get_token()), s,
                                   {.changed = [this](std::int64_t uid) { queue.add(uid, kPrioritySpec); },
                                    .fed = [this](std::int64_t uid) { feeds.add(uid, kPriorityRequested); },
                                    .connected = [this] { listening(); }});
            });
            reporter_thread = std::jthread([this](const std::stop_token& s) { reporter.watch(s); });
            for (int i = 0; i < 2; ++i) drainers.emplace_back([this](const std::stop_token& s) { loop.drain(s); });
        }
        return {};
    }

    void stop() {
        // Whatever the database does, this ends: who still waits for it when the time is up waits no longer.
        const std::jthread watchdog([this](const std::stop_token& done) {
            Mutex alone;
            CondVar woken;
            const auto until = std::chrono::steady_clock::now() + settings.drain_budget + kFarewell;
            const Lock lock(alone);
            while (!done.stop_requested() && std::chrono::steady_clock::now() < until) woken.wait_until(alone, done, until);
            if (!done.stop_requested()) abandon.request_stop();
        });
        const auto budget = std::chrono::steady_clock::now() + settings.drain_budget;
        const bool reported = reporter_thread.joinable();
        std::vector<std::jthread*> planners{&target_watcher, &watcher, &listener, &reporter_thread};
        for (std::jthread& w : workers) planners.push_back(&w);
        for (std::jthread& w : drainers) planners.push_back(&w);
        for (std::jthread* t : planners) t->request_stop();
        for (std::jthread* t : planners) {
            if (t->joinable()) t->join();
        }
        workers.clear();
        drainers.clear();
        // The keeper goes on sending heartbeats while the factory drains.
        factory.drain(budget);
        for (std::jthread* t : {&dispatcher, &lease_keeper}) t->request_stop();
        for (std::jthread* t : {&dispatcher, &lease_keeper}) {
            if (t->joinable()) t->join();
        }
        factory.give_back_owed(Context{});
        // What was learnt of providers is for the next start too.
        if (const Status shared = factory.share(Context{}, true); !shared)
            spdlog::debug("what was learnt of providers is lost: {}", shared.error().message);
        // What was true a moment ago would be told until another replica comes.
        if (const Status told = reported ? reporter.look() : Status{}; !told)
            spdlog::debug("the last conditions are not told: {}", told.error().message);
        if (const Status resigned = election.resign(); !resigned)
            spdlog::debug("leases are left to expire: {}", resigned.error().message);
        if (const Status left = liveness.leave(); !left)
            spdlog::debug("this replica is not told to have ended: {}", left.error().message);
        // What has ended by now is all that there is to be kept.
        trace_writer = {};
        if (http) http->stop(std::chrono::seconds(2));
        work.reset();
        io.stop();
        io_threads.clear();
        db.join();
        feed_db.join();
        cpu.join();
        quick.join();
    }

    const Settings settings;
    const bool once;
    const bool migrate;
    const Clock& clock;
    Registry& metrics;
    std::stop_source abandon;  // whoever waits for the database waits no longer
    TraceKeeper keeper;
    SpanFan fan;
    const Tracer tracer;
    Health health;
    Pool reads;
    Pool standby_reads;
    Pool writes;
    Pool feed_writes;
    asio::io_context io;
    asio::thread_pool db;
    asio::thread_pool feed_db;
    asio::thread_pool cpu;
    asio::thread_pool quick{1};
    MemoryBudget memory;
    WriterPressure pressure;
    RowTurns turns;
    WriteGate gate;
    FeedProgress feed_progress;
    FaultLog faults;
    Gateway gateway;
    ChunkPrograms chunkers;
    Targets targets;
    WorkQueue queue;
    WorkQueue feeds;
    Election election;
    Liveness liveness;
    SweepStandby standby;
    PipelineReconciler pipelines;
    Factory factory;
    Feed feed;
    Loop loop;
    Reporter reporter;
    TargetViewReconciler target_views;
    TargetWatch target_watch;
    RouteMaker more_routes;
    std::unique_ptr<HttpServer> http;
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
    std::vector<std::jthread> io_threads;
    std::vector<std::jthread> workers;
    std::vector<std::jthread> drainers;
    std::jthread dispatcher;
    std::jthread lease_keeper;
    std::jthread trace_writer;
    std::jthread watcher;
    std::jthread target_watcher;
    std::jthread listener;
    std::jthread reporter_thread;
    bool stopped = false;
};

Controller::Controller(const Settings& settings, RunMode mode, const Clock& clock, Registry& metrics, SpanSink* spans,
                       EmbedderMaker make)
    : impl_(std::make_unique<Impl>(settings, mode, clock, metrics, spans, std::move(make))) {}

Controller::~Controller() { stop(); }

void Controller::serve(RouteMaker routes) { impl_->more_routes = std::move(routes); }

Status Controller::start(const std::stop_token& stop) { return impl_->start(stop); }

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
