// When batches under suspicion are tried: alone, so that a death of the process says something, and in turns with all others, so
// that they never hold up the rest.
//
// A turn begins where suspects wait and the others have had as much time as the last turn took. Then nothing else is claimed;
// what is in flight is waited for, for a bounded time; then one suspect runs after the other for a second or so. Pure; guarded by
// its owner's lock.
#pragma once

#include <cstdint>

#include "core/clock.hpp"

namespace homeostat {

class TrialTurns {
public:
    enum class Step : std::uint8_t { wait, take, over };

    // Nothing but a suspect may be claimed.
    bool exclusive() const noexcept { return phase_ != Phase::normal; }
    // Whether the caller should look for suspects now; not again within a second.
    bool look_due(SteadyTime now) noexcept;
    // Some wait.
    void begin(SteadyTime now) noexcept;
    // In a turn: `idle`, nothing is in flight. After `take` the caller claims one suspect and says what came of it.
    Step next(SteadyTime now, bool idle) noexcept;
    void taken(SteadyTime now, bool found) noexcept;
    // A batch ended, and nothing is in flight.
    void idle() noexcept;
    // Nobody else wants the time until the next turn.
    void unclaimed(SteadyTime now) noexcept { next_turn_ = now; }

private:
    enum class Phase : std::uint8_t { normal, clearing, running };

    void end(SteadyTime now) noexcept;

    Phase phase_ = Phase::normal;
    bool used_ = false;  // by one suspect at least
    SteadyTime began_{};
    SteadyTime next_turn_{};
    SteadyTime looked_{};
    Duration patience_ = std::chrono::seconds(10);  // with what is in flight
};

}  // namespace homeostat
