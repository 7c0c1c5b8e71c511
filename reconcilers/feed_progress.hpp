// Whether change feeds move: what keeps one from being consumed, and since when. The feed's consumers note it, the reconciler,
// which would otherwise leave to the feed what it has named, asks. In memory, of this replica's feeds. Any thread; blocks on
// nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"

namespace homeostat {

class FeedProgress {
public:
    struct Trouble {
        Error error;
        SteadyTime since{};
        int failures = 0;     // in a row
        bool swept = false;   // a sweep has begun since, which saw what the feed had named
    };
    // Consuming it failed. Whether that is news: it had moved until now, or fails for another reason.
    bool failed(std::int64_t uid, const Error& error, SteadyTime now) EXCLUDES(mutex_);
    // It was consumed, or there is nothing to consume. Whether it had been failing.
    bool moved(std::int64_t uid) EXCLUDES(mutex_);
    void swept(std::int64_t uid) EXCLUDES(mutex_);
    // What keeps it; nothing where it moves, or has only stumbled over what passes by itself.
    std::optional<Trouble> trouble(std::int64_t uid, SteadyTime now) const EXCLUDES(mutex_);
    std::vector<std::int64_t> failing() const EXCLUDES(mutex_);
    int failures(std::int64_t uid) const EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    std::map<std::int64_t, Trouble> troubles_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
