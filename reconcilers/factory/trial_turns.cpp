#include "reconcilers/factory/trial_turns.hpp"

#include <algorithm>

namespace homeostat {

namespace {

constexpr Duration kBetweenLooks = std::chrono::seconds(1);
constexpr Duration kTurn = std::chrono::seconds(1);  // after which no further suspect is taken
constexpr Duration kPatience = std::chrono::seconds(10);
constexpr Duration kLongestPatience = std::chrono::minutes(5);

}  // namespace

bool TrialTurns::look_due(SteadyTime now) noexcept {
    if (exclusive() || now < next_turn_ || (looked_ != SteadyTime{} && now - looked_ < kBetweenLooks)) return false;
    looked_ = now;
    return true;
}

void TrialTurns::begin(SteadyTime now) noexcept {
    if (exclusive()) return;
    phase_ = Phase::clearing;
    used_ = false;
    began_ = now;
}

TrialTurns::Step TrialTurns::next(SteadyTime now, bool idle) noexcept {
    if (phase_ != Phase::clearing) return Step::wait;
    const bool late = now - began_ >= patience_;
    if (!idle && !late) return Step::wait;
    // What is in flight takes too long: another time, and then with more patience.
    patience_ = idle ? kPatience : std::min(patience_ * 2, kLongestPatience);
    if (!idle || (used_ && now - began_ >= kTurn)) {
        end(now);
        return Step::over;
    }
    phase_ = Phase::running;
    return Step::take;
}

void TrialTurns::taken(SteadyTime now, bool found) noexcept {
    if (!found) return end(now);
    used_ = true;
}

void TrialTurns::idle() noexcept {
    if (phase_ == Phase::running) phase_ = Phase::clearing;
}

void TrialTurns::end(SteadyTime now) noexcept {
    phase_ = Phase::normal;
    next_turn_ = now + (now - began_);
    if (used_) looked_ = {};  // more may wait
}

}  // namespace homeostat
