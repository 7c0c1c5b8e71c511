#include "controller/cli/text/truth.hpp"

#include <algorithm>

#include "reconcilers/pipeline/report.hpp"
#include "store/control/statuses.hpp"

namespace homeostat {

Result<PipelineStatus> read_true_status(Session& session, const PipelineSpec& pipeline) {
    Result<PipelineStatus> status = read_status(session, pipeline.uid);
    if (!status) return status;
    Result<std::vector<ReportFacts>> facts = read_report_facts(session, {pipeline.uid});
    if (!facts) return facts.error();
    if (facts->empty()) return status;
    const ReportFacts& now = facts->front();
    status->waiting = now.status.waiting;
    status->dead_letters = now.status.dead_letters;
    for (Condition& wanted : corrections(status->conditions, seen_in(now), true)) {
        const auto stored = std::find_if(status->conditions.begin(), status->conditions.end(),
                                         [&](const Condition& c) { return c.type == wanted.type; });
        if (stored == status->conditions.end()) continue;
        wanted.last_transition = stored->last_transition;
        *stored = std::move(wanted);
    }
    return status;
}

}  // namespace homeostat
