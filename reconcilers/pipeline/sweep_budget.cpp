#include "reconcilers/pipeline/sweep_budget.hpp"

#include <algorithm>

namespace homeostat {

namespace {

// Smaller slices would cost more for being begun than for what they compare.
constexpr std::int64_t kLeastSlice = 100;

}  // namespace

bool nobody_waits(std::string_view trigger) { return trigger == "interval" || trigger == "feed" || trigger == "refresh"; }

std::chrono::milliseconds pause_after(Duration took, std::int64_t rows, const SweepBudget& budget) {
    using Seconds = std::chrono::duration<double>;
    const Seconds worked = took;
    Seconds pause = worked / budget.share - worked;
    if (budget.rows_per_second > 0) {
        pause = std::max(pause, Seconds(static_cast<double>(rows) / static_cast<double>(budget.rows_per_second)) - worked);
    }
    return std::chrono::round<std::chrono::milliseconds>(std::max(pause, Seconds::zero()));
}

std::int64_t slice_within(std::int64_t limit, const SweepBudget& budget) {
    if (budget.rows_per_second <= 0) return limit;
    return std::min(limit, std::max(budget.rows_per_second, kLeastSlice));
}

}  // namespace homeostat
