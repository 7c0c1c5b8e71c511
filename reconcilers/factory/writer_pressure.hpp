// Writers who change a source without pause on a machine that they keep busy: they come first, and what heals behind them takes a
// small share of the time.
//
// What is healed under such writers is mostly changed again before anybody searches for it, and each vector is paid for by them.
// Three things together say that it is so: many rows are changed a second, healing falls behind them, so that the feed is full,
// and the smallest of our statements takes much longer than it can, which is what waiting for a core looks like. Where the
// machine has room for both, nothing is slowed.
//
// While writers press, their change feed is given no more room, and the reconciler plans one small slice at a time and leaves the
// database alone in between. A hint of this replica: one that takes the pipeline over finds out for itself. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>

#include "core/clock.hpp"
#include "core/sync.hpp"

namespace homeostat {

class WriterPressure {
public:
    // Rows changed a second, below which writers leave room for healing at full speed.
    static constexpr double kRowsPerSecond = 1'000;

    // How long a statement took that does next to nothing.
    void answered(Duration round_trip) EXCLUDES(mutex_);
    // Whether changes are counted: look() is to be called, now and then again.
    bool watched(std::int64_t uid) const EXCLUDES(mutex_);
    // Whether it is time for that: a quarter of a second after the last look, or at once.
    bool due(std::int64_t uid, SteadyTime now) const EXCLUDES(mutex_);
    // `named`: changes that the feed has named in all; `rows`: that the writers of its tables have
    // changed, in all, which is known a second late; `full`: the feed names no more. One statement may change many rows, so it
    // takes two looks, one soon after the other, to find that writers press. They have let up when little was changed for two
    // seconds; else they are taken to press for half a minute, and for longer each time, as what is healed slowly does not show
    // what healing at full speed would do to them. Returns whether that is over now.
    bool look(std::int64_t uid, std::int64_t named, std::int64_t rows, bool full, SteadyTime now) EXCLUDES(mutex_);
    // As of the last look; no longer than a few seconds after it.
    bool pressing(std::int64_t uid, SteadyTime now) const EXCLUDES(mutex_);

    // Where nobody looks any more.
    void forget(std::int64_t uid) EXCLUDES(mutex_);

    // What batches that were healed took of the database's time, and what as many as that would take.
    void worked(std::size_t documents, Duration time) EXCLUDES(mutex_);
    Duration work(std::int64_t documents) const EXCLUDES(mutex_);

private:
    struct Seen {
        std::int64_t named = 0;  // when it began to be watched
        std::int64_t rows = 0;
        std::int64_t changes = 0;  // since then: the same ones are seen twice, by name and, later, as rows
        SteadyTime at{};
        int many = 0;  // looks that found many changes, each soon after the one before
        SteadyTime last_many{};
        bool pressing = false;
        SteadyTime until{};  // taken to press, unless they let up
        Duration hold{};  // and for how long the next time
    };
    mutable Mutex mutex_;
    std::map<std::int64_t, Seen> seen_ GUARDED_BY(mutex_);
    double least_ GUARDED_BY(mutex_) = 0;  // seconds that such a statement takes at best; 0 = not known
    double mean_ GUARDED_BY(mutex_) = 0;  // and of late
    double seconds_per_document_ GUARDED_BY(mutex_) = 0.0003;  // as measured on two slow cores, until it is known
};

}  // namespace homeostat
