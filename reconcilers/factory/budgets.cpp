#include "reconcilers/factory/budgets.hpp"

#include <algorithm>

#include "store/control/blocked_pipeline.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

// A run that somebody waits for ends with it: nobody can say for how long.
constexpr milliseconds kUntilLifted = std::chrono::hours(1);
constexpr milliseconds kUntilSettled{500};

Error spent(std::string message) {
    return {.cls = ErrorClass::unavailable,
            .message = std::move(message),
            .origin = Origin::user,
            .code = std::string(kBudgetSpent),
            .retry_after = kUntilLifted};
}

}  // namespace

bool has_budget(const TargetInfo& target) noexcept {
    return has_budget(target.spec, target.provider) ||
           std::any_of(target.peers.begin(), target.peers.end(), [](const ProviderSpec& p) { return has_budget(p); });
}

Status Budgets::look(Session& session) {
    const Result<SpentBudgets> now = spent_budgets(session);
    if (!now) return now.error();
    const Lock lock(mutex_);
    pipelines_.clear();
    runs_.clear();
    providers_.clear();
    for (const std::int64_t uid : now->pipelines) pipelines_.emplace(uid, "");
    for (const std::int64_t id : now->runs) runs_.emplace(id, "");
    for (const std::string& name : now->providers) providers_.emplace(name, "");
    return {};
}

void Budgets::add_blocked(std::vector<std::string>& blocked) const {
    const Lock lock(mutex_);
    for (const auto& [uid, why] : pipelines_) blocked.push_back(blocked_pipeline(uid));
    for (const auto& [name, why] : providers_) blocked.push_back(name);
}

std::optional<Error> Budgets::held(const Batch& batch) const {
    const Lock lock(mutex_);
    if (const auto it = pipelines_.find(batch.uid); it != pipelines_.end())
        return homeostat::spent(it->second.empty() ? "a budget of the pipeline is spent" : it->second);
    if (const auto it = runs_.find(batch.run_id); it != runs_.end())
        return homeostat::spent(it->second.empty() ? "the budget of the run is spent" : it->second);
    if (const auto it = providers_.find(batch.provider); it != providers_.end())
        return homeostat::spent(it->second.empty() ? "the budget of provider \"" + batch.provider + "\" is spent" : it->second);
    return std::nullopt;
}

bool Budgets::spent(const ProviderSpec& provider) const {
    const Lock lock(mutex_);
    return providers_.contains(provider.name);
}

bool Budgets::blocks(const Batch& batch) const {
    const Lock lock(mutex_);
    return pipelines_.contains(batch.uid) || providers_.contains(batch.provider);
}

Status Budgets::reserve(Session& session, const Batch& batch, std::uint64_t tokens) {
    const Result<Reserved> reserved = reserve_budget(session, batch.id, batch.token, tokens);
    if (!reserved) return reserved.error();
    switch (reserved->outcome) {
        case Reservation::made: return {};
        case Reservation::gone: return fenced("its claim is no longer ours");
        case Reservation::others: {
            Error error = homeostat::spent("what is left of a budget is reserved for what is asked just now");
            error.retry_after = kUntilSettled;
            error.code = kReservedByOthers;
            return error;
        }
        case Reservation::spent: break;
    }
    {
        const Lock lock(mutex_);
        (reserved->of_run ? runs_[batch.run_id] : pipelines_[batch.uid]) = reserved->message;
    }
    return homeostat::spent(reserved->message);
}

}  // namespace homeostat
