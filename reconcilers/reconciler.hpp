// The contract of the loop, in one place.
//
// A reconciler is given a key, never an event: it reads everything it needs again, does a bounded piece of work towards what is
// declared, and says when it wants to be called next. It may be called at any time, any number of times, after a crash at any
// point, and must then do no harm. No thread that it makes outlives a call: a rollback undoes its steps on some. One key is never
// reconciled twice at once in a replica; between replicas the lease sees to that.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "core/context.hpp"
#include "core/error.hpp"

namespace homeostat {

// How a pass ended. The first three go on; after the others nothing is left to do until something changes or `again_in` has
// passed.
enum class PassEnd : std::uint8_t {
    again,  // there is more to do
    waiting,  // for somebody else: a lock, batches that replicas work on, the feed
    depends,  // waits for a pipeline that it depends on to be ready
    settled,  // what could be healed is healed, or nothing may be done now; drift is left
    converged,  // no drift is left
    failed,  // in an error that the object's status tells
    gone  // there is no such object any more
};
constexpr bool ended(PassEnd end) noexcept { return end >= PassEnd::settled; }

// An Error instead is retried with backoff where it is retryable, and waits for a change (or the slow re-probe) where it is not.
struct ReconcileOutcome {
    PassEnd end = PassEnd::again;
    std::chrono::milliseconds again_in{0};
    bool has_feed = false;  // it has a change feed to be looked at
    // As long as nothing that concerns it changes, a call within this time would find nothing to do (store/feed/rest.hpp).
    std::optional<std::chrono::milliseconds> rests;
};

class Reconciler {
public:
    virtual ~Reconciler() = default;
    // `span` is the pass: what finds that it is part of a trace that has begun joins it.
    virtual Result<ReconcileOutcome> reconcile(std::int64_t key, const Context& context, Span& span) = 0;
};

}  // namespace homeostat
