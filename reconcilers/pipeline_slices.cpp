// How large the slices of a sweep are.
#include <algorithm>

#include "reconcilers/pipeline.hpp"

namespace homeostat {

std::int64_t PipelineReconciler::slice_limit(std::int64_t uid) {
    const Lock lock(mutex_);
    return slice_limits_.try_emplace(uid, settings_.slice).first->second;
}

// Slices last about as long as they should whatever the source is made of.
void PipelineReconciler::learn_slice(std::int64_t uid, std::int64_t limit, Duration took) {
    const Lock lock(mutex_);
    std::int64_t& mine = slice_limits_[uid];
    if (took > settings_.slice_target * 2) mine = std::max<std::int64_t>(1'000, limit / 2);
    if (took < settings_.slice_target / 2) mine = std::min<std::int64_t>(limit * 2, 200'000);
}

}  // namespace homeostat
