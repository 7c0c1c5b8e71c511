#include "controller/workqueue.hpp"

#include <algorithm>
#include <vector>

namespace homeostat {

namespace {

const std::vector<double> kSeconds{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60};

// As upstream names them: the queue, and the controller whose it is.
Labels labels(const std::string& name) { return {{"name", name}, {"controller", name}}; }

}  // namespace

WorkQueue::WorkQueue(const Clock& clock, Registry& metrics, const std::string& name)
    : clock_(clock),
      depth_(metrics.gauge("workqueue_depth", "Keys waiting.", labels(name))),
      adds_(metrics.counter("workqueue_adds_total", "Keys added.", labels(name))),
      retries_(metrics.counter("workqueue_retries_total", "Keys added again because their work had failed.", labels(name))),
      waited_(
          metrics.histogram("workqueue_queue_duration_seconds", "Time a key waited after it was ready.", kSeconds, labels(name))),
      worked_(metrics.histogram("workqueue_work_duration_seconds", "Time a key was worked on.", kSeconds, labels(name))),
      unfinished_(metrics.gauge("workqueue_unfinished_work_seconds",
                                "Time that keys have been worked on which is not in work_duration yet, all together.",
                                labels(name))),
      longest_(metrics.gauge("workqueue_longest_running_processor_seconds", "For how long the oldest of them has been worked on.",
                             labels(name))) {}

void WorkQueue::merge(std::int64_t key, int priority, SteadyTime ready, SteadyTime now) {
    auto& where = processing_.contains(key) ? dirty_ : waiting_;
    const auto [it, fresh] = where.try_emplace(key, Waiting{priority, ready, now, order_});
    if (fresh) {
        ++order_;
    } else {
        it->second.priority = std::max(it->second.priority, priority);
        it->second.ready = std::min(it->second.ready, ready);
    }
}

void WorkQueue::add(std::int64_t key, int priority, Duration after) {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    merge(key, priority, now + after, now);
    adds_.add();
    depth_.set(static_cast<double>(waiting_.size()));
    changed_.notify_one();
}

WorkQueue::Look WorkQueue::look(SteadyTime now) {
    auto best = waiting_.end();
    std::int64_t best_rank = 0;
    Look out;
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
        const Waiting& w = it->second;
        if (w.ready > now) {
            if (!out.earliest || w.ready < *out.earliest) out.earliest = w.ready;
            continue;
        }
        const std::int64_t rank = w.priority + std::chrono::duration_cast<std::chrono::minutes>(now - w.ready).count();
        if (best == waiting_.end() || rank > best_rank || (rank == best_rank && w.order < best->second.order)) {
            best = it;
            best_rank = rank;
        }
    }
    if (best == waiting_.end()) return out;
    waited_.observe(std::chrono::duration<double>(now - best->second.ready).count());
    out.item = Item{best->first, best->second.priority};
    processing_.emplace(best->first, now);
    waiting_.erase(best);
    depth_.set(static_cast<double>(waiting_.size()));
    return out;
}

WorkQueue::Look WorkQueue::try_next(SteadyTime now) {
    const Lock lock(mutex_);
    return look(now);
}

std::optional<WorkQueue::Item> WorkQueue::next(const std::stop_token& stop) {
    const Lock lock(mutex_);
    while (!stop.stop_requested()) {
        const SteadyTime now = clock_.steady_now();
        const Look found = look(now);
        if (found.item) return found.item;
        const Duration wait = found.earliest ? *found.earliest - now : Duration(std::chrono::seconds(1));
        changed_.wait_until(mutex_, stop, std::chrono::steady_clock::now() + std::min<Duration>(wait, std::chrono::seconds(1)));
    }
    return std::nullopt;
}

void WorkQueue::retry(std::int64_t key, int priority, Duration after) {
    retries_.add();
    add(key, priority, after);
}

void WorkQueue::tell_unfinished() {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    std::chrono::duration<double> all{0};
    std::chrono::duration<double> longest{0};
    for (const auto& [key, since] : processing_) {
        all += now - since;
        longest = std::max<std::chrono::duration<double>>(longest, now - since);
    }
    unfinished_.set(all.count());
    longest_.set(longest.count());
}

void WorkQueue::done(std::int64_t key) {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    if (const auto it = processing_.find(key); it != processing_.end()) {
        worked_.observe(std::chrono::duration<double>(now - it->second).count());
        processing_.erase(it);
    }
    if (const auto it = dirty_.find(key); it != dirty_.end()) {
        waiting_[key] = it->second;
        dirty_.erase(it);
        changed_.notify_one();
    }
    depth_.set(static_cast<double>(waiting_.size()));
}

std::size_t WorkQueue::depth() const {
    const Lock lock(mutex_);
    return waiting_.size();
}

}  // namespace homeostat
