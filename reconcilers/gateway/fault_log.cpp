#include "reconcilers/gateway/fault_log.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::minutes kToldAgain{1};
constexpr std::chrono::seconds kExplainedWithin{2};
constexpr const char* kDatabase = "database";
constexpr const char* kLocked = "database, locked";

// Of a provider's faults. An answer that is late, cut off or missing is one kind, however it looks this time.
constexpr std::string_view kAway = "away";
constexpr std::string_view kRefuses = "refuses";
constexpr std::string_view kThrottles = "throttles";
constexpr std::string_view kAnswersBadly = "answers badly";
constexpr std::string_view kBreakerOpen = "BreakerOpen";

std::string fault_of_provider(std::string_view provider, std::string_view kind) {
    return fmt::format("provider {}: {}", provider, kind);
}

std::string counted(std::uint64_t times, std::size_t most) {
    const std::string met = times == 1 ? "met once" : fmt::format("met {} times", times);
    return most > 1 ? fmt::format("{}, by {} at the same time", met, most) : met;
}

}  // namespace

void FaultLog::met(const std::string& sufferer, const std::string& fault, const std::string& line, SteadyTime now) {
    const Lock lock(mutex_);
    meet(sufferer, fault, line, now);
}

void FaultLog::meet(const std::string& sufferer, const std::string& fault, const std::string& line, SteadyTime now) {
    if (const auto had = of_.find(sufferer); had != of_.end() && had->second != fault) leave(sufferer, now);
    forget_ended(now);
    of_[sufferer] = fault;
    Fault& f = faults_[fault];
    f.suffer.insert(sufferer);
    f.most = std::max(f.most, f.suffer.size());
    if (f.times++ == 0) {
        f.line = line;
        spdlog::warn("{}", line);
    } else if (now - f.told >= kToldAgain) {
        spdlog::warn("{} ({}; {})", line, f.open ? "still" : "again", counted(f.times, f.most));
    } else {
        return;
    }
    f.open = true;
    f.told = now;
}

void FaultLog::met(const std::string& sufferer, const Error& error, const std::string& line, SteadyTime now,
                   std::string_view provider) {
    const Lock lock(mutex_);
    std::string fault = fault_of(error, sufferer, provider);
    // An open breaker says nothing new: it is what opened it that goes on.
    if (!provider.empty() && error.code == kBreakerOpen) {
        if (std::string before = under_way(sufferer, provider); !before.empty()) {
            fault = std::move(before);
        } else {
            SteadyTime& since = unexplained_.try_emplace(std::string(provider), now).first->second;
            if (now - since > kToldAgain) since = now;  // of another time
            if (now - since < kExplainedWithin) return;  // whose request opened it is about to say why
        }
    } else {
        unexplained_.erase(std::string(provider));
    }
    // Who is the first to meet it says nothing of it.
    meet(sufferer, fault, fault == kDatabase ? "the database cannot be read or written: " + error.message : line, now);
}

// The provider's fault that this one suffers from, or else somebody; of several, the one that was told of last.
std::string FaultLog::under_way(const std::string& sufferer, std::string_view provider) const {
    const std::string head = fault_of_provider(provider, "");
    if (const auto had = of_.find(sufferer); had != of_.end() && had->second.starts_with(head)) return had->second;
    auto last = faults_.end();
    for (auto at = faults_.lower_bound(head); at != faults_.end() && at->first.starts_with(head); ++at) {
        if (!at->second.suffer.empty() && (last == faults_.end() || at->second.told > last->second.told)) last = at;
    }
    return last == faults_.end() ? "" : last->first;
}

void FaultLog::know(std::int64_t uid, const std::string& name) {
    const Lock lock(mutex_);
    names_[uid] = name;
}

std::string FaultLog::called(std::int64_t uid) {
    const Lock lock(mutex_);
    const auto named = names_.find(uid);
    return named == names_.end() ? fmt::format("the pipeline of uid {}", uid) : fmt::format("pipeline \"{}\"", named->second);
}

void FaultLog::over(const std::string& sufferer, SteadyTime now) {
    const Lock lock(mutex_);
    leave(sufferer, now);
}

void FaultLog::leave(const std::string& sufferer, SteadyTime now) {
    const auto had = of_.find(sufferer);
    if (had == of_.end()) return;
    Fault& f = faults_.at(had->second);
    of_.erase(had);
    f.suffer.erase(sufferer);
    if (!f.suffer.empty() || !std::exchange(f.open, false)) return;
    spdlog::info("over: {} ({})", f.line, counted(f.times, f.most));
    f.told = now;
}

// One of which nothing was to be told for two minutes begins anew.
void FaultLog::forget_ended(SteadyTime now) {
    std::erase_if(faults_,
                  [&](const auto& entry) { return entry.second.suffer.empty() && now - entry.second.told >= 2 * kToldAgain; });
}

std::string pipeline_of(std::int64_t uid) { return fmt::format("pipeline {}", uid); }
std::string batches_of(std::int64_t uid) { return fmt::format("batches of pipeline {}", uid); }
std::string triggers_of(std::int64_t uid) { return fmt::format("triggers of pipeline {}", uid); }

std::string fault_of(const Error& error, const std::string& whose, std::string_view provider) {
    switch (error.cls) {
        // Of transactions that met each other, or a lock that somebody holds, the database is well. What a batch waits for is
        // most likely its source's; all else waits for tables of ours, and for one lock of them together.
        case ErrorClass::db_transient:
            if (error.code == kLockNotAvailable) return provider.empty() ? kLocked : whose;
            return error.code.starts_with("40") ? whose : kDatabase;
        case ErrorClass::db_resource: return kDatabase;
        case ErrorClass::unavailable:
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local: return provider.empty() ? whose : fault_of_provider(provider, kAway);
        case ErrorClass::throttled: return provider.empty() ? whose : fault_of_provider(provider, kThrottles);
        case ErrorClass::bad_answer: return provider.empty() ? whose : fault_of_provider(provider, kAnswersBadly);
        case ErrorClass::auth: return provider.empty() ? whose : fault_of_provider(provider, kRefuses);
        default: return whose;
    }
}

}  // namespace homeostat
