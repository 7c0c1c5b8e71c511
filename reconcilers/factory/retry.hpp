// What becomes of a batch that failed: a pure decision from the error's class and what the batch has been through.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

struct RetrySettings {
    std::chrono::milliseconds base{500};
    std::chrono::milliseconds cap{60'000};
    int max_attempts = 5;
    std::set<ErrorClass> manual{};  // left to a person: the run ends and says why
};

enum class BatchFate : std::uint8_t {
    give_back,    // as it was, after `delay`: throttled, stopped, the database is away
    retry,        // one more attempt behind it, after `delay`
    split,        // two halves of it instead (its size is at least two)
    dead_letter,  // a single document that cannot be embedded
    fail_run,     // nothing of this pipeline will succeed as things are: the provider refuses us, or keeps failing
    drop,         // it is not ours any more
};

struct BatchDecision {
    BatchFate fate = BatchFate::give_back;
    std::chrono::milliseconds delay{0};
};

struct FailedBatch {
    std::size_t documents = 0;
    int attempts = 0;  // before this failure
    bool once = false;  // somebody waits for the end of the run
};

// In a run that somebody waits for, a provider that will not be asked again within this time ends the run. Breakers open four
// times for a second, then for 2, 4, 8, 16 and 32 (a fifth more or less), so one that is down is given half a minute to come
// back.
inline constexpr std::chrono::milliseconds kOncePatience{25'000};

// The code of what ends a run because one document, alone and again, could not be read or written in the time a statement has.
inline constexpr std::string_view kDocumentTooSlow = "DocumentTookTooLong";

// `random` in [0, 1): the wait is a full jitter, so that many batches of one failure do not return together.
BatchDecision after_failure(const Error& error, const FailedBatch& batch, const RetrySettings& settings, double random);

// random * min(cap, base * 2^attempts)
std::chrono::milliseconds full_jitter(int attempts, std::chrono::milliseconds base, std::chrono::milliseconds cap, double random);

}  // namespace homeostat
