// Providers that this process cannot ask while other replicas can: a secret is missing here, this machine has no way there, or it
// is refused here and not elsewhere. Their batches are left to the others, at no cost to the batches, until the provider has
// answered here too; it is tried every few seconds. Where nobody else is known to reach it, nothing is left to anybody, so that
// the fault is told as any other, and it is tried all the same. Pure but for its lock; any thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/resource.hpp"
#include "core/sync.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

// Whose fault it is when a request is not answered.
enum class FaultPlace : std::uint8_t {
    elsewhere,  // the provider's, or the text's
    perhaps,  // perhaps this process's: others tell
    here,  // this process lacks something, whatever the provider is like
};
FaultPlace fault_place(const Error& error);

class LeftToOthers {
public:
    struct Asked {  // with what it is tried again
        ProviderSpec provider;
        std::string model;
        std::uint32_t dimensions = 0;
    };
    struct Line {
        std::string provider;
        std::string message;
    };

    // It failed here; `others`: as they are now. True where its batches are to be left to them.
    bool failed(const Asked& asked, const Error& error, const Others& others, SteadyTime now) EXCLUDES(mutex_);
    // As others are now. Returns the providers that are left to them from now on: one has joined, or reaches what none did.
    std::vector<std::string> heard(const Others& others, SteadyTime now) EXCLUDES(mutex_);
    // It has answered here, or is another now. True where its batches were left to others until now.
    bool over(const DeclaredProvider& provider) EXCLUDES(mutex_);

    bool empty() const EXCLUDES(mutex_);
    bool contains(const DeclaredProvider& provider) const EXCLUDES(mutex_);
    std::vector<DeclaredProvider> all() const EXCLUDES(mutex_);
    std::vector<Line> lines() const EXCLUDES(mutex_);
    // Those that it is time to try again; then the next time is later.
    std::vector<Asked> take_due(SteadyTime now) EXCLUDES(mutex_);

private:
    struct Entry {
        Asked asked;
        Error error;
        SteadyTime since{};  // or since another replica has joined
        int live = 0;
        SteadyTime next_try{};
        bool left = false;
    };
    static bool others_can(const Entry& entry, const Others& others, SteadyTime now);

    mutable Mutex mutex_;
    std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);  // by declaration
};

}  // namespace homeostat
