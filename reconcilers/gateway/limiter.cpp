#include "reconcilers/gateway/limiter.hpp"

#include <algorithm>

namespace homeostat {

namespace {

constexpr double kBurstSeconds = 10;
constexpr Duration kPauseBase = std::chrono::milliseconds(100);  // the first, at most
constexpr Duration kPauseUnknown = kPauseBase / 4;               // where none was answered yet
constexpr int kPauseShare = 4;                                   // of the time that answers take
constexpr Duration kPauseCap = std::chrono::minutes(1);

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(int ceiling, int start)
    : ceiling_(std::max(1, ceiling)), limit_(std::clamp(start, 1, ceiling_)) {}

void ConcurrencyLimit::succeeded(int in_flight) {
    ++answered_;
    peak_ = std::max(peak_, in_flight);
    if (answered_ < limit()) return;
    if (peak_ * 2 >= limit()) limit_ = std::min<double>(ceiling_, slow_start_ ? limit_ * 2 : limit_ + 1);
    answered_ = 0;
    peak_ = 0;
}

void ConcurrencyLimit::cut(double factor, SteadyTime started, SteadyTime now) {
    if (started < last_cut_) return;
    last_cut_ = now;
    slow_start_ = false;
    limit_ = std::max(1.0, limit_ * factor);
    answered_ = 0;
    peak_ = 0;
}

void ConcurrencyLimit::restore(int limit) noexcept {
    limit_ = std::clamp(limit, 1, ceiling_);
    slow_start_ = false;
}

int UrgentPlace::allowed(const ConcurrencyLimit& limit, bool urgent, SteadyTime now) const noexcept {
    if (urgent) return in_process_ ? limit.limit() + 1 : std::min(limit.limit() + 1, limit.ceiling());
    const bool keep = !in_process_ && now < kept_until_ && limit.ceiling() >= kWorthIt;
    return keep ? std::min(limit.limit(), limit.ceiling() - 1) : limit.limit();
}

Duration RateLimit::cost(double units) const {
    return std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(units * 60 * members_ / static_cast<double>(per_minute_)));
}

SteadyTime RateLimit::earliest(SteadyTime now) const {
    const Duration burst = std::max(cost(1), std::chrono::duration_cast<Duration>(std::chrono::duration<double>(kBurstSeconds)));
    return empty_at_ <= now ? now : std::max(now, empty_at_ - burst + cost(1));
}

void RateLimit::take(double units, SteadyTime now) { empty_at_ = std::max(empty_at_, now) + cost(units); }

void RateLimit::give_back(double units) {
    if (empty_at_ != SteadyTime::min()) empty_at_ -= cost(units);
}

void ThrottleGate::throttled(std::optional<std::chrono::milliseconds> retry_after, Duration answers, SteadyTime started,
                             SteadyTime now, double random) {
    const bool known = started < closed_at_;
    if (known && !retry_after) return;
    if (!known) ++in_a_row_;
    Duration pause{};
    if (retry_after) {
        pause = std::clamp<Duration>(*retry_after, kShortest, kLongest);
    } else {
        // Somewhere between one and two times what it has grown to, so that replicas do not come back together.
        const Duration first = answers > Duration{} ? std::clamp(answers / kPauseShare, kBriefest, kPauseBase) : kPauseUnknown;
        const Duration least = std::min<Duration>(kPauseCap / 2, first * (1LL << std::clamp(in_a_row_ - 1, 0, 16)));
        pause = least + std::chrono::duration_cast<Duration>(least * random);
    }
    opens_at_ = std::max(opens_at_, now + pause);
    if (!known) closed_at_ = now;
}

RetryBudget::Bucket& RetryBudget::bucket(SteadyTime now) {
    const std::int64_t second = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
    Bucket& b = buckets_[static_cast<std::size_t>(second % kSeconds)];
    if (b.second != second) b = {.second = second};
    return b;
}

void RetryBudget::requested(SteadyTime now) { ++bucket(now).requests; }

bool RetryBudget::try_retry(SteadyTime now) {
    Bucket& current = bucket(now);
    int requests = 0;
    int retries = 0;
    for (const Bucket& b : buckets_) {
        if (b.second + kSeconds <= current.second) continue;
        requests += b.requests;
        retries += b.retries;
    }
    if (retrying_ >= kAlways && retries >= kShare * requests) return false;
    ++current.retries;
    ++retrying_;
    return true;
}

}  // namespace homeostat
