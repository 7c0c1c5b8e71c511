// The bodies of the controller's threads: workers that reconcile, the dispatcher that claims and keeps claims and leases alive,
// and the watch that turns what is declared into keys. None of them makes a thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>

#include "controller/controller.hpp"
#include "controller/election.hpp"
#include "controller/http/health.hpp"
#include "controller/liveness.hpp"
#include "controller/reconcile_metrics.hpp"
#include "controller/resting.hpp"
#include "controller/workqueue.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/feed.hpp"
#include "reconcilers/feed_progress.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/control/watch.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct LoopSettings {
    std::chrono::milliseconds poll{1'000};
    std::chrono::milliseconds renew{5'000};
    std::chrono::milliseconds heartbeat{10'000};
    std::chrono::milliseconds pass_timeout{120'000};
    std::chrono::milliseconds backoff_base{1'000};
    std::chrono::milliseconds backoff_cap{300'000};
    int history_weeks = 4;
    std::string replica;
    bool once = false;
    std::function<void()> tend;  // once a second
    std::function<Status(Session&)> check_schema;  // whether it is this program's
};

class Loop {
public:
    // All outlive the loop.
    Loop(WorkQueue& queue, WorkQueue& feeds, Election& election, Liveness& liveness, Reconciler& reconciler, Feed& feed,
         FeedProgress& progress, FaultLog& faults, Factory& factory, Health& health, Pool& reads, const Clock& clock,
         Telemetry telemetry, LoopSettings settings);

    // Takes keys until stopped: one key at a time, one switch on the outcome.
    void work(const std::stop_token& stop);
    // Takes keys whose change feed is to be read, until stopped.
    void drain(const std::stop_token& stop);
    // Claims batches while slots are free.
    void dispatch(const std::stop_token& stop) EXCLUDES(mutex_);
    // Keeps this replica's leases and claims, and frees those of replicas that have died; nothing else may hold it up.
    void keep(const std::stop_token& stop) EXCLUDES(mutex_);
    // Compares what is declared with what was seen before; a notification only makes it faster.
    void watch(const std::stop_token& stop) EXCLUDES(mutex_);
    void wake_dispatcher() EXCLUDES(mutex_);
    // Pipelines whose change feed this replica consumes.
    std::set<std::int64_t> fed() const EXCLUDES(mutex_);
    // This process itself has declared pipelines: list them now.
    void wake_watch() EXCLUDES(mutex_);
    // In once mode nothing counts as listed before the target views have been read.
    void target_views_listed(const Result<RunSummaryCounts>& counts) EXCLUDES(mutex_);

    // Until `stop`, or in once mode until every pipeline has settled.
    Result<RunSummaryCounts> wait(const std::stop_token& stop) EXCLUDES(mutex_);

private:
    // How long the database may be away before `run --once` gives up: long enough for a restart or a failover.
    static constexpr int kOnceFailures = 8;

    void reconcile(const WorkQueue::Item& item, const std::stop_token& stop);
    void failed(const WorkQueue::Item& item, const Error& error);
    void count(std::string_view result);
    Result<FeedOutcome> look_at_feed(std::int64_t uid, const Context& context);
    void drain(std::int64_t uid, const std::stop_token& stop);
    void feed_failed(std::int64_t uid, const Error& error);
    void claim(const Context& context);
    // Logs a fault once, however many threads and pipelines meet it.
    void tell(const std::string& who, const Error& error, const std::string& line);
    void well(const std::string& who);
    void not_ours(std::int64_t uid);  // any more: its faults are another replica's to log
    void settle(std::int64_t uid, const ReconcileOutcome& outcome) EXCLUDES(mutex_);
    // In once mode, what another replica heals: settled as soon as that one has nothing to heal.
    void settle_elsewhere(std::int64_t uid) EXCLUDES(mutex_);
    // When the key is to be called again.
    void follow(const WorkQueue::Item& item, const ReconcileOutcome& outcome) EXCLUDES(mutex_);
    void give_up(const Error& error) EXCLUDES(mutex_);
    Status look() EXCLUDES(mutex_);
    Status keep_alive(SteadyTime now);
    Status renew(Session& session);
    bool usable() const EXCLUDES(mutex_);
    Status fits_schema(Session& session) EXCLUDES(mutex_);
    void upkeep(Session& session);
    void look_at_ailing() EXCLUDES(mutex_);
    void look_at_full_feeds(Session& session) EXCLUDES(mutex_);
    // Calls those idle pipelines whose interval has passed and whose fingerprint changed.
    void look_at_resting(Session& session);
    bool settled(std::int64_t uid) const EXCLUDES(mutex_);
    std::size_t settled_so_far() const EXCLUDES(mutex_);
    bool only_dependents_left(std::int64_t uid, std::size_t ended_before) EXCLUDES(mutex_);

    WorkQueue& queue_;
    WorkQueue& feeds_;
    Election& election_;
    Liveness& liveness_;
    Reconciler& reconciler_;
    Feed& feed_;
    FeedProgress& progress_;
    FaultLog& faults_;
    Factory& factory_;
    Health& health_;
    Pool& reads_;
    const Clock& clock_;
    Telemetry telemetry_;
    const LoopSettings settings_;
    ReconcileMetrics reconciles_;
    Counter& unchanged_;
    Resting resting_;
    SteadyTime next_renew_{};      // of the keeper's thread
    SteadyTime next_claim_{};      // of the dispatcher's; where claiming fails
    int claim_failures_ = 0;
    SteadyTime next_heartbeat_{};
    SteadyTime beaten_{};
    SteadyTime next_upkeep_{};     // of the watch's thread
    std::string catalog_;          // as the watch read it last
    bool catalog_changed_ = false;  // since failed pipelines were checked last
    SteadyTime next_ailing_{};

    mutable Mutex mutex_;
    CondVar changed_;
    CondVar dispatch_;
    bool dispatch_wanted_ GUARDED_BY(mutex_) = true;
    std::map<std::int64_t, Declared> seen_ GUARDED_BY(mutex_);
    bool listed_ GUARDED_BY(mutex_) = false;  // seen_ holds all there is
    bool views_listed_ GUARDED_BY(mutex_);    // what target views declare is there to be seen
    std::map<std::int64_t, int> failures_ GUARDED_BY(mutex_);
    std::set<std::int64_t> settled_ GUARDED_BY(mutex_);
    std::map<std::int64_t, std::size_t> dependent_ GUARDED_BY(mutex_);  // wait for another pipeline; in a run that is to end
    std::map<std::int64_t, std::string> elsewhere_ GUARDED_BY(mutex_);  // since when another replica's, by the server
    std::set<std::int64_t> ailing_
        GUARDED_BY(mutex_);  // settled with a failure, or with part of a feed: a change of the catalog may repair that
    std::set<std::int64_t> fed_ GUARDED_BY(mutex_);  // whose change feed this replica consumes
    RunSummaryCounts counts_ GUARDED_BY(mutex_);
    std::optional<Error> fatal_ GUARDED_BY(mutex_);
    std::string unusable_ GUARDED_BY(mutex_);  // why this program cannot use the schema; "" = it can
};

}  // namespace homeostat
