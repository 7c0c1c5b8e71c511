// Whether a program that keeps failing is still asked: a state machine without time, threads or programs of its own.
//
//   unproven --success--> trusted --3 faults in a row--> unproven --a fault at the harmless text--> quarantined
//   quarantined --its time is over--> unproven
//
// Unproven, it is to be probed with the harmless text before it is given documents again. What it does to documents never begins
// a quarantine: one of them may be at fault. A quarantine that follows another without a success between is twice as long. What
// ends while the quarantine lasts was asked before it, and changes nothing. Belongs to one owner.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "core/clock.hpp"

namespace homeostat {

struct QuarantineSettings {
    int faults = 3;  // in a row
    std::chrono::milliseconds first = std::chrono::minutes(5);
    std::chrono::milliseconds longest = std::chrono::hours(1);
};

// What a program was asked about when it failed.
enum class FaultAt : std::uint8_t { documents, harmless_text };

class Quarantine {
public:
    explicit Quarantine(QuarantineSettings settings = {}) : settings_(settings) {}

    bool unproven() const noexcept { return !proven_; }
    // Until when nothing is asked of it.
    std::optional<SteadyTime> until(SteadyTime now) const noexcept { return until_ && now < *until_ ? until_ : std::nullopt; }

    int faults() const noexcept { return faults_; }  // in a row
    const std::string& last_fault() const noexcept { return last_fault_; }
    std::chrono::milliseconds length() const noexcept { return length_; }

    // True where this fault is the one too many.
    bool fault(SteadyTime now, std::string reason, FaultAt at) {
        if (until(now)) return false;
        last_fault_ = std::move(reason);
        if (++faults_ < settings_.faults) return false;
        proven_ = false;
        if (at == FaultAt::documents) return false;
        begin(now);
        return true;
    }

    // Begins at once: who asks has counted himself. True where it did.
    bool distrust(SteadyTime now, std::string reason) {
        if (until(now)) return false;
        last_fault_ = std::move(reason);
        faults_ = std::max(faults_, settings_.faults);
        begin(now);
        return true;
    }

    // True where this success brings it back.
    bool success(SteadyTime now) {
        if (until(now)) return false;
        const bool back = until_.has_value();
        until_.reset();
        length_ = {};
        faults_ = 0;
        proven_ = true;
        return back;
    }

private:
    void begin(SteadyTime now) {
        length_ = length_.count() == 0 ? settings_.first : std::min(length_ * 2, settings_.longest);
        until_ = now + length_;
        proven_ = false;
    }

    QuarantineSettings settings_;
    bool proven_ = false;
    int faults_ = 0;
    std::chrono::milliseconds length_{0};
    std::optional<SteadyTime> until_;
    std::string last_fault_;
};

}  // namespace homeostat
