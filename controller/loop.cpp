#include "controller/loop.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <random>

#include "core/log_fields.hpp"
#include "reconcilers/factory/retry.hpp"
#include "store/control/batches.hpp"
#include "store/control/our_locks.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::milliseconds kAway{2'000};  // between tries while the database is away, at most
constexpr std::chrono::milliseconds kGlance{250};  // between looks whether our own session is there
constexpr std::chrono::milliseconds kSettled{2'500};  // after a reconnection
constexpr std::chrono::milliseconds kLook{1'000};  // between looks at other replicas
constexpr std::chrono::milliseconds kFeedPasses{2'500};
constexpr std::chrono::milliseconds kFeedBackoff{10'000};
constexpr std::chrono::milliseconds kClaimBackoff{1'000};

std::string fresh_reconcile_id() {
    thread_local std::mt19937_64 engine(std::random_device{}());
    return fmt::format("{:016x}", engine());
}

// What may suffer from a fault beside a pipeline and its batches.
std::string pass_of(std::int64_t uid) { return fmt::format("a pass over pipeline {}", uid); }
std::string feed_of(std::int64_t uid) { return fmt::format("the change feed of pipeline {}", uid); }

std::string trace_of(const Context& context) { return context.span.valid() ? context.span.trace.hex() : ""; }

}  // namespace

Loop::Loop(WorkQueue& queue, WorkQueue& feeds, Election& election, Liveness& liveness, Reconciler& reconciler, Feed& feed,
           FeedProgress& progress, FaultLog& faults, Factory& factory, Health& health, Pool& reads, const Clock& clock,
           Telemetry telemetry, LoopSettings settings)
    : queue_(queue),
      feeds_(feeds),
      election_(election),
      liveness_(liveness),
      reconciler_(reconciler),
      feed_(feed),
      progress_(progress),
      faults_(faults),
      factory_(factory),
      health_(health),
      reads_(reads),
      clock_(clock),
      telemetry_(telemetry),
      settings_(std::move(settings)),
      reconciles_(telemetry.metrics, "pipeline"),
      unchanged_(telemetry.metrics.counter("homeostat_rest_unchanged_total",
                                           "Passes spared because nothing that concerns an idle pipeline had changed.")),
      views_listed_(!settings_.once) {}

void Loop::work(const std::stop_token& stop) {
    reconciles_.worker_comes();
    while (const std::optional<WorkQueue::Item> item = queue_.next(stop)) {
        reconcile(*item, stop);
        queue_.done(item->key);
    }
    reconciles_.worker_goes();
}

// Take, own, call, and one switch with four outcomes.
void Loop::count(std::string_view result) {
    telemetry_.metrics
        .counter("controller_runtime_reconcile_total", "Reconciles by result.",
                 {{"controller", "pipeline"}, {"result", std::string(result)}})
        .add();
}

void Loop::reconcile(const WorkQueue::Item& item, const std::stop_token& stop) {
    if (settled(item.key)) return;
    if (!usable()) return queue_.add(item.key, item.priority, settings_.poll);
    Result<std::optional<std::int64_t>> epoch = election_.own(pipeline_lease(item.key));
    if (epoch && !*epoch) {
        // Another replica plans it; should that one die, the lease expires and this look finds out.
        not_ours(item.key);
        if (settings_.once) settle_elsewhere(item.key);
        queue_.add(item.key, kPriorityDrift, settings_.once ? std::min(settings_.poll, settings_.renew) : settings_.renew);
        return;
    }
    Span span = telemetry_.tracer.start("reconcile");
    Context context;
    context.stop = stop;
    context.reconcile_id = fresh_reconcile_id();
    context = context.under(span);
    const LogFields about{{"reconcile", context.reconcile_id}, {"trace", trace_of(context)}, {"uid", std::to_string(item.key)}};
    span.set("homeostat.pipeline.uid", item.key);
    span.set("homeostat.reconcile_id", context.reconcile_id);
    const std::size_t ended_before = settings_.once ? settled_so_far() : 0;
    const SteadyTime started = clock_.steady_now();
    reconciles_.begins();
    context.deadline = started + settings_.pass_timeout;
    Result<ReconcileOutcome> outcome = epoch ? [&]() -> Result<ReconcileOutcome> {
        context.epoch = **epoch;
        try {
            return reconciler_.reconcile(item.key, context, span);
        } catch (const std::exception& e) {
            reconciles_.panicked();
            return internal_error(e.what());
        }
    }()
        : Result<ReconcileOutcome>(epoch.error());
    reconciles_.ends(std::chrono::duration<double>(clock_.steady_now() - started).count());
    wake_dispatcher();
    if (outcome) {
        well(pass_of(item.key));
        reconciles_.succeeded(!ended(outcome->end));
        if (outcome->end == PassEnd::depends && settings_.once && only_dependents_left(item.key, ended_before))
            outcome->end = PassEnd::settled;
        settle(item.key, *outcome);
        return follow(item, *outcome);
    }
    span.fail(outcome.error());
    const LogFields traced{{"trace", trace_of(context.under(span))}};
    failed(item, outcome.error());
}

void Loop::failed(const WorkQueue::Item& item, const Error& error) {
    resting_.remove(item.key);
    if (error.cls == ErrorClass::cancelled) return;
    reconciles_.failed(error);
    int failures = 0;
    {
        const Lock lock(mutex_);
        failures = ++failures_[item.key];
    }
    // While the database is away every pipeline fails alike, and must be there soon after it comes back.
    const bool away = error.cls == ErrorClass::db_transient || error.cls == ErrorClass::db_resource;
    const std::string named = fmt::format("{}: ", faults_.called(item.key));
    tell(pass_of(item.key), error, error.message.starts_with(named) ? error.message : named + error.message);
    if (settings_.once && (failures >= kOnceFailures || !error.retryable())) give_up(error);
    const auto cap = away ? std::min(settings_.backoff_cap, kAway) : settings_.backoff_cap;
    queue_.retry(item.key, item.priority, full_jitter(failures - 1, std::min(settings_.backoff_base, cap), cap, 0.75));
}

void Loop::follow(const WorkQueue::Item& item, const ReconcileOutcome& outcome) {
    {
        const Lock lock(mutex_);
        failures_.erase(item.key);
        // A feed that is not complete, or none, keeps a pipeline from rest: what the catalog says of it only a pass sees.
        const bool well = outcome.end == PassEnd::converged && outcome.rests;
        if (well || outcome.end == PassEnd::gone) {
            ailing_.erase(item.key);
        } else if (ended(outcome.end)) {
            ailing_.insert(item.key);
        }
        outcome.has_feed ? void(fed_.insert(item.key)) : void(fed_.erase(item.key));
    }
    if (outcome.has_feed) feeds_.add(item.key);
    if (outcome.rests && !settings_.once) {
        resting_.put(item.key, clock_.steady_now(), outcome.again_in, *outcome.rests);
        return;
    }
    resting_.remove(item.key);
    if (outcome.end == PassEnd::gone) {
        not_ours(item.key);
        if (const Status left = election_.leave(pipeline_lease(item.key)); !left)
            spdlog::debug("the lease of pipeline {} stays: {}", item.key, left.error().message);
    } else if (!settled(item.key)) {
        queue_.add(item.key, ended(outcome.end) ? kPriorityDrift : item.priority, outcome.again_in);
    }
}

void Loop::drain(const std::stop_token& stop) {
    while (const std::optional<WorkQueue::Item> item = feeds_.next(stop)) {
        drain(item->key, stop);
        feeds_.done(item->key);
    }
}

// What is thrown past the feed must not end the thread that drains them all.
Result<FeedOutcome> Loop::look_at_feed(std::int64_t uid, const Context& context) {
    try {
        return feed_.look(uid, context);
    } catch (const std::exception& e) {
        return internal_error(e.what());
    }
}

// The lease is the pipeline's own: who plans its sweeps drains its feed.
void Loop::drain(std::int64_t uid, const std::stop_token& stop) {
    if (!usable()) return feeds_.add(uid, kPriorityDrift, settings_.poll);
    Result<std::optional<std::int64_t>> epoch = election_.own(pipeline_lease(uid));
    if (epoch && !*epoch) return;  // another replica's: it is called too
    Context context;
    context.stop = stop;
    context.reconcile_id = fresh_reconcile_id();
    const LogFields about{{"reconcile", context.reconcile_id}, {"uid", std::to_string(uid)}};
    if (epoch) context.epoch = **epoch;
    Result<FeedOutcome> looked = epoch ? look_at_feed(uid, context) : Result<FeedOutcome>(epoch.error());
    if (looked) {
        if (progress_.moved(uid)) queue_.add(uid, kPriorityDrift);
        well(feed_of(uid));
        if (looked->planned) wake_dispatcher();
        if (looked->sweep) queue_.add(uid, kPrioritySpec);
        if (looked->again_in) feeds_.add(uid, kPrioritySpec, *looked->again_in);
        return;
    }
    const Error& error = looked.error();
    if (error.cls == ErrorClass::cancelled || error.cls == ErrorClass::fenced) return;
    feed_failed(uid, error);
}

// The changes stay where they are. Said once, by the log and by a pass, which sweeps for what waits; tried again ever more
// seldom.
void Loop::feed_failed(std::int64_t uid, const Error& error) {
    tell(feed_of(uid), error, fmt::format("the change feed of {} cannot be consumed: {}", faults_.called(uid), error.message));
    if (progress_.failed(uid, error, clock_.steady_now())) {
        // What may pass by itself is looked at when it has not.
        queue_.add(uid, kPriorityDrift, error.retryable() ? kFeedPasses : std::chrono::milliseconds(0));
    }
    const auto wait = full_jitter(progress_.failures(uid) - 1, settings_.poll, kFeedBackoff, 0.75);
    feeds_.add(uid, kPriorityDrift, std::max(settings_.poll, wait));
}

void Loop::tell(const std::string& who, const Error& error, const std::string& line) {
    faults_.met(who, error, line + who_locks_ours(reads_, error), clock_.steady_now());
}

void Loop::not_ours(std::int64_t uid) {
    for (const std::string& part : {pass_of(uid), feed_of(uid), pipeline_of(uid), batches_of(uid), triggers_of(uid)}) well(part);
}

void Loop::well(const std::string& who) { faults_.over(who, clock_.steady_now()); }

void Loop::settle(std::int64_t uid, const ReconcileOutcome& outcome) {
    if (!settings_.once) return;
    const Lock lock(mutex_);
    if (outcome.end != PassEnd::depends) dependent_.erase(uid);
    if (!ended(outcome.end)) return;
    if (!settled_.insert(uid).second) return;
    const bool well = outcome.end == PassEnd::converged || outcome.end == PassEnd::gone;
    ++(outcome.end == PassEnd::failed ? counts_.failed : well ? counts_.converged : counts_.drift_left);
    changed_.notify_all();
}

std::set<std::int64_t> Loop::fed() const {
    const Lock lock(mutex_);
    return fed_;
}

bool Loop::settled(std::int64_t uid) const {
    const Lock lock(mutex_);
    return settled_.contains(uid);
}

void Loop::give_up(const Error& error) {
    const Lock lock(mutex_);
    if (!fatal_) fatal_ = error;
    changed_.notify_all();
}

void Loop::wake_dispatcher() {
    const Lock lock(mutex_);
    dispatch_wanted_ = true;
    dispatch_.notify_one();
}

void Loop::wake_watch() {
    const Lock lock(mutex_);
    changed_.notify_all();
}

void Loop::target_views_listed(const Result<RunSummaryCounts>& counts) {
    const Lock lock(mutex_);
    views_listed_ = true;
    if (counts) {
        counts_.drift_left += counts->drift_left;
        counts_.failed += counts->failed;
    } else if (!fatal_) {
        fatal_ = counts.error();
    }
    changed_.notify_all();
}

void Loop::dispatch(const std::stop_token& stop) {
    Context context;
    context.stop = stop;
    while (!stop.stop_requested()) {
        if (usable() && clock_.steady_now() >= next_claim_) claim(context);
        const Lock lock(mutex_);
        const auto until = std::chrono::steady_clock::now() + settings_.poll;
        while (!dispatch_wanted_ && std::chrono::steady_clock::now() < until) {
            if (!dispatch_.wait_until(mutex_, stop, until)) break;
        }
        dispatch_wanted_ = false;
    }
}

void Loop::keep(const std::stop_token& stop) {
    Mutex alone;
    CondVar stopped;
    SteadyTime next_look{};
    SteadyTime next_tend{};
    while (!stop.stop_requested()) {
        const SteadyTime now = clock_.steady_now();
        queue_.tell_unfinished();
        feeds_.tell_unfinished();
        if (settings_.tend && now >= next_tend) {
            settings_.tend();
            next_tend = now + kLook;
        }
        // A session that breaks is made again at once: others take it for the process.
        if (usable() && (now >= next_look || !liveness_.alive())) {
            const Status kept = keep_alive(now);
            next_look = clock_.steady_now() + kLook;
            if (kept) {
                well("claims and leases");
            } else {
                tell("claims and leases", kept.error(), "claims and leases cannot be kept alive: " + kept.error().message);
            }
        }
        const Lock lock(alone);
        stopped.wait_until(alone, stop, std::chrono::steady_clock::now() + kGlance);
    }
}

// A claim that keeps failing is logged once, and tried ever more seldom; what waits for it is told by the conditions.
void Loop::claim(const Context& context) {
    const Result<int> claimed = factory_.claim(context);
    const Status done = claimed ? factory_.share(context) : Status(claimed.error());
    if (done) {
        claim_failures_ = 0;
        return well("claiming");
    }
    if (done.error().cls == ErrorClass::cancelled) return;
    tell("claiming", done.error(), "batches cannot be claimed: " + done.error().message);
    next_claim_ = clock_.steady_now() + full_jitter(claim_failures_++, settings_.poll, kClaimBackoff, 0.75);
}

Status Loop::keep_alive(SteadyTime now) {
    Result<int> gone = liveness_.look();
    if (!gone) return gone.error();
    Result<Session*> session = liveness_.session();
    if (!session) return session.error();
    if (*gone > 0 || now >= next_renew_) {
        next_renew_ = now + settings_.renew;
        if (const Status renewed = renew(**session); !renewed) return renewed;
    }
    // Soon after the session was made again too: a server that crashed may have lost the end of batches of ours.
    const bool reconnected = now - liveness_.since() >= kSettled && beaten_ < liveness_.since() + kSettled;
    if (now < next_heartbeat_ && !reconnected) return {};
    next_heartbeat_ = now + settings_.heartbeat;
    beaten_ = now;
    if (const Status beat = factory_.heartbeat(**session); !beat) return beat;
    if (const Status reported = factory_.report(**session); !reported) return reported;
    return liveness_.rescue_expired();
}

Status Loop::renew(Session& session) {
    Result<Renewal> renewal = election_.renew(session);
    if (!renewal) return renewal.error();
    // From now on as a follower, who looks whether it is free: whoever took it may be gone by then.
    for (const std::string& lease : renewal->lost) {
        if (const auto uid = pipeline_of_lease(lease)) queue_.add(*uid, kPriorityDrift, settings_.renew);
    }
    for (const std::string& lease : renewal->freed) {
        if (const auto uid = pipeline_of_lease(lease)) queue_.add(*uid, kPriorityDrift);
    }
    wake_dispatcher();
    return {};
}

bool Loop::usable() const {
    const Lock lock(mutex_);
    return unusable_.empty();
}

Result<RunSummaryCounts> Loop::wait(const std::stop_token& stop) {
    const Lock lock(mutex_);
    while (!stop.stop_requested() && !fatal_) {
        if (settings_.once && listed_) {
            bool all = true;
            for (const auto& [uid, declared] : seen_) all = all && settled_.contains(uid);
            if (all) break;
        }
        changed_.wait_until(mutex_, stop, std::chrono::steady_clock::now() + std::chrono::seconds(1));
    }
    if (fatal_) return *fatal_;
    return counts_;
}

}  // namespace homeostat
