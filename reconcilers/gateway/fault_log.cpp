#include "reconcilers/gateway/fault_log.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace homeostat {

namespace {

constexpr std::chrono::minutes kToldAgain{1};
constexpr const char* kDatabase = "database";

std::string counted(std::uint64_t times, std::size_t most) {
    const std::string met = times == 1 ? "met once" : fmt::format("met {} times", times);
    return most > 1 ? fmt::format("{}, by {} at the same time", met, most) : met;
}

}  // namespace

void FaultLog::met(const std::string& sufferer, const std::string& fault, const std::string& line, SteadyTime now) {
    const Lock lock(mutex_);
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
    const std::string fault = fault_of(error, sufferer, provider);
    // Who is the first to meet it says nothing of it.
    met(sufferer, fault, fault == kDatabase ? "the database cannot be read or written: " + error.message : line, now);
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
        // Of transactions that met each other the database is well.
        case ErrorClass::db_transient: return error.code.starts_with("40") ? whose : kDatabase;
        case ErrorClass::db_resource: return kDatabase;
        case ErrorClass::throttled:
        case ErrorClass::unavailable:
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local:
        case ErrorClass::bad_answer:
        case ErrorClass::auth: return provider.empty() ? whose : fmt::format("provider {}", provider);
        default: return whose;
    }
}

}  // namespace homeostat
