// The circuit breaker: stops asking a provider that does not answer, and finds out with few calls when it does again.
//
// A pure state machine over (state, event, now): no clock, no lock, no thread. Closed: every call goes. Open: none goes until
// retry_at(). Half open: one probe, then three; all of them answered closes it, one failure opens it again. A restart is met
// every second; only then do open times double. Figures are those of resilience4j and Envoy (window, shares, minimum).
//
// A failure that one text may have provoked (`suspect`) never opens it by itself: where it would, nothing goes until a text that
// is known to be good was asked for (prove()), and its answer decides.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "core/clock.hpp"

namespace homeostat {

enum class BreakerState : std::uint8_t { closed, open, half_open };
std::string_view to_string(BreakerState s) noexcept;

enum class CallResult : std::uint8_t {
    success,
    slow,     // answered, but only just within the deadline
    failure,  // no answer, or a wrong one
    refused,  // credentials or quota: useless to ask again soon
    suspect,  // a failure that may be the text's own
};

struct BreakerSettings {
    Duration window = std::chrono::seconds(30);
    int minimum_calls = 10;     // in the window, before shares are judged
    double failure_share = 0.5;
    double slow_share = 0.8;
    int consecutive = 5;        // failures in a row that open it whatever the shares
    Duration open_base = std::chrono::seconds(1);
    int even = 8;               // open times in a row of that length, before they double
    Duration open_cap = std::chrono::minutes(5);
    Duration refused_open = std::chrono::minutes(30);
    int probes = 3;             // of the second half-open step; the first is one
};

class Breaker {
public:
    explicit Breaker(BreakerSettings settings = {}) : settings_(settings) {}

    BreakerState state(SteadyTime now) const noexcept;
    // How many calls may be in flight: any number (a large one), none, or the probes.
    int allowed(SteadyTime now) const noexcept;
    // Names the stay in a state; a result that comes back under another ticket says nothing about the present state.
    std::uint64_t ticket(SteadyTime now) noexcept;
    // `random` in [0, 1) spreads the end of an open time by a fifth either way.
    void record(CallResult result, std::uint64_t ticket, SteadyTime now, double random);

    // Nothing goes until prove() or undecided(); one of them must follow.
    bool doubted() const noexcept { return doubted_; }
    void doubt() noexcept { doubted_ = state_ != BreakerState::open; }
    // What became of the good text: `success` clears the provider of all that was suspect, anything else opens the breaker.
    void prove(CallResult result, SteadyTime now, double random);
    void undecided() noexcept;

    // Open until then, as another replica found out. Never shortens an open time.
    void restore(int opened, SteadyTime retry_at);
    // The next call may probe at once (a person asked, or the provider was declared anew).
    void allow_probe(SteadyTime now);

    SteadyTime retry_at() const noexcept { return retry_at_; }
    int opened() const noexcept { return opened_; }  // in a row, without a quiet minute between

private:
    static constexpr int kSeconds = 64;  // buckets of a second; more than the window's
    struct Bucket {
        std::int64_t second = -1;
        int calls = 0;
        int failures = 0;
        int slow = 0;
    };
    void count(CallResult result, SteadyTime now);
    void pass_probe(SteadyTime now);
    Duration next_open() const;
    bool should_open(SteadyTime now) const;
    void open(SteadyTime now, Duration length, double random);
    void enter_half_open();

    BreakerSettings settings_;
    BreakerState state_ = BreakerState::closed;
    SteadyTime retry_at_{};
    SteadyTime closed_at_{};
    std::uint64_t ticket_ = 0;
    int opened_ = 0;
    int in_a_row_ = 0;
    int probes_passed_ = 0;
    bool suspects_ = false;  // among the failures
    bool doubted_ = false;
    std::array<Bucket, kSeconds> buckets_{};
};

}  // namespace homeostat
