#include "reconcilers/pipeline/report.hpp"

namespace homeostat {

Seen seen_in(const ReportFacts& f) {
    Seen seen;
    const PipelineStatus& s = f.status;
    seen.generation = s.observed_generation;
    seen.suspended = f.suspended;
    seen.suspend_reason = f.suspend_reason;
    seen.working = f.phase.has_value();
    seen.first = f.first;
    seen.beside = f.beside;
    seen.phase = f.phase.value_or(Phase::idle);
    seen.source_documents = s.source_documents;
    seen.declared = f.declared;
    seen.documents = s.documents;
    seen.drift = s.drift;
    seen.dead_letters = s.dead_letters;
    seen.completeness = f.completeness;
    seen.waiting = s.waiting;
    seen.provider_known = f.provider_known;
    seen.budget = f.budget;
    if (!f.provider_healthy) seen.provider_trouble = ProviderTrouble{f.provider_reason, f.provider_message};
    return seen;
}

}  // namespace homeostat
