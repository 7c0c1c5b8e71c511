// What a pool of connections is doing, as metrics. Any thread.
#pragma once

#include <string>

#include "core/telemetry.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

void publish_pool(Registry& metrics, const std::string& name, const PoolFigures& figures);

}  // namespace homeostat
