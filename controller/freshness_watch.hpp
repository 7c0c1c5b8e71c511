// How old what is served may be (homeostat.staleness), looked at by every replica for the pipelines whose lease is its own: as a
// metric of each, and as the condition Fresh of those that have declared max_staleness. What nothing is known of is said to be
// Unknown. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/clock.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "store/control/freshness.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Nothing where there is nothing to tell: no promise is made, and none was.
std::optional<Condition> fresh_condition(const Staleness& facts);

class FreshnessWatch {
public:
    FreshnessWatch(const Clock& clock, Registry& metrics) : clock_(clock), metrics_(metrics) {}

    using Owned = std::map<std::int64_t, std::int64_t>;  // epochs by pipeline
    // Of pipelines with a promise at each call, of the others where the last look at all was a while ago.
    Status look(Session& session, const Owned& owned);

private:
    Status tell(Session& session, const Staleness& facts, std::int64_t epoch);

    const Clock& clock_;
    Registry& metrics_;
    SteadyTime next_all_{};
    std::map<std::int64_t, Millis> told_;  // the age that the condition says
};

}  // namespace homeostat
