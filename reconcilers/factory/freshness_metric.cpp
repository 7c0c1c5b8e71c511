#include "reconcilers/factory/freshness_metric.hpp"

#include <vector>

namespace homeostat {

void observe_freshness(Registry& metrics, const TargetInfo& target, const std::optional<double>& seconds) {
    static const std::vector<double> kBounds{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1'800, 7'200};
    if (!seconds) return;
    metrics
        .histogram("homeostat_freshness_seconds",
                   "From the statement that changed a row, as the change feed noted it, to the commit that serves it: of the "
                   "oldest change "
                   "of each batch.",
                   kBounds, {{"pipeline", target.spec.name}})
        .observe(*seconds);
}

}  // namespace homeostat
