#include "reconcilers/factory/write_gate.hpp"

#include <algorithm>

namespace homeostat {

// Too many connections (53300) and a limit of the configuration (53400) say nothing about space.
bool is_write_trouble(const Error& error) noexcept {
    return error.code == "53000" || error.code == "53100" || error.code == "53200" || error.code == "58030" ||
           error.code == "25006";
}

bool WriteGate::failed(const Error& error, SteadyTime now) {
    if (!is_write_trouble(error)) return false;
    const Lock lock(mutex_);
    reason_ = error.message;
    if (state_ == State::closed) return false;
    const bool news = state_ == State::open;
    state_ = State::closed;
    pause(now);
    return news;
}

bool WriteGate::stored() {
    const Lock lock(mutex_);
    if (state_ != State::trial) return false;  // what was stored while it is closed was sent before
    state_ = State::open;
    pause_ = {};
    return true;
}

WriteGate::State WriteGate::state() const {
    const Lock lock(mutex_);
    return state_;
}

bool WriteGate::probe_due(SteadyTime now) {
    const Lock lock(mutex_);
    return state_ == State::closed && now >= until_;
}

void WriteGate::probed(bool written, SteadyTime now) {
    const Lock lock(mutex_);
    if (state_ != State::closed) return;
    if (written) {
        state_ = State::trial;
    } else {
        pause(now);
    }
}

std::string WriteGate::reason() const {
    const Lock lock(mutex_);
    return reason_;
}

void WriteGate::pause(SteadyTime now) {
    pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
    until_ = now + pause_;
}

}  // namespace homeostat
