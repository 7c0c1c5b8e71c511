#include "controller/workqueue.hpp"

#include <algorithm>

namespace homeostat {

WorkQueue::WorkQueue(const Clock& clock, Registry& metrics, const std::string& name)
    : clock_(clock),
      depth_(metrics.gauge("workqueue_depth", "Keys waiting.", {{"name", name}})),
      adds_(metrics.counter("workqueue_adds_total", "Keys added.", {{"name", name}})),
      waited_(metrics.histogram("workqueue_queue_duration_seconds", "Time a key waited after it was ready.",
                                {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60}, {{"name", name}})) {}

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
    processing_.insert(best->first);
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

void WorkQueue::done(std::int64_t key) {
    const Lock lock(mutex_);
    processing_.erase(key);
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
