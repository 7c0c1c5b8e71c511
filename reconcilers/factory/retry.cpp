#include "reconcilers/factory/retry.hpp"

#include <algorithm>

#include "reconcilers/gateway/blame.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

// What was not tried is not put off for longer: how long its provider is left alone is the provider's to know, and one that is
// declared anew, or answers again, is asked at once.
constexpr std::chrono::milliseconds kGivenBack{10'000};

}  // namespace

std::chrono::milliseconds full_jitter(int attempts, std::chrono::milliseconds base, std::chrono::milliseconds cap,
                                      double random) {
    const double ceiling = std::min(static_cast<double>(cap.count()),
                                    static_cast<double>(base.count()) * static_cast<double>(1ULL << std::clamp(attempts, 0, 40)));
    return std::chrono::milliseconds(static_cast<std::int64_t>(ceiling * random));
}

BatchDecision after_failure(const Error& error, const FailedBatch& batch, const RetrySettings& s, double random) {
    const auto wait = [&] {
        const auto jitter = full_jitter(batch.attempts, s.base, s.cap, random);
        return error.retry_after ? std::max(*error.retry_after, jitter) : jitter;
    };
    if (s.manual.contains(error.cls)) return {BatchFate::fail_run, {}};
    if (error.code == kTookTooLong) {
        // As it is, it would take as long again. One row whose code waits is found by halving, while the others are served.
        if (batch.documents > 1) return {BatchFate::split, {}};
        if (batch.attempts + 1 < s.max_attempts) return {BatchFate::retry, wait()};
        return {BatchFate::fail_run, {}};
    }
    switch (error.cls) {
        case ErrorClass::fenced: return {BatchFate::drop, {}};
        case ErrorClass::cancelled: return {BatchFate::give_back, {}};
        case ErrorClass::auth:
        case ErrorClass::db_permanent:
        case ErrorClass::invalid:
        case ErrorClass::not_found: return {BatchFate::fail_run, {}};
        case ErrorClass::content:
        case ErrorClass::too_large: return {batch.documents > 1 ? BatchFate::split : BatchFate::dead_letter, {}};
        case ErrorClass::internal:
            // A fault of ours that one document provokes must not stop the rest.
            if (batch.attempts + 1 < s.max_attempts) return {BatchFate::retry, wait()};
            return {batch.documents > 1 ? BatchFate::split : BatchFate::dead_letter, {}};
        case ErrorClass::unavailable:
            // One that restarts is waited for; of one that stays away, or is in quarantine, who waits is told.
            if (batch.once && error.retry_after.value_or(std::chrono::hours(1)) > kOncePatience) return {BatchFate::fail_run, {}};
            return {BatchFate::give_back, std::clamp(wait(), s.base, std::max(s.base, kGivenBack))};
        case ErrorClass::throttled:
        case ErrorClass::conflict:
        case ErrorClass::db_transient:
        case ErrorClass::db_resource: return {BatchFate::give_back, std::clamp(wait(), s.base, std::max(s.base, kGivenBack))};
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local:
        case ErrorClass::bad_answer:
            // The provider's trouble, not the documents': they are never condemned for it.
            if (error.code == kContractBroken) return {BatchFate::fail_run, {}};
            if (batch.attempts + 1 < s.max_attempts) return {BatchFate::retry, wait()};
            return {BatchFate::fail_run, {}};
    }
    return {BatchFate::fail_run, {}};
}

}  // namespace homeostat
