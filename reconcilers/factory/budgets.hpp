// What this replica knows of spent budgets, so that batches that could not be paid for are not claimed, nor read in vain.
//
// Only what the database says counts: what is known here is a second old at most, and a batch that is claimed all the same is
// refused by reserve_budget() (store/control/budgets.hpp), and given back as it was. Any thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/sync.hpp"
#include "reconcilers/factory/targets.hpp"
#include "store/control/batches.hpp"
#include "store/control/budgets.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// The code of the error that a batch is given back with.
inline constexpr std::string_view kBudgetSpent = "BudgetSpent";
// Of one whose budget is reserved to the end just now, so that it may be there again in a moment.
inline constexpr std::string_view kReservedByOthers = "BudgetReserved";

// Whether batches of it reserve what they pay: a budget of the pipeline, its provider, or one that may stand in.
bool has_budget(const TargetInfo& target) noexcept;

class Budgets {
public:
    // Reads what is spent; cheap where no budget is declared.
    Status look(Session& session) EXCLUDES(mutex_);
    // For what is left alone by claim_batches().
    void add_blocked(std::vector<std::string>& blocked) const EXCLUDES(mutex_);
    // Why a batch cannot be paid for, where that is known without asking.
    std::optional<Error> held(const Batch& batch) const EXCLUDES(mutex_);
    bool spent(const ProviderSpec& provider) const EXCLUDES(mutex_);
    // Whether it is left alone by add_blocked(), so that it need not wait for more than that.
    bool blocks(const Batch& batch) const EXCLUDES(mutex_);
    // Reserves for a claimed batch. What is refused is held from now on, until the next look.
    Status reserve(Session& session, const Batch& batch, std::uint64_t tokens) EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    // Why, where that is known. What a run may not pay, edits may: its batches alone are refused, before they are read.
    std::map<std::int64_t, std::string> pipelines_ GUARDED_BY(mutex_), runs_ GUARDED_BY(mutex_);
    std::map<std::string, std::string, std::less<>> providers_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
