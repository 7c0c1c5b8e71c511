// The lane to one model of one provider: breaker, gate, limits and budget together, and the queue before them.
//
// Each (provider, model) has a lane of its own, so that one provider's trouble cannot take another's slots. enter() suspends
// until a request may go, or says at once why none will go soon; leave() tells the lane what came of it. Waiting costs no
// attempt. Safe from any thread; decisions are those of the pure parts in breaker.hpp, limiter.hpp and request_limits.hpp.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/resource.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/gateway/breaker.hpp"
#include "reconcilers/gateway/lane_snapshot.hpp"
#include "reconcilers/gateway/learnt_rate.hpp"
#include "reconcilers/gateway/limiter.hpp"
#include "reconcilers/gateway/ranking.hpp"
#include "reconcilers/gateway/request_limits.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

class Wake;

// What was read of a provider is no longer true: it is gone, or has been declared anew.
inline constexpr const char* kDeclaredAnew = "DeclaredAnew";
Error declared_anew(const std::string& provider);

class Lane : public std::enable_shared_from_this<Lane> {
public:
    // A pause longer than this is not waited for: the slot is better given back.
    static constexpr Duration kFirstLook = std::chrono::seconds(5);
    static constexpr Duration kPatience = std::chrono::seconds(5);

    struct Permit {
        std::uint64_t ticket = 0;  // of the breaker; of the breaker for local faults
        std::uint64_t local_ticket = 0;
        SteadyTime started{};
        std::size_t texts = 0;
        std::uint64_t tokens = 0;
        std::uint64_t bytes = 0;  // of all texts
        bool venture = false;  // a size that has not been answered yet
        bool proof = false;    // of the good text: it tells the provider's fault from a text's
    };

    Lane(const ProviderSpec& provider, std::string model, const Clock& clock, Telemetry telemetry, std::uint64_t seed,
         BreakerSettings breaker = {});

    // `urgent` requests go before all that are not, and have a place of their own (UrgentPlace).
    boost::asio::awaitable<Result<Permit>> enter(std::size_t texts, std::uint64_t tokens, bool urgent, Context context)
        EXCLUDES(mutex_);
    // `billed`: tokens as the provider counted them, 0 = unknown. `error`: absent where it answered. True where whoever leaves
    // has to ask for the good text at once, under begin_proof(): nothing goes until that has left too.
    [[nodiscard]] bool leave(const Permit& permit, const Error* error, std::uint64_t billed) EXCLUDES(mutex_);
    Permit begin_proof(std::uint64_t tokens) EXCLUDES(mutex_);

    // The last text that it took, to tell its faults from those of other texts; empty before there was one.
    std::string good_text() const EXCLUDES(mutex_);
    void keep_good(const std::string& text) EXCLUDES(mutex_);
    // It has answered a request that began later than that; or at all.
    bool answered_since(SteadyTime then) const EXCLUDES(mutex_);
    bool has_answered() const EXCLUDES(mutex_);
    // So many texts are refused together, though they are taken in requests of `passed`. Not `sure`: it may have been chance.
    void found_limit(std::size_t refused, std::size_t passed, bool sure) EXCLUDES(mutex_);
    // Whether a request of that size would teach how others should be cut; whether none so large has been answered yet.
    bool is_trial(std::size_t texts, std::uint64_t tokens) const EXCLUDES(mutex_);
    bool is_new_size(std::size_t texts, std::uint64_t tokens) const EXCLUDES(mutex_);
    // One at a time tries such a request, and the next is cut when it has ended: end_turn() must follow.
    boost::asio::awaitable<void> take_turn(Context context) EXCLUDES(mutex_);
    void end_turn() EXCLUDES(mutex_);
    // What was said of a good text that was refused after that; nothing where one was taken since, or none was asked for.
    std::optional<Error> disproved_since(SteadyTime then) const EXCLUDES(mutex_);

    // Takes one retry of the budget, to be given back; `wait` is how long to hold it back first (full jitter).
    std::optional<Duration> try_retry(int attempts, std::chrono::milliseconds base) EXCLUDES(mutex_);
    void retry_ended() EXCLUDES(mutex_);

    ProviderHealthState health() const EXCLUDES(mutex_);
    // Set while requests would be refused for longer than anybody should wait: when it may go on, and why not now.
    std::optional<Error> blocked() const EXCLUDES(mutex_);
    // Whether anything is known of it: it has said something, or another process has found out.
    bool known() const EXCLUDES(mutex_);
    // It has done nothing but fail for a moment, or is left alone; nothing where the last thing it said was an answer.
    std::optional<ProviderTrouble> trouble() const EXCLUDES(mutex_);
    std::uint32_t max_texts() const EXCLUDES(mutex_);
    std::uint64_t max_tokens() const EXCLUDES(mutex_);
    int room() const EXCLUDES(mutex_);  // requests that could start now, before any waits

    void eject(const Error& why, Duration length) EXCLUDES(mutex_);  // not what it says it is
    void allow_probe() EXCLUDES(mutex_);
    // Its provider is gone, or declared anew: nothing goes to it any more, not even what waits or is to be sent again.
    void retire() EXCLUDES(mutex_);
    void set_members(int members) EXCLUDES(mutex_);
    void restore(const ProviderRecord& record) EXCLUDES(mutex_);
    // What another replica has told: the provider has answered it since it failed here.
    void hear_of(const ProviderRecord& record) EXCLUDES(mutex_);
    // What other replicas should know, where it has changed since it was last taken. `encoding`: as the embedder has found.
    std::optional<ProviderRecord> take_record(const std::string& encoding) EXCLUDES(mutex_);
    // Whether it is time to ask whether it is well: it failed last, may be asked, and is asked nothing. Then the next time is
    // later.
    bool take_look() EXCLUDES(mutex_);
    LaneSnapshot snapshot() const EXCLUDES(mutex_);
    std::int64_t generation() const noexcept { return generation_; }
    const std::string& model() const noexcept { return model_; }

private:
    struct Verdict {
        bool go = false;
        std::optional<SteadyTime> until;  // else: until somebody leaves
        std::optional<Error> refusal;
    };
    struct Waiter {
        std::shared_ptr<Wake> wake;
        bool urgent = false;
    };
    SteadyTime earliest(SteadyTime now) const REQUIRES(mutex_);  // by gate and rates
    Verdict judge(std::size_t texts, std::uint64_t tokens, bool urgent, SteadyTime now) REQUIRES(mutex_);
    void queue(Waiter waiter) REQUIRES(mutex_);
    bool is_next(bool urgent) const REQUIRES(mutex_);
    Permit admit(std::size_t texts, std::uint64_t tokens, SteadyTime now) REQUIRES(mutex_);
    int allowed(bool urgent, SteadyTime now) const REQUIRES(mutex_);
    std::optional<Error> refusal(SteadyTime now) const REQUIRES(mutex_);
    std::optional<ProviderTrouble> trouble(SteadyTime now) const REQUIRES(mutex_);
    void note_health(const Permit& permit, const Error* error, SteadyTime now) REQUIRES(mutex_);
    void note_failure(const Permit& permit, const Error& error, SteadyTime now) REQUIRES(mutex_);
    void note_answer(const Permit& permit, std::uint64_t billed, SteadyTime now) REQUIRES(mutex_);
    std::optional<Error> left_alone(const Breaker& breaker, SteadyTime now) const REQUIRES(mutex_);
    void note(const Permit& permit, const Error* error, std::uint64_t billed, SteadyTime now) REQUIRES(mutex_);
    void note_breaker(const Permit& permit, CallResult result, const Error* error, SteadyTime now) REQUIRES(mutex_);
    void publish(SteadyTime now) REQUIRES(mutex_);
    void wake() REQUIRES(mutex_);
    double random() REQUIRES(mutex_) { return std::uniform_real_distribution<double>(0, 1)(random_); }

    const std::string provider_;
    const std::string model_;
    const std::int64_t uid_;
    const std::int64_t generation_;
    const Duration slow_after_;
    const bool in_process_;
    const Clock& clock_;
    Counter& requests_total_;
    Counter& throttled_total_;
    Counter& retries_total_;
    Counter& succeeded_total_;
    Counter& failed_total_;
    Counter& rejected_total_;
    Counter& opened_total_;
    Gauge& breaker_gauge_;
    Gauge& limit_gauge_;
    Gauge& gate_gauge_;
    Gauge& rate_gauge_;

    mutable Mutex mutex_;
    std::mt19937_64 random_ GUARDED_BY(mutex_);
    Breaker remote_ GUARDED_BY(mutex_);
    Breaker local_ GUARDED_BY(mutex_);
    ThrottleGate gate_ GUARDED_BY(mutex_);
    LearntRate learnt_ GUARDED_BY(mutex_);
    ConcurrencyLimit concurrency_ GUARDED_BY(mutex_);
    UrgentPlace urgent_ GUARDED_BY(mutex_);
    std::optional<RateLimit> requests_rate_ GUARDED_BY(mutex_);
    std::optional<RateLimit> tokens_rate_ GUARDED_BY(mutex_);
    RetryBudget retries_ GUARDED_BY(mutex_);
    RequestLimits limits_ GUARDED_BY(mutex_);
    bool retired_ GUARDED_BY(mutex_) = false;
    std::string reason_ GUARDED_BY(mutex_);
    std::string last_error_ GUARDED_BY(mutex_);
    bool known_ GUARDED_BY(mutex_) = false;
    std::string good_text_ GUARDED_BY(mutex_);
    std::optional<SteadyTime> answered_ GUARDED_BY(mutex_);  // when the latest request began that it has answered
    bool proving_ GUARDED_BY(mutex_) = false;
    bool in_turn_ GUARDED_BY(mutex_) = false;
    std::deque<std::shared_ptr<Wake>> turns_ GUARDED_BY(mutex_);
    std::optional<Error> disproof_ GUARDED_BY(mutex_);
    SteadyTime disproved_ GUARDED_BY(mutex_){};  // when that was asked for
    std::optional<SteadyTime> failing_since_ GUARDED_BY(mutex_);  // without an answer meanwhile
    ProviderTrouble failing_ GUARDED_BY(mutex_);
    Duration look_after_ GUARDED_BY(mutex_) = kFirstLook;  // of silence
    SteadyTime looked_at_ GUARDED_BY(mutex_){};  // which is no word of its own
    bool heard_ GUARDED_BY(mutex_) = false;  // anything since the last record
    SteadyTime heard_at_ GUARDED_BY(mutex_){};
    bool told_healthy_ GUARDED_BY(mutex_) = true;  // in it
    SteadyTime told_at_ GUARDED_BY(mutex_){};
    std::uint32_t told_pace_ GUARDED_BY(mutex_) = 0;
    std::string told_encoding_ GUARDED_BY(mutex_);
    std::deque<Waiter> waiting_ GUARDED_BY(mutex_);  // the urgent ones first
    int in_flight_ GUARDED_BY(mutex_) = 0;
    int ventures_ GUARDED_BY(mutex_) = 0;
    bool dirty_ GUARDED_BY(mutex_) = false;
    LaneSnapshot counts_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
