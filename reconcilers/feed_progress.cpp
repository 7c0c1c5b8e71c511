#include "reconcilers/feed_progress.hpp"

namespace homeostat {

namespace {

// For so long a database that is away, or a lock that somebody holds, is not the feed's trouble.
constexpr Duration kPasses = std::chrono::seconds(2);

}  // namespace

bool FeedProgress::failed(std::int64_t uid, const Error& error, SteadyTime now) {
    const Lock lock(mutex_);
    const auto [it, fresh] = troubles_.try_emplace(uid);
    Trouble& trouble = it->second;
    const bool other = !fresh && (trouble.error.cls != error.cls || trouble.error.code != error.code);
    if (fresh) trouble.since = now;
    trouble.error = error;
    ++trouble.failures;
    return fresh || other;
}

bool FeedProgress::moved(std::int64_t uid) {
    const Lock lock(mutex_);
    return troubles_.erase(uid) > 0;
}

void FeedProgress::swept(std::int64_t uid) {
    const Lock lock(mutex_);
    if (const auto it = troubles_.find(uid); it != troubles_.end()) it->second.swept = true;
}

std::optional<FeedProgress::Trouble> FeedProgress::trouble(std::int64_t uid, SteadyTime now) const {
    const Lock lock(mutex_);
    const auto it = troubles_.find(uid);
    if (it == troubles_.end()) return std::nullopt;
    if (it->second.error.retryable() && now - it->second.since < kPasses) return std::nullopt;
    return it->second;
}

std::vector<std::int64_t> FeedProgress::failing() const {
    const Lock lock(mutex_);
    std::vector<std::int64_t> uids;
    for (const auto& [uid, trouble] : troubles_) uids.push_back(uid);
    return uids;
}

int FeedProgress::failures(std::int64_t uid) const {
    const Lock lock(mutex_);
    const auto it = troubles_.find(uid);
    return it == troubles_.end() ? 0 : it->second.failures;
}

}  // namespace homeostat
