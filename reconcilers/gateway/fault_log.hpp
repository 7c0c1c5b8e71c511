// One fault is one line of the log, however many suffer from it and however often it is met: a line when it begins, one when
// nobody suffers any more, which counts, and in between at most one a minute.
//
// What is one fault is said by the place that meets it: a provider that does not answer is one for all its pipelines, a database
// that is away one for all threads. A provider that answers again, and refuses, is another one. Conditions and events tell each
// pipeline's own story. Safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"

namespace homeostat {

class FaultLog {
public:
    // `sufferer` has met it once more; `line` is what is logged of it. Whoever suffers from one does not suffer from another:
    // what it had before is over for it.
    void met(const std::string& sufferer, const std::string& fault, const std::string& line, SteadyTime now) EXCLUDES(mutex_);
    // The same for an error: what the fault is follows from it (fault_of), and of a database it says nothing but that.
    void met(const std::string& sufferer, const Error& error, const std::string& line, SteadyTime now,
             std::string_view provider = {}) EXCLUDES(mutex_);
    // What a pipeline is called, for lines that are written where only its uid is known.
    void know(std::int64_t uid, const std::string& name) EXCLUDES(mutex_);
    // "pipeline "docs"", or by its uid where nobody has named it yet.
    std::string called(std::int64_t uid) EXCLUDES(mutex_);
    // It works again, or is gone.
    void over(const std::string& sufferer, SteadyTime now) EXCLUDES(mutex_);

private:
    struct Fault {
        std::string line;  // as it was first met
        std::set<std::string> suffer;
        std::size_t most = 0;  // who suffered at the same time
        std::uint64_t times = 0;
        SteadyTime told{};
        bool open = false;  // its beginning is told and its end is not: one that comes and goes is told of once a minute too
    };
    void meet(const std::string& sufferer, const std::string& fault, const std::string& line, SteadyTime now) REQUIRES(mutex_);
    std::string under_way(const std::string& sufferer, std::string_view provider) const REQUIRES(mutex_);
    void leave(const std::string& sufferer, SteadyTime now) REQUIRES(mutex_);
    void forget_ended(SteadyTime now) REQUIRES(mutex_);

    Mutex mutex_;
    std::map<std::string, Fault> faults_ GUARDED_BY(mutex_);
    std::map<std::string, std::string> of_ GUARDED_BY(mutex_);  // the fault of a sufferer
    std::map<std::int64_t, std::string> names_ GUARDED_BY(mutex_);
    // Providers whose breaker was met open, with nothing told of why, and since when.
    std::map<std::string, SteadyTime> unexplained_ GUARDED_BY(mutex_);
};

// A pipeline, its batches, and its triggers, as sufferers.
std::string pipeline_of(std::int64_t uid);
std::string batches_of(std::int64_t uid);
std::string triggers_of(std::int64_t uid);

// The database for what it cannot do just now, the provider and the kind of it for what that did not answer, else nobody's but
// `whose`.
std::string fault_of(const Error& error, const std::string& whose, std::string_view provider = {});

}  // namespace homeostat
