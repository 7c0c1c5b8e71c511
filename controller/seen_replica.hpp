// A replica as its row and its last snapshot tell of it. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "core/resource.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

// `declared`: all providers that there are. Whose snapshot does not read as ours do has not reported.
SeenReplica seen_replica(const ReplicaLine& line, const std::vector<ProviderSpec>& declared);

// What it wrote, as it is; an empty object where it wrote none, or nothing that reads.
nlohmann::ordered_json snapshot_json(const ReplicaLine& line);

}  // namespace homeostat
