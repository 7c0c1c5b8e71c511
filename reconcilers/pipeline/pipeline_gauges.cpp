#include "reconcilers/pipeline/pipeline_gauges.hpp"

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

}  // namespace homeostat
