// How fast a provider is asked: requests at a time, requests and tokens a minute, pauses it asks for, and retries.
//
// Pure state machines over (state, event, now), without clock, lock or thread. ConcurrencyLimit is AIMD with a slow start (Chiu
// and Jain 1989; Jacobson 1988), RateLimit is the generic cell rate algorithm (ITU-T I.371), RetryBudget is Finagle's.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "core/clock.hpp"

namespace homeostat {

// Requests in flight: grows while they are answered, shrinks where the other side suffers.
class ConcurrencyLimit {
public:
    // Starts at `start` or the ceiling, whichever is less; the floor is one.
    explicit ConcurrencyLimit(int ceiling, int start = 4);

    int limit() const noexcept { return static_cast<int>(limit_); }
    int ceiling() const noexcept { return ceiling_; }
    // More at a time were too many, once: what is left was found, and not only not reached yet. restore() takes it from who has
    // found out earlier.
    bool found() const noexcept { return !slow_start_; }
    void restore(int limit) noexcept;
    // `in_flight` counts the request that has just ended. A limit that is not used does not grow.
    void succeeded(int in_flight);
    // `started`: of the request. What was sent before the last cut says nothing about the limit after it.
    void timed_out(SteadyTime started, SteadyTime now) { cut(0.9, started, now); }
    void throttled(SteadyTime started, SteadyTime now) { cut(0.5, started, now); }

private:
    void cut(double factor, SteadyTime started, SteadyTime now);

    int ceiling_;
    double limit_;
    bool slow_start_ = true;
    int answered_ = 0;  // in this window, which is as long as `limit` answers
    int peak_ = 0;
    SteadyTime last_cut_ = SteadyTime::min();
};

// Requests at a time for what was written a moment ago and for the rest, which may be hours of work. In this process the former
// may be one more than all others: it computes piece by piece, and a piece takes milliseconds. Of a provider elsewhere no more is
// asked than it is declared to take, so one place is left free for them while they come.
class UrgentPlace {
public:
    static constexpr Duration kKept = std::chrono::seconds(5);  // after the last of them
    static constexpr int kWorthIt = 4;  // requests at a time: of fewer, one is too large a share to be left free

    explicit UrgentPlace(bool in_process) : in_process_(in_process) {}
    void asked(SteadyTime now) noexcept { kept_until_ = now + kKept; }
    int allowed(const ConcurrencyLimit& limit, bool urgent, SteadyTime now) const noexcept;

private:
    bool in_process_;
    SteadyTime kept_until_ = SteadyTime::min();
};

// So many units a minute, evenly, with a burst of ten seconds' worth. More than the burst at once is let through and waited for
// afterwards, because a single request cannot be sent in parts.
class RateLimit {
public:
    explicit RateLimit(std::uint64_t per_minute) : per_minute_(per_minute) {}

    // The share of one of `members` replicas.
    void divide(int members) noexcept { members_ = members < 1 ? 1 : members; }
    SteadyTime earliest(SteadyTime now) const;  // when the next may go
    void take(double units, SteadyTime now);
    void give_back(double units);  // taken for what then was not used

private:
    Duration cost(double units) const;
    std::uint64_t per_minute_;
    int members_ = 1;
    SteadyTime empty_at_ = SteadyTime::min();  // the theoretical arrival time of the algorithm
};

// Closed while the provider wants to be left alone. How long it says is bounded; where it says nothing, a pause is a quarter to
// a half of the time that its answers take, and pauses grow until it answers.
class ThrottleGate {
public:
    static constexpr Duration kShortest = std::chrono::milliseconds(100);  // that was asked for
    static constexpr Duration kBriefest = std::chrono::milliseconds(1);  // that was not
    static constexpr Duration kLongest = std::chrono::minutes(10);

    SteadyTime opens_at() const noexcept { return opens_at_; }
    // `answers`: the time that they take, zero where there was none yet. `random` in [0, 1). Many refusals of requests sent
    // before the gate closed are one event.
    void throttled(std::optional<std::chrono::milliseconds> retry_after, Duration answers, SteadyTime started, SteadyTime now,
                   double random);
    void succeeded() noexcept { in_a_row_ = 0; }
    int in_a_row() const noexcept { return in_a_row_; }  // times it was closed, without an answer between
    // There is a reason to ask before that.
    void allow_probe(SteadyTime now) noexcept { opens_at_ = std::min(opens_at_, now); }

private:
    SteadyTime opens_at_ = SteadyTime::min();
    SteadyTime closed_at_ = SteadyTime::min();
    int in_a_row_ = 0;
};

// Retries are a share of the requests of the last ten seconds, so that a provider in trouble is not asked twice as often.
class RetryBudget {
public:
    static constexpr double kShare = 0.2;
    static constexpr int kAlways = 3;  // retries at the same time that need no budget

    void requested(SteadyTime now);
    // True takes one; give it back with ended().
    bool try_retry(SteadyTime now);
    void ended() noexcept { --retrying_; }

private:
    static constexpr int kSeconds = 10;
    struct Bucket {
        std::int64_t second = -1;
        int requests = 0;
        int retries = 0;
    };
    Bucket& bucket(SteadyTime now);
    std::array<Bucket, kSeconds> buckets_{};
    int retrying_ = 0;
};

}  // namespace homeostat
