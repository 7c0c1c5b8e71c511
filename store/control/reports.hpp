// What is told of pipelines between their passes: facts of many read at once, and stored conditions that are not true any more
// corrected, under the lease and only where they are still what they were when they were judged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"
#include "store/control/budgets.hpp"
#include "store/control/runs.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ReportFacts {
    std::int64_t uid = 0;
    std::string name;
    bool suspended = false;
    std::string suspend_reason;
    double completeness = 1.0;
    std::optional<std::int64_t> declared;  // documents
    PipelineStatus status;                 // counts, conditions, what waits
    bool beside = false;  // the next revision is built while another is searched
    bool first = false;                    // no run has ended
    std::optional<Phase> phase;            // of the run under way
    bool provider_known = false;           // something was heard of it since the stored condition was told
    bool provider_healthy = true;
    std::string provider_reason;
    std::string provider_message;
    std::optional<BudgetHold> budget;  // where it was told of any
};
// Of those that exist, by uid.
Result<std::vector<ReportFacts>> read_report_facts(Session& session, const std::vector<std::int64_t>& uids);

// Counts as they are stored, for metrics.
struct StatusLine {
    std::int64_t uid = 0;
    std::string name;
    std::string updated;  // another text where anything was written since
    PipelineStatus status;
};
// Of pipelines whose status was written after `since` (or a few seconds before it, as what was written first may be committed
// last), and of all where that is "". Moves `since` on.
Result<std::vector<StatusLine>> list_statuses(Session& session, std::string& since);

struct ProviderWord {
    std::int64_t uid = 0;
    std::string model;
    bool healthy = true;
    auto operator<=>(const ProviderWord&) const = default;
};
// How the providers are, by what replicas last heard; few rows.
Result<std::vector<ProviderWord>> list_provider_words(Session& session);

// Writes `wanted` over those of `stored` that are still so, and the events; false where the pipeline is being written just now,
// so that it is to be judged again.
Result<bool> correct_conditions(Session& session, std::int64_t uid, std::int64_t epoch, const std::vector<Condition>& stored,
                                const std::vector<Condition>& wanted, const std::string& reconcile_id);

struct PipelineUse {
    std::int64_t uid = 0;
    std::string provider;
    bool told = false;  // that condition is True
};
// Of those that exist: whom they ask, and whether the condition `type` is True of them.
Result<std::vector<PipelineUse>> list_pipeline_uses(Session& session, const std::vector<std::int64_t>& uids,
                                                    std::string_view type);

// Writes a condition that no pass writes, and its event where its status is another; false where the pipeline is being written
// just now.
Result<bool> tell_condition(Session& session, std::int64_t uid, std::int64_t epoch, const Condition& condition,
                            const std::string& reconcile_id);

}  // namespace homeostat
