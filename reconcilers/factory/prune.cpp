#include "reconcilers/factory/prune.hpp"
#include "reconcilers/gateway/plural.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace homeostat {

namespace {

PruneDecision hold(const PruneInput& in, std::string reason, std::string why) {
    return {0, true, std::move(reason), fmt::format("{} deletions wait: {}", in.confirmed, why)};
}

}  // namespace

PruneDecision decide_prune(const PruneInput& in) {
    if (in.confirmed == 0) return {};
    if (in.policy == "Never") return hold(in, "PruneNever", "prune is Never");
    if (in.approved) return {in.confirmed, false, "Approved", ""};
    if (in.policy == "Confirm") return hold(in, "ApprovalNeeded", "prune is Confirm; approve the plan to let them go");
    if (in.source_rows == 0) return hold(in, "SourceEmpty", "the source reads as empty; approve the plan if that is meant");
    if (in.previous_source_rows && in.source_rows * 2 < *in.previous_source_rows) {
        return hold(in, "SourceShrank",
                    fmt::format("the source shrank from {} to {}; approve the plan if that is meant", *in.previous_source_rows,
                                plural(in.source_rows, "row")));
    }
    const auto by_ratio = static_cast<std::int64_t>(static_cast<double>(in.documents) * in.max_ratio);
    const std::int64_t limit = std::max(in.floor, std::min(by_ratio, in.max_rows));
    const std::int64_t left = std::max<std::int64_t>(0, limit - in.pruned_in_window);
    if (left >= in.confirmed) return {in.confirmed, false, "WithinLimits", ""};
    PruneDecision d = hold(in, "PruneLimit",
                           fmt::format("at most {} may go within the hour (max_prune_ratio, max_prune_rows) and {} went already; "
                                       "approve the plan to let all go",
                                       limit, in.pruned_in_window));
    d.allowed = left;
    return d;
}

}  // namespace homeostat
