#include "reconcilers/pipeline/pipeline_gauges.hpp"

#include <chrono>
#include <vector>

namespace homeostat {

void publish_gauges(Registry& m, const std::string& name, const PipelineStatus& status) {
    const DriftCounts& d = status.drift;
    const std::pair<std::string_view, std::int64_t> classes[] = {
        {"missing", d.missing}, {"stale", d.stale},       {"moved", d.moved},  {"partial", d.partial},
        {"invalid", d.invalid}, {"orphaned", d.orphaned}, {"excess", d.excess}};
    for (const auto& [cls, n] : classes) {
        m.gauge("homeostat_drift_documents", "Documents in each class of drift, as of the last observation.",
                {{"pipeline", name}, {"class", std::string(cls)}})
            .set(static_cast<double>(n));
    }
    m.gauge("homeostat_documents", "Documents stored.", {{"pipeline", name}}).set(static_cast<double>(status.documents));
    m.gauge("homeostat_source_documents", "Documents of the source, as of the last complete observation.", {{"pipeline", name}})
        .set(static_cast<double>(status.source_documents.value_or(0)));
    m.gauge("homeostat_dead_letter_documents", "Documents that cannot be embedded.", {{"pipeline", name}})
        .set(static_cast<double>(status.dead_letters));
    m.gauge("homeostat_prune_blocked", "Deletions held back by the brakes.", {{"pipeline", name}})
        .set(static_cast<double>(status.blocked_prunes));
}

void publish_slice(Registry& m, const std::string& name, Duration took, std::int64_t rows) {
    static const std::vector<double> kBounds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
    m.histogram("homeostat_observe_duration_seconds", "Reading a slice of the source and comparing it with what is stored.",
                kBounds, {{"pipeline", name}})
        .observe(std::chrono::duration<double>(took).count());
    m.counter("homeostat_observed_rows_total", "Rows of the source that sweeps have read.", {{"pipeline", name}})
        .add(static_cast<double>(rows));
}

Counter& shed_documents(Registry& m, const std::string& name) {
    return m.counter("homeostat_shed_documents_total",
                     "Documents that sweeps left for later because memory is short (backpressure: shed).", {{"pipeline", name}});
}

}  // namespace homeostat
