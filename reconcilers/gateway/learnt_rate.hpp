// How many requests a second a provider takes, found out from what it refuses.
//
// A pure state machine over (event, now), without clock, lock or thread. Nothing is held back until more is refused than chance
// explains; then requests go evenly, a little slower than they were taken. The rate grows with each answer and shrinks with each
// refusal, so that it stays about the limit while a twentieth is refused. Where less than two thirds of the rate are refused no
// less often than all of it, refusals have nothing to do with it, and nothing is held back until there are clearly more.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "core/clock.hpp"

namespace homeostat {

class LearntRate {
public:
    static constexpr double kSlowest = 1;  // requests a second

    // Requests a second, while any are held back.
    std::optional<double> rate() const noexcept { return rate_ > 0 ? std::optional<double>(rate_) : std::nullopt; }
    SteadyTime earliest(SteadyTime now) const noexcept;  // when the next may go
    void take(SteadyTime now);
    void succeeded(SteadyTime now);
    // `told`: how long it wants to be left alone. `started`: of the request; what was sent before the last change says nothing
    // about the rate after it.
    void refused(bool told, SteadyTime started, SteadyTime now);

private:
    struct Outcome {
        SteadyTime at;
        bool refused;
    };
    struct Share {
        int refused = 0;
        int all = 0;
    };
    void note(bool refused, SteadyTime now);
    Share recent() const noexcept;
    double taken_a_second(SteadyTime now) const;  // of late
    void begin(Share share, SteadyTime now);
    void cut(Share share, bool told, SteadyTime now);
    void look_for_chance(bool refused);

    std::deque<SteadyTime> taken_;  // the last answers
    std::deque<Outcome> outcomes_;  // the last answers and refusals
    double rate_ = 0;  // 0 = nothing is held back
    SteadyTime next_ = SteadyTime::min();
    SteadyTime changed_ = SteadyTime::min();
    int streak_ = 0;  // answers since the last refusal
    bool found_ = false;  // it was refused after a stretch of answers: the limit is near
    bool told_ = false;  // the last refusal said how long to wait: each is dear
    double from_ = 0;  // the most it was since it was held back
    Share above_;  // outcomes at about that
    Share lower_;  // and at much less
    std::optional<int> by_chance_;  // of kOutcomes, whatever the rate
    std::int64_t count_ = 0;  // outcomes ever
    std::int64_t believe_from_ = 0;  // before that no chance is believed in
    std::int64_t patience_ = 64;
};

}  // namespace homeostat
