#include "controller/target_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "core/log_fields.hpp"
#include "store/control/our_locks.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

constexpr int kOnceFailures = 8;

std::string fresh_reconcile_id() {
    thread_local std::mt19937_64 engine(std::random_device{}());
    return fmt::format("{:016x}", engine());
}

}  // namespace

TargetWatch::TargetWatch(Election& election, Reconciler& reconciler, FaultLog& faults, Pool& reads, const Clock& clock,
                         TargetWatchSettings settings, std::function<void(const Result<RunSummaryCounts>&)> listed)
    : election_(election),
      reconciler_(reconciler),
      faults_(faults),
      reads_(reads),
      clock_(clock),
      settings_(settings),
      listed_(std::move(listed)) {}

void TargetWatch::watch(const std::stop_token& stop) {
    std::mutex m;
    std::condition_variable_any stopped;
    started_ = clock_.steady_now();
    int failures = 0;
    while (!stop.stop_requested()) {
        const Status looked = look(stop);
        failures = looked ? 0 : failures + 1;
        if (looked) {
            faults_.over("target views", clock_.steady_now());
        } else {
            tell("target views", looked.error(), "target views cannot be listed: " + looked.error().message);
        }
        if (settings_.once && looked && unsettled_.empty()) return listed_(counts_);
        if (settings_.once && failures >= kOnceFailures) return listed_(looked.error());
        SteadyTime next = clock_.steady_now() + settings_.poll;
        for (const auto& [uid, due] : due_) next = std::min(next, due);
        const auto wait = std::max(next - clock_.steady_now(), SteadyTime::duration(std::chrono::milliseconds(10)));
        std::unique_lock lock(m);
        stopped.wait_for(lock, stop, wait, [] { return false; });
    }
}

void TargetWatch::tell(const std::string& who, const Error& error, const std::string& line) {
    faults_.met(who, error, line + who_locks_ours(reads_, error), clock_.steady_now());
}

Status TargetWatch::look(const std::stop_token& stop) {
    Result<std::vector<TargetViewSpec>> views = [&]() -> Result<std::vector<TargetViewSpec>> {
        Result<Pool::Lease> session = reads_.acquire(Context{});
        if (!session) return session.error();
        return list_target_views(**session);
    }();
    if (!views) return views.error();
    std::set<std::int64_t> live;
    for (const TargetViewSpec& v : *views) {
        live.insert(v.uid);
        if (due_.try_emplace(v.uid).second) unsettled_.insert(v.uid);
    }
    std::erase_if(due_, [&](const auto& entry) { return !live.contains(entry.first); });
    std::erase_if(unsettled_, [&](std::int64_t uid) { return !live.contains(uid); });
    for (const TargetViewSpec& v : *views) {
        if (stop.stop_requested()) break;
        if (settings_.once ? unsettled_.contains(v.uid) : due_[v.uid] <= clock_.steady_now()) visit(v.uid, v.name, stop);
    }
    return {};
}

void TargetWatch::visit(std::int64_t uid, const std::string& name, const std::stop_token& stop) {
    Context context;
    context.stop = stop;
    context.reconcile_id = fresh_reconcile_id();
    context.deadline = clock_.steady_now() + settings_.pass_timeout;
    const LogFields about{{"reconcile", context.reconcile_id}, {"target_view", name}};
    const std::string who = fmt::format("target view {}", uid);
    const Result<std::optional<std::int64_t>> epoch = election_.own(target_view_lease(uid));
    if (epoch && !*epoch) {
        faults_.over(who, clock_.steady_now());
        // Another replica looks at it; should that one be dead, its lease ends before long.
        due_[uid] = clock_.steady_now() + settings_.renew;
        if (clock_.steady_now() - started_ > settings_.renew * 4) unsettled_.erase(uid);
        return;
    }
    const Result<ReconcileOutcome> outcome = [&]() -> Result<ReconcileOutcome> {
        if (!epoch) return epoch.error();
        context.epoch = **epoch;
        try {
            Span untraced;
            return reconciler_.reconcile(uid, context, untraced);
        } catch (const std::exception& e) {
            return internal_error(e.what());
        }
    }();
    if (!outcome) {
        if (outcome.error().cls != ErrorClass::cancelled)
            tell(who, outcome.error(), fmt::format("target view \"{}\": {}", name, outcome.error().message));
        due_[uid] = clock_.steady_now() + settings_.poll;
        if (++failures_[uid] < kOnceFailures && outcome.error().retryable()) return;
        if (unsettled_.erase(uid) > 0) ++counts_.failed;
        return;
    }
    failures_.erase(uid);
    faults_.over(who, clock_.steady_now());
    due_[uid] = clock_.steady_now() + (settings_.once ? std::chrono::milliseconds(0) : outcome->again_in);
    if (!ended(outcome->end) || unsettled_.erase(uid) == 0) return;
    // A target view is not counted with the pipelines that converged, only where it keeps the whole from being so.
    if (outcome->end == PassEnd::failed) ++counts_.failed;
    if (outcome->end == PassEnd::settled) ++counts_.drift_left;
}

}  // namespace homeostat
