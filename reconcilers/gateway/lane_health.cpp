// How a provider is, by what its lane has heard, and what of it replicas tell each other.
#include <algorithm>
#include <utility>

#include "reconcilers/gateway/lane.hpp"

namespace homeostat {

namespace {

constexpr Duration kRepeat = std::chrono::seconds(5);
constexpr Duration kLastLook = std::chrono::minutes(5);
constexpr Duration kHiccup = std::chrono::seconds(1);  // failures for no longer than this are no trouble yet

// "" where it is no fault of the provider's, or of the way to it: then it has answered.
std::string_view fault_of(const Error& e) {
    switch (e.cls) {
        case ErrorClass::auth: return "ProviderRefused";
        case ErrorClass::bad_answer: return "BadAnswer";
        case ErrorClass::throttled: return "Throttled";
        case ErrorClass::unavailable: return "Quarantined";
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local: return "ProviderFailing";
        default: return "";
    }
}

}  // namespace

void Lane::note_health(const Permit& permit, const Error* error, SteadyTime now) {
    if (error != nullptr && error->cls == ErrorClass::cancelled) return;
    known_ = true;
    heard_ = true;
    heard_at_ = now;
    std::string_view fault = error == nullptr ? std::string_view() : fault_of(*error);
    if (fault.empty() && error != nullptr && permit.proof) fault = "ProviderFailing";  // whatever it says, of a text that is good
    // That it refuses a text is no sign that it is well again.
    if (fault.empty() && error != nullptr && failing_since_) return;
    if (fault.empty()) {
        failing_since_.reset();
        look_after_ = kFirstLook;
        // What opened the breaker is over, though it is tried on; that a pool does not agree is not told by an answer.
        const bool left_alone = remote_.state(now) == BreakerState::open || local_.state(now) == BreakerState::open;
        if (error == nullptr && !left_alone && reason_ != "CanaryDisagrees") {
            reason_.clear();
            last_error_.clear();
        }
        return;
    }
    if (!failing_since_) failing_since_ = now;
    failing_ = {std::string(fault), error->message};
}

std::optional<ProviderTrouble> Lane::trouble(SteadyTime now) const {
    const std::optional<Error> refused = refusal(now);
    if (failing_since_ && (refused || now - *failing_since_ >= kHiccup)) return failing_;
    if (!refused) return std::nullopt;
    const std::string reason = refused->cls == ErrorClass::throttled ? "Throttled"
                               : reason_.empty()                     ? "ProviderFailing"
                                                                     : reason_;
    return ProviderTrouble{reason, refused->message};
}

std::optional<ProviderTrouble> Lane::trouble() const {
    const Lock lock(mutex_);
    return trouble(clock_.steady_now());
}

bool Lane::known() const {
    const Lock lock(mutex_);
    return known_;
}

void Lane::restore(const ProviderRecord& record) {
    const Lock lock(mutex_);
    if (record.generation != generation_) return;  // another declaration: nothing of it is known
    limits_.restore(record.max_texts, record.max_tokens, record.pace);
    if (record.in_flight > 0) concurrency_.restore(record.in_flight);
    told_pace_ = record.pace;
    told_encoding_ = record.encoding;
    heard_at_ = clock_.steady_now() - record.heard_ago;
    if (!record.healthy) {
        known_ = true;
        told_healthy_ = false;  // and not told again as if it had been heard here
        failing_since_ = clock_.steady_now() - kHiccup;
        failing_ = {record.reason.empty() ? "ProviderFailing" : record.reason, record.message};
    }
    if (record.retry_in && record.breaker != "closed") {
        remote_.restore(record.opened, clock_.steady_now() + *record.retry_in);
        last_error_ = record.message;
        reason_ = record.reason;
    }
    publish(clock_.steady_now());
}

void Lane::hear_of(const ProviderRecord& record) {
    const Lock lock(mutex_);
    const SteadyTime then = clock_.steady_now() - record.heard_ago;
    if (record.generation != generation_ || !record.healthy || !failing_since_ || then <= heard_at_) return;
    failing_since_.reset();
    heard_at_ = then;
}

bool Lane::take_look() {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    if (!failing_since_ || in_flight_ > 0 || !waiting_.empty() || now - std::max(heard_at_, looked_at_) < look_after_ ||
        refusal(now))
        return false;
    look_after_ = std::min<Duration>(look_after_ * 2, kLastLook);
    looked_at_ = now;
    return true;
}

std::optional<ProviderRecord> Lane::take_record(const std::string& encoding) {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    const std::optional<ProviderTrouble> trouble = this->trouble(now);
    const bool turned = std::exchange(told_healthy_, !trouble) == trouble.has_value();
    // What another replica wrote is corrected by whoever has heard since.
    const bool again = heard_ && now - told_at_ >= kRepeat;
    const bool learnt = limits_.learnt_pace() != told_pace_ || encoding != told_encoding_;
    if (!std::exchange(dirty_, false) && !turned && !again && !learnt) return std::nullopt;
    heard_ = false;
    told_at_ = now;
    ProviderRecord r;
    r.uid = uid_;
    r.model = model_;
    r.generation = generation_;
    // Our network's trouble is nobody else's.
    const BreakerState state = remote_.state(now);
    r.breaker = std::string(to_string(state));
    r.opened = remote_.opened();
    r.heard_ago = std::chrono::duration_cast<std::chrono::milliseconds>(now - heard_at_);
    r.healthy = !trouble;
    // What it says now, rather than what opened the breaker: a trial may have found something else.
    if (trouble) {
        r.reason = trouble->reason;
        r.message = trouble->message;
    } else if (state != BreakerState::closed) {
        r.reason = reason_;
        r.message = last_error_;
    }
    if (state != BreakerState::closed)
        r.retry_in = std::chrono::duration_cast<std::chrono::milliseconds>(std::max(Duration{}, remote_.retry_at() - now));
    r.max_texts = limits_.learnt_texts();
    r.max_tokens = limits_.max_tokens();
    r.pace = told_pace_ = limits_.learnt_pace();
    if (concurrency_.found()) r.in_flight = concurrency_.limit();
    r.encoding = told_encoding_ = encoding;
    return r;
}

}  // namespace homeostat
