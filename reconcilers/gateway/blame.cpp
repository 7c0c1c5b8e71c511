#include "reconcilers/gateway/blame.hpp"

#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

namespace {

constexpr int kAtRandom = 4;  // refusals of what may come at random: a busy server, a lost connection
constexpr int kSpoilt = 3;    // of what is hardly ever random: an answer with a fault in it

bool passes(ErrorClass c) { return c == ErrorClass::transient || c == ErrorClass::timeout || c == ErrorClass::local; }

}  // namespace

bool of_content(ErrorClass c) noexcept { return c == ErrorClass::content || c == ErrorClass::too_large; }

bool may_be_a_text(const Error& error, bool answered) noexcept {
    if (error.code == bad_answer::kRepeated) return false;
    switch (error.cls) {
        case ErrorClass::content:
        case ErrorClass::too_large:
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::bad_answer: return true;
        case ErrorClass::auth:
        case ErrorClass::not_found:
        case ErrorClass::invalid: return answered;
        default: return false;
    }
}

bool breaks_contract(const Error& error) noexcept {
    return error.cls == ErrorClass::bad_answer &&
           (error.code == bad_answer::kCount || error.code == bad_answer::kWidth || error.code == bad_answer::kModel);
}

bool mixes_up(const Error& error) noexcept {
    return error.cls == ErrorClass::bad_answer && (error.code == bad_answer::kCount || error.code == bad_answer::kOrder);
}

bool same_failure(const Error& a, const Error& b) noexcept { return a.cls == b.cls && a.code == b.code; }

bool enough(const Evidence& evidence, const Error& last) noexcept {
    if (evidence.alone < 1) return false;
    switch (last.cls) {
        case ErrorClass::transient:
        case ErrorClass::timeout: return evidence.refusals >= kAtRandom;
        case ErrorClass::bad_answer: return evidence.refusals >= kSpoilt;
        default: return true;
    }
}

Error condemned(Error refusal) {
    if (of_content(refusal.cls)) return refusal;
    refusal.message += " (the provider takes other texts, so this one is at fault)";
    refusal.cls = ErrorClass::content;
    refusal.origin = Origin::user;
    refusal.retry_after.reset();
    return refusal;
}

Error provider_at_fault(const Error& proof, bool answered, std::optional<std::chrono::milliseconds> retry_in) {
    Error e = proof;
    e.message += answered ? " (a text that it took before is refused too, so no document is at fault)"
                          : " (a text of ours is refused too, so no document is at fault)";
    // One whose answers were never of any use is not asked again and again either.
    if (breaks_contract(proof) || (proof.cls == ErrorClass::bad_answer && !answered)) {
        e.code = kContractBroken;
        return e;
    }
    const bool for_a_person =
        proof.cls == ErrorClass::auth || proof.cls == ErrorClass::not_found || proof.cls == ErrorClass::invalid;
    if (for_a_person && !answered) return e;
    e.cls = ErrorClass::unavailable;
    e.origin = Origin::theirs;
    // One that has never answered as declared may never do so: who waits for the end of a run is told now.
    e.retry_after = answered || passes(proof.cls) ? retry_in : std::nullopt;
    return e;
}

}  // namespace homeostat
