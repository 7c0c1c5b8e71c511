// Pipelines at rest: a pass has found nothing to do, and none will until something that concerns them changes or a time has come.
//
// Each is due for a look once in its interval. The look compares marks (store/feed/rest.hpp), many with a few statements; those
// whose mark is as it was are put off for another interval, the others are handed back for a pass. A mark counts only when a pass
// that began after it was read found nothing to do. Safe from any thread; blocks on nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/sync.hpp"

namespace homeostat {

class Resting {
public:
    // A pass found nothing to do; to be looked at within `interval`, and for `rests` at most by its mark alone.
    void put(std::int64_t uid, SteadyTime now, Duration interval, Duration rests) EXCLUDES(mutex_);
    // It does not rest any more.
    void remove(std::int64_t uid) EXCLUDES(mutex_);
    // Something has changed that may concern any of them: all are due at once, and so is what comes to rest soon, as its pass may
    // have looked before that.
    void look_again(SteadyTime now) EXCLUDES(mutex_);
    // Whose look is due.
    std::vector<std::int64_t> due(SteadyTime now) const EXCLUDES(mutex_);
    // What the look at them has seen, "" where there is something to do. Returns those that need a pass.
    std::vector<std::int64_t> settle(const std::vector<std::int64_t>& uids, const std::vector<std::string>& marks, SteadyTime now)
        EXCLUDES(mutex_);

private:
    struct Entry {
        SteadyTime due;
        SteadyTime until;
        Duration interval;
        std::string mark;  // under which a pass found nothing
        std::string awaited;  // read before the pass that it waits for
    };
    static SteadyTime next(std::int64_t uid, SteadyTime now, const Entry& entry);

    mutable Mutex mutex_;
    std::map<std::int64_t, Entry> entries_ GUARDED_BY(mutex_);
    SteadyTime soon_until_ GUARDED_BY(mutex_) = SteadyTime::min();
};

}  // namespace homeostat
