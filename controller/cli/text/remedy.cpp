#include "controller/cli/text/remedy.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace homeostat {

namespace {

struct Remedy {
    std::string_view reason;
    std::string_view text;  // {0} is the pipeline, {1} its provider
};

constexpr std::array kRemedies{
    Remedy{"Healing", "nothing, it is being worked on; homeostat watch {0} shows how far it is"},
    Remedy{"Verifying", "nothing, the first fill is looked at once more"},
    Remedy{"Indexing", "nothing, the vector index is being built"},
    Remedy{"NotCounted", "look as a member of homeostat_declarer or homeostat_admin, which may count what waits"},
    Remedy{"Behind", "nothing, if it passes; homeostat get batches {0} shows what waits, and homeostat get replicas who works"},
    Remedy{"Incomplete", "homeostat plan {0} shows what is missing, and homeostat get deadletters {0} what was refused"},
    Remedy{"DependencyNotReady", "homeostat get pipelines shows which pipeline it waits for"},
    Remedy{"NotObserved", "see that a controller runs (homeostat get replicas); it has not looked at this pipeline yet"},
    Remedy{"ProviderRefused",
           "put the credential or quota of provider {1} right, as the sentence says; an edit of the provider or its secret is "
           "tried at once, a changed setting when homeostat run starts again"},
    Remedy{"BadAnswer", "check model and dimensions of provider {1}: its answers break the contract"},
    Remedy{"Throttled", "nothing; or lower maxInFlight of provider {1}, or have your limit raised"},
    Remedy{"ProviderFailing", "nothing, if it passes; else look at the endpoint: homeostat describe provider {1}"},
    Remedy{"BreakerOpen", "nothing, if it passes; homeostat describe provider {1} shows its last calls"},
    Remedy{"Quarantined", "nothing, if it passes; homeostat describe provider {1} shows its last calls"},
    Remedy{"CanaryDisagrees", "see that all providers of the pool of {1} serve the same model"},
    Remedy{"ContentRefused",
           "homeostat get deadletters {0} lists what was refused; edit it, or homeostat dead-letters retry {0}"},
    Remedy{"RevisionPinned", "homeostat resume {0} goes on to what is declared; homeostat revisions {0} shows what there is"},
    Remedy{"RevisionOutdated", "declare a provider that makes the vectors of the pinned revision, or homeostat resume {0}"},
    Remedy{"RightMissing", "grant the right that is missing, as the sentence says"},
    Remedy{"SourceUnusable", "restore the table or column, or edit the pipeline; homeostat validate {0} says more"},
    Remedy{"SourceFiltered", "let homeostat's role see every row (BYPASSRLS), or declare rowSecurity: Accept"},
    Remedy{"TookTooLong",
           "nothing, if it passes; else make the source faster to read: an index on the key, no function that waits"},
    Remedy{"AmbiguousKey", "mend the rows that share a key, or declare other key columns"},
    Remedy{"TargetInUse", "drop what depends on the view, or declare another target"},
    Remedy{"DatabaseUnavailable", "nothing, if it passes; homeostat doctor says more"},
    Remedy{"DatabaseRefused",
           "let homeostat's role pass the event trigger, trigger or rule that raised it, then homeostat reconcile {0}"},
    Remedy{"SpecInvalid", "edit the declaration as the sentence says"},
    Remedy{"InternalError", "this is a fault of homeostat: please report it"}};

const Condition* find(const std::vector<Condition>& conditions, std::string_view type) {
    const auto found = std::find_if(conditions.begin(), conditions.end(), [&](const Condition& c) { return c.type == type; });
    return found == conditions.end() ? nullptr : &*found;
}

}  // namespace

std::string remedy_of(const PipelineSpec& pipeline, const PipelineStatus& status) {
    if (pipeline.suspend) {
        const Condition* stalled = find(status.conditions, "Stalled");
        const bool distrusted = stalled != nullptr && stalled->status == "True" && stalled->reason == "VerificationFailed";
        return fmt::format("{}homeostat resume {}",
                           distrusted ? "correct the provider, or declare the model that is wanted; then: " : "", pipeline.name);
    }
    if (status.blocked_prunes > 0 && !status.blocked_plan.empty())
        return fmt::format("homeostat approve {} {}, if those documents may go", pipeline.name, status.blocked_plan);
    for (const std::string_view type : {"PlanHeld", "BudgetSpent"}) {
        const Condition* held = find(status.conditions, type);
        if (held != nullptr && held->status == "True") return fmt::format("approve it, if that is meant, as {} says", type);
    }
    const Condition* ready = find(status.conditions, "Ready");
    std::string reason = ready == nullptr ? "NotObserved" : ready->reason;
    // What its first look, or what waits or is worked on, waits for.
    const Condition* provider = find(status.conditions, "ProviderHealthy");
    if ((reason == "NotObserved" || reason == "Behind" || reason == "Healing") && provider != nullptr &&
        provider->status == "False")
        reason = provider->reason;
    const auto known = std::find_if(kRemedies.begin(), kRemedies.end(), [&](const Remedy& r) { return r.reason == reason; });
    if (known != kRemedies.end()) return fmt::format(fmt::runtime(known->text), pipeline.name, pipeline.provider);
    if (status.dead_letters > 0) return fmt::format("homeostat get deadletters {} lists what was refused and why", pipeline.name);
    return "";
}

std::string remedy_of(const TargetViewSpec& view, const TargetViewStatus& status) {
    if (view.suspend) return fmt::format("homeostat resume targetview/{}", view.name);
    if (status.held > 0 && !status.plan.empty())
        return fmt::format("homeostat approve targetview/{} {}, if those pipelines may go", view.name, status.plan);
    const Condition* ready = find(status.conditions, "Ready");
    if (ready == nullptr) return "see that a controller runs (homeostat get replicas); it has not looked at this target view yet";
    if (ready->reason == "RowsRefused") return "mend the rows that are listed below as refused";
    if (ready->reason == "NamesTaken") return "name those rows otherwise: pipelines of another role have these names";
    if (ready->reason == "RightMissing" || ready->reason == "RelationUnreadable")
        return "restore the relation, or grant the right that is missing, as the sentence says";
    return "";
}

}  // namespace homeostat
