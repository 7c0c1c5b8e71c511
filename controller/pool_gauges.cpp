#include "controller/pool_gauges.hpp"

namespace homeostat {

void publish_pool(Registry& metrics, const std::string& name, const PoolFigures& figures) {
    const auto set = [&](std::string_view state, std::size_t n) {
        metrics
            .gauge("homeostat_database_connections", "Connections of a pool by what they do; limit is how many it may have.",
                   {{"pool", name}, {"state", std::string(state)}})
            .set(static_cast<double>(n));
    };
    set("in_use", figures.in_use);
    set("idle", figures.idle);
    set("limit", figures.size);
    metrics.gauge("homeostat_database_waiting", "Who waits for a connection of a pool.", {{"pool", name}})
        .set(static_cast<double>(figures.waiting));
    metrics
        .gauge("homeostat_database_connections_broken", "Connections of a pool that broke or could not be made since the start.",
               {{"pool", name}})
        .set(static_cast<double>(figures.broken));
}

}  // namespace homeostat
