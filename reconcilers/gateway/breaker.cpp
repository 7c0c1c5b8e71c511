#include "reconcilers/gateway/breaker.hpp"

#include <algorithm>
#include <limits>

namespace homeostat {

namespace {

constexpr Duration kQuiet = std::chrono::minutes(1);

std::int64_t second_of(SteadyTime t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

}  // namespace

std::string_view to_string(BreakerState s) noexcept {
    switch (s) {
        case BreakerState::closed: return "closed";
        case BreakerState::open: return "open";
        case BreakerState::half_open: return "half_open";
    }
    return "closed";
}

BreakerState Breaker::state(SteadyTime now) const noexcept {
    return state_ == BreakerState::open && now >= retry_at_ ? BreakerState::half_open : state_;
}

int Breaker::allowed(SteadyTime now) const noexcept {
    if (doubted_) return 0;
    switch (state(now)) {
        case BreakerState::closed: return std::numeric_limits<int>::max();
        case BreakerState::open: return 0;
        case BreakerState::half_open: return state_ == BreakerState::half_open && probes_passed_ > 0 ? settings_.probes : 1;
    }
    return 0;
}

std::uint64_t Breaker::ticket(SteadyTime now) noexcept {
    if (state_ == BreakerState::open && now >= retry_at_) enter_half_open();
    return ticket_;
}

void Breaker::enter_half_open() {
    state_ = BreakerState::half_open;
    probes_passed_ = 0;
    ++ticket_;
}

void Breaker::count(CallResult result, SteadyTime now) {
    const std::int64_t second = second_of(now);
    Bucket& b = buckets_[static_cast<std::size_t>(second % kSeconds)];
    if (b.second != second) b = {.second = second};
    ++b.calls;
    if (result == CallResult::failure || result == CallResult::suspect) ++b.failures;
    if (result == CallResult::slow) ++b.slow;
}

bool Breaker::should_open(SteadyTime now) const {
    if (in_a_row_ >= settings_.consecutive) return true;
    const std::int64_t oldest = second_of(now - settings_.window);
    int calls = 0;
    int failures = 0;
    int slow = 0;
    for (const Bucket& b : buckets_) {
        if (b.second <= oldest) continue;
        calls += b.calls;
        failures += b.failures;
        slow += b.slow;
    }
    return calls >= settings_.minimum_calls &&
           (failures >= settings_.failure_share * calls || slow >= settings_.slow_share * calls);
}

void Breaker::open(SteadyTime now, Duration length, double random) {
    state_ = BreakerState::open;
    retry_at_ = now + std::chrono::duration_cast<Duration>(length * (0.8 + 0.4 * random));
    ++opened_;
    ++ticket_;
    in_a_row_ = 0;
    suspects_ = false;
    doubted_ = false;
    buckets_.fill({});
}

Duration Breaker::next_open() const {
    const int doublings = std::clamp(opened_ - settings_.even + 1, 0, 20);
    return std::min<Duration>(settings_.open_cap, settings_.open_base * (1LL << doublings));
}

void Breaker::pass_probe(SteadyTime now) {
    if (++probes_passed_ <= settings_.probes) return;
    state_ = BreakerState::closed;
    closed_at_ = now;
    ++ticket_;
}

void Breaker::record(CallResult result, std::uint64_t ticket, SteadyTime now, double random) {
    if (ticket != ticket_ || state_ == BreakerState::open) return;
    if (state_ == BreakerState::closed && opened_ > 0 && now - closed_at_ >= kQuiet) opened_ = 0;
    if (result == CallResult::refused) return open(now, settings_.refused_open, random);
    const bool failed = result == CallResult::failure || result == CallResult::suspect;
    if (state_ == BreakerState::half_open) {
        if (result == CallResult::suspect) return doubt();
        return failed ? open(now, next_open(), random) : pass_probe(now);
    }
    count(result, now);
    in_a_row_ = failed ? in_a_row_ + 1 : 0;
    suspects_ = suspects_ || result == CallResult::suspect;
    if (!should_open(now)) return;
    suspects_ ? doubt() : open(now, next_open(), random);
}

void Breaker::prove(CallResult result, SteadyTime now, double random) {
    doubted_ = false;
    if (state_ == BreakerState::open && now >= retry_at_) enter_half_open();
    if (state_ == BreakerState::open) return;
    if (result == CallResult::refused) return open(now, settings_.refused_open, random);
    if (result != CallResult::success) return open(now, next_open(), random);
    if (state_ == BreakerState::half_open) return pass_probe(now);
    in_a_row_ = 0;
    suspects_ = false;
    for (Bucket& b : buckets_) b.failures = 0;
}

void Breaker::undecided() noexcept {
    doubted_ = false;
    in_a_row_ = std::min(in_a_row_, settings_.consecutive - 1);
}

void Breaker::restore(int opened, SteadyTime retry_at) {
    if (state_ == BreakerState::open && retry_at_ >= retry_at) return;
    state_ = BreakerState::open;
    opened_ = std::max(opened_, opened);
    retry_at_ = retry_at;
    doubted_ = false;
    ++ticket_;
}

void Breaker::allow_probe(SteadyTime now) {
    if (state_ == BreakerState::open) retry_at_ = std::min(retry_at_, now);
}

}  // namespace homeostat
