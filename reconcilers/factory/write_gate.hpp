// Whether the database takes writes: closed while it is full or read-only, so that nothing is paid for that could not be stored.
//
// Closed by the first write that fails for such a reason. From then on nothing is claimed and no provider is asked; after a
// pause, longer each time, the caller probes. Where the probe is written, one batch at a time goes through until one is stored.
// Pure but for its lock; safe from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"

namespace homeostat {

// The disk is full, memory or space ran out, or the server is read-only: nothing that this batch or that could help.
bool is_write_trouble(const Error& error) noexcept;

class WriteGate {
public:
    enum class State : std::uint8_t { open, closed, trial };

    // A write failed. Whether that closed the gate.
    bool failed(const Error& error, SteadyTime now) EXCLUDES(mutex_);
    // A batch was stored. Whether that opened it.
    bool stored() EXCLUDES(mutex_);
    State state() const EXCLUDES(mutex_);
    // Whether it is closed and its pause is over: the caller probes, once.
    bool probe_due(SteadyTime now) EXCLUDES(mutex_);
    void probed(bool written, SteadyTime now) EXCLUDES(mutex_);
    // What closed it.
    std::string reason() const EXCLUDES(mutex_);

private:
    static constexpr std::chrono::milliseconds kFirstPause{1'000};
    static constexpr std::chrono::milliseconds kLongestPause{2'000};

    void pause(SteadyTime now) REQUIRES(mutex_);

    mutable Mutex mutex_;
    State state_ GUARDED_BY(mutex_) = State::open;
    std::chrono::milliseconds pause_ GUARDED_BY(mutex_){0};
    SteadyTime until_ GUARDED_BY(mutex_){};
    std::string reason_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
