#include "controller/resting.hpp"

#include <algorithm>
#include <utility>

namespace homeostat {

namespace {

constexpr std::chrono::seconds kPassAtMost{60};

}  // namespace

// A little early, each by its own share, so that those that came to rest together do not stay together.
SteadyTime Resting::next(std::int64_t uid, SteadyTime now, const Entry& entry) {
    return std::min(now + entry.interval * (80 + uid % 20) / 100, entry.until);
}

void Resting::put(std::int64_t uid, SteadyTime now, Duration interval, Duration rests) {
    const Lock lock(mutex_);
    Entry& entry = entries_[uid];
    entry.interval = interval;
    entry.until = now + rests;
    entry.due = now < soon_until_ ? now : next(uid, now, entry);
    entry.mark = std::exchange(entry.awaited, {});
}

void Resting::remove(std::int64_t uid) {
    const Lock lock(mutex_);
    entries_.erase(uid);
}

void Resting::look_again(SteadyTime now) {
    const Lock lock(mutex_);
    soon_until_ = now + kPassAtMost;
    for (auto& [uid, entry] : entries_) {
        if (entry.due != SteadyTime::max()) entry.due = now;
    }
}

std::vector<std::int64_t> Resting::due(SteadyTime now) const {
    const Lock lock(mutex_);
    std::vector<std::int64_t> out;
    for (const auto& [uid, entry] : entries_) {
        if (entry.due <= now) out.push_back(uid);
    }
    return out;
}

std::vector<std::int64_t> Resting::settle(const std::vector<std::int64_t>& uids, const std::vector<std::string>& marks,
                                          SteadyTime now) {
    const Lock lock(mutex_);
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < uids.size(); ++i) {
        const auto found = entries_.find(uids[i]);
        if (found == entries_.end()) continue;
        Entry& entry = found->second;
        if (!marks[i].empty() && marks[i] == entry.mark && now < entry.until) {
            entry.due = next(uids[i], now, entry);
            continue;
        }
        entry.awaited = marks[i];
        entry.due = SteadyTime::max();
        out.push_back(uids[i]);
    }
    return out;
}

}  // namespace homeostat
