// What is declared against what the replicas have (reconcilers/factory/synchronise.hpp), looked at every few seconds by every
// replica for the pipelines whose lease is its own. Where a person has to do something, the pipelines that it concerns have the
// condition FactoryConflict, and an event when it comes and when it goes. While all agree nothing is written. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/providers.hpp"
#include "store/control/reports.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// The condition of a pipeline with this provider: nothing to tell where its status is empty.
struct FactoryConflict {
    Condition condition;
    std::string signature;  // the same while the same is wrong, whatever its figures
};
FactoryConflict factory_conflict(const std::vector<Conflict>& conflicts, const std::string& provider);

class FactoryWatch {
public:
    explicit FactoryWatch(const Clock& clock) : clock_(clock) {}

    using Owned = std::map<std::int64_t, std::int64_t>;  // epochs by pipeline
    // Does nothing where the last look was a moment ago.
    Status look(Session& session, const Owned& owned);

private:
    // How far ahead a replica's clock was in its last report, and in the one before.
    struct Heard {
        std::chrono::milliseconds ahead{0};
        std::chrono::milliseconds before{0};
    };
    std::vector<SeenReplica> seen(const std::vector<ReplicaLine>& lines, const std::vector<ProviderSpec>& declared);
    Status tell(Session& session, const PipelineUse& use, std::int64_t epoch, const std::vector<Conflict>& conflicts);

    const Clock& clock_;
    SteadyTime next_{};
    std::map<std::string, Heard> heard_;  // by replica
    std::map<std::int64_t, std::string> told_;  // signatures, of what is ours; empty: nothing is told
};

}  // namespace homeostat
