// What a lane makes of each answer and failure, and the text that tells its faults from those of other texts.
#include <boost/asio/this_coro.hpp>

#include "reconcilers/gateway/lane.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace {

constexpr double kMeanWeight = 0.1;       // of the newest answer in the running mean
constexpr std::size_t kGoodBytes = 4096;  // of a text that is kept to be asked for again

}  // namespace

void Lane::note_answer(const Permit& permit, std::uint64_t billed, SteadyTime now) {
    const Duration took = now - permit.started;
    const double seconds = std::chrono::duration<double>(took).count();
    counts_.mean_seconds = counts_.mean_seconds == 0 ? seconds : counts_.mean_seconds * (1 - kMeanWeight) + seconds * kMeanWeight;
    if (limits_.accepted(permit.texts, permit.tokens)) dirty_ = true;
    limits_.answered(permit.texts, took);
    concurrency_.succeeded(in_flight_ + 1);
    gate_.succeeded();
    learnt_.succeeded(now);
    if (tokens_rate_ && billed > 0) tokens_rate_->give_back(static_cast<double>(permit.tokens) - static_cast<double>(billed));
    if (!answered_ || *answered_ < permit.started) answered_ = permit.started;
    disproof_.reset();
    const bool slow = took > slow_after_ && !permit.proof;
    note_breaker(permit, slow ? CallResult::slow : CallResult::success, nullptr, now);
}

void Lane::note(const Permit& permit, const Error* error, std::uint64_t billed, SteadyTime now) {
    note_health(permit, error, now);
    if (error == nullptr) return note_answer(permit, billed, now);
    switch (error->cls) {
        case ErrorClass::cancelled:
            if (permit.proof) remote_.undecided();
            return;
        case ErrorClass::throttled:
            ++counts_.throttled;
            throttled_total_.add();
            gate_.throttled(error->retry_after,
                            std::chrono::duration_cast<Duration>(std::chrono::duration<double>(counts_.mean_seconds)),
                            permit.started, now, random());
            learnt_.refused(error->retry_after.has_value(), permit.started, now);
            // A single refusal that asks for nothing is no sign yet that there were too many.
            if (error->retry_after) {
                concurrency_.throttled(permit.started, now);
            } else if (gate_.in_a_row() > 1) {
                concurrency_.timed_out(permit.started, now);
            }
            if (permit.proof) remote_.undecided();
            return;
        case ErrorClass::unavailable:
            last_error_ = error->message;
            reason_ = "Quarantined";
            remote_.restore(1, now + error->retry_after.value_or(std::chrono::minutes(1)));
            dirty_ = true;
            return;
        default: return note_failure(permit, *error, now);
    }
}

void Lane::note_failure(const Permit& permit, const Error& error, SteadyTime now) {
    const CallResult suspect = permit.proof || in_process_ ? CallResult::failure : CallResult::suspect;
    if (permit.proof && error.cls != ErrorClass::local) {
        disproof_ = error;
        disproved_ = permit.started;
    }
    switch (error.cls) {
        case ErrorClass::auth:
            ++counts_.failures;
            // A gate before the endpoint may forbid what one text says: of a key that was good the good text tells.
            return note_breaker(permit, answered_ && !permit.proof ? suspect : CallResult::refused, &error, now);
        case ErrorClass::timeout:
            concurrency_.timed_out(permit.started, now);
            limits_.timed_out(permit.texts);
            [[fallthrough]];
        case ErrorClass::local: ++counts_.failures; return note_breaker(permit, suspect, &error, now);
        case ErrorClass::transient:
        case ErrorClass::bad_answer:
            ++counts_.failures;
            note_breaker(permit, suspect, &error, now);
            break;
        case ErrorClass::too_large:
            if (limits_.refused(permit.texts, permit.tokens, permit.bytes, error.said)) dirty_ = true;
            if (permit.texts > 1) return note_breaker(permit, CallResult::success, nullptr, now);
            [[fallthrough]];
        default:  // it answered, and the fault is ours; but of the good text none is
            note_breaker(permit, permit.proof ? CallResult::failure : CallResult::success, permit.proof ? &error : nullptr, now);
    }
    // One that has answered nothing yet may never do so: what waits behind this request is not sent to find that out again.
    if (!answered_ && !permit.proof && !in_process_) remote_.doubt();
}

Lane::Permit Lane::begin_proof(std::uint64_t tokens) {
    const Lock lock(mutex_);
    Permit p = admit(1, tokens, clock_.steady_now());
    p.proof = true;
    return p;
}

std::string Lane::good_text() const {
    const Lock lock(mutex_);
    return good_text_;
}

void Lane::keep_good(const std::string& text) {
    if (text.size() > kGoodBytes) return;
    const Lock lock(mutex_);
    good_text_ = text;
}

bool Lane::answered_since(SteadyTime then) const {
    const Lock lock(mutex_);
    return answered_ && *answered_ > then;
}

bool Lane::has_answered() const {
    const Lock lock(mutex_);
    return answered_.has_value();
}

void Lane::found_limit(std::size_t refused, std::size_t passed, bool sure) {
    const Lock lock(mutex_);
    if (limits_.found(refused, passed, sure)) dirty_ = true;
}

bool Lane::is_trial(std::size_t texts, std::uint64_t tokens) const {
    const Lock lock(mutex_);
    return !in_process_ && (limits_.pace_unknown() || !limits_.proven(texts, tokens));
}

bool Lane::is_new_size(std::size_t texts, std::uint64_t tokens) const {
    const Lock lock(mutex_);
    return !in_process_ && !limits_.proven(texts, tokens);
}

boost::asio::awaitable<void> Lane::take_turn(Context context) {
    const auto self = shared_from_this();
    const auto bell = std::make_shared<Wake>(co_await boost::asio::this_coro::executor);
    const std::stop_callback on_stop(context.stop, [bell] { bell->wake(); });
    for (;;) {
        {
            const Lock lock(mutex_);
            std::erase(turns_, bell);
            if (!in_turn_ || context.stop.stop_requested()) {
                in_turn_ = true;
                co_return;
            }
            turns_.push_back(bell);
        }
        co_await bell->wait(std::chrono::hours(24));
    }
}

void Lane::end_turn() {
    const Lock lock(mutex_);
    in_turn_ = false;
    if (!turns_.empty()) turns_.front()->wake();
}

std::optional<Error> Lane::disproved_since(SteadyTime then) const {
    const Lock lock(mutex_);
    return disproof_ && disproved_ >= then ? disproof_ : std::nullopt;
}

}  // namespace homeostat
