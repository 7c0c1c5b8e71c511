// A replica as its row and its last snapshot tell of it. Pure.
#pragma once

#include <vector>

#include "core/resource.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/providers.hpp"

namespace homeostat {

// `declared`: all providers that there are. Whose snapshot does not read as ours do has not reported.
SeenReplica seen_replica(const ReplicaLine& line, const std::vector<ProviderSpec>& declared);

}  // namespace homeostat
