#include "reconcilers/factory/writer_pressure.hpp"

#include <algorithm>

namespace homeostat {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr Duration kBetweenLooks = std::chrono::milliseconds(250);
constexpr Duration kLetUp = std::chrono::seconds(2);
constexpr int kTwice = 2;
constexpr Duration kSoon = std::chrono::milliseconds(2'500);
constexpr Duration kHold = std::chrono::seconds(30);
constexpr Duration kLongestHold = std::chrono::minutes(10);
constexpr Duration kStale = std::chrono::seconds(5);
constexpr double kNewest = 0.2;            // weight of the newest batch in the running mean
constexpr double kNewestAnswer = 0.1;     // and of the newest answer
constexpr double kForget = 1.0001;         // by which the best answer is taken to have been worse, with each that follows
constexpr double kSlowBy = 0.0005;         // seconds over twice the best answer that say that cores are waited for
constexpr double kMostPerDocument = 0.001;  // seconds: what takes longer has waited
constexpr std::size_t kFewDocuments = 16;  // of which a batch says little about many

}  // namespace

void WriterPressure::answered(Duration round_trip) {
    const double seconds = Seconds(round_trip).count();
    const Lock lock(mutex_);
    least_ = least_ == 0 ? seconds : std::min(least_ * kForget, seconds);
    mean_ += kNewestAnswer * (seconds - mean_);
}

bool WriterPressure::watched(std::int64_t uid) const {
    const Lock lock(mutex_);
    return seen_.contains(uid);
}

bool WriterPressure::due(std::int64_t uid, SteadyTime now) const {
    const Lock lock(mutex_);
    const auto it = seen_.find(uid);
    return it == seen_.end() || now - it->second.at >= kBetweenLooks;
}

bool WriterPressure::look(std::int64_t uid, std::int64_t named, std::int64_t rows, bool full, SteadyTime now) {
    const Lock lock(mutex_);
    const auto [it, first] = seen_.try_emplace(uid);
    Seen& seen = it->second;
    if (first) {
        seen.named = named;
        seen.rows = rows;
    }
    const std::int64_t changes = std::max({seen.changes, named - seen.named, rows - seen.rows});
    const bool many = !first && static_cast<double>(changes - seen.changes) >= kRowsPerSecond * Seconds(now - seen.at).count();
    if (many) seen.many = now - seen.last_many <= kSoon ? seen.many + 1 : 1;
    if (many || first) seen.last_many = now;
    const bool few = now - seen.last_many >= kLetUp;
    seen.changes = changes;
    seen.at = now;
    const bool before = seen.pressing;
    if (!before && full && seen.many >= kTwice && mean_ > 2 * least_ + kSlowBy) {
        seen.pressing = true;
        seen.hold = std::clamp(seen.hold * 2, kHold, kLongestHold);
        seen.until = now + seen.hold;
    } else if (before && (few || now >= seen.until)) {
        seen.pressing = false;
        seen.many = 0;
    }
    const bool relieved = before && !seen.pressing;
    if (few) seen_.erase(it);
    return relieved;
}

bool WriterPressure::pressing(std::int64_t uid, SteadyTime now) const {
    const Lock lock(mutex_);
    const auto it = seen_.find(uid);
    return it != seen_.end() && it->second.pressing && now - it->second.at < kStale;
}

void WriterPressure::forget(std::int64_t uid) {
    const Lock lock(mutex_);
    seen_.erase(uid);
}

void WriterPressure::worked(std::size_t documents, Duration time) {
    if (documents < kFewDocuments) return;
    const Lock lock(mutex_);
    const double newest = std::min(Seconds(time).count() / static_cast<double>(documents), kMostPerDocument);
    seconds_per_document_ += kNewest * (newest - seconds_per_document_);
}

Duration WriterPressure::work(std::int64_t documents) const {
    const Lock lock(mutex_);
    return std::chrono::duration_cast<Duration>(Seconds(seconds_per_document_ * static_cast<double>(documents)));
}

}  // namespace homeostat
