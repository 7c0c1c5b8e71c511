// The contract of the loop, in one place.
//
// A reconciler is given a key, never an event: it reads everything it needs again, does a bounded piece of work towards what is
// declared, and says when it wants to be called next. It may be called at any time, any number of times, after a crash at any
// point, and must then do no harm. It makes no threads. One key is never reconciled twice at once in a replica; between replicas
// the lease sees to that.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "core/context.hpp"
#include "core/error.hpp"

namespace homeostat {

// Done: nothing to do until something changes or the drift interval has passed. Otherwise: again after `again_in`.
// An Error is retried with backoff where it is retryable, and waits for a change (or the slow re-probe) where it is not.
struct ReconcileOutcome {
    std::chrono::milliseconds again_in{0};
    bool settled = false;    // the pass has ended: what could be healed is healed, or nothing can be done now
    bool converged = false;  // and no drift is left
    bool failed = false;     // the pass ended in an error that the object's status tells
    bool fed = false;        // it has a change feed to be looked at
    bool gone = false;       // there is no such object any more
    // As long as nothing that concerns it changes, a call within this time would find nothing to do (store/rest.hpp).
    std::optional<std::chrono::milliseconds> rests;
};

class Reconciler {
public:
    virtual ~Reconciler() = default;
    virtual Result<ReconcileOutcome> reconcile(std::int64_t key, const Context& context) = 0;
};

}  // namespace homeostat
