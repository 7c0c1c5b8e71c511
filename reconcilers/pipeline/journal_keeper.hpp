// Lets go what is kept for going back, by runs, age and size: a bounded piece of each journal a call, once a minute and pipeline.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/resource.hpp"
#include "core/sync.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/data/journal.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Thread-safe.
class JournalKeeper {
public:  // `clock` outlives it. `always`: whenever a pass has ended
    JournalKeeper(JournalLimits limits, bool always, const Clock& clock) : limits_(limits), always_(always), clock_(clock) {}

    // Where there is more, `outcome` asks for another call soon. What fails is tried again later: it is no trouble of the
    // pipeline's.
    void keep(Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions, const Context& context,
              ReconcileOutcome& outcome) EXCLUDES(mutex_);

private:
    bool due(std::int64_t uid) EXCLUDES(mutex_);

    const JournalLimits limits_;
    const bool always_;
    const Clock& clock_;
    Mutex mutex_;
    std::map<std::int64_t, SteadyTime> next_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
