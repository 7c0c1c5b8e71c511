#include "reconcilers/gateway/lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr double kSlowShare = 0.8;     // of the time-out
constexpr Duration kLongWait = std::chrono::hours(24);

bool runs_here(const ProviderSpec& p) { return p.kind == "local" || p.kind == "hashing"; }

std::string seconds_text(Duration d) { return span_text(std::chrono::duration<double>(d).count()); }

std::chrono::milliseconds millis(Duration d) {
    return std::max(std::chrono::milliseconds(1), std::chrono::ceil<std::chrono::milliseconds>(d));
}

std::optional<RateLimit> rate_of(const auto& per_minute) {
    return per_minute ? std::optional<RateLimit>(RateLimit(*per_minute)) : std::nullopt;
}

// What breakers were told, and what they did not let through.
Counter& breaker_counter(const Telemetry& telemetry, const std::string& provider, const std::string& model, const char* result) {
    return telemetry.metrics.counter("homeostat_breaker_calls_total",
                                     "Requests by what a breaker made of them: success, failure, or rejected unasked.",
                                     {{"provider", provider}, {"model", model}, {"result", result}});
}

}  // namespace

Error declared_anew(const std::string& provider) {
    return {.cls = ErrorClass::conflict,
            .message = fmt::format("provider \"{}\" has been declared anew, or deleted; it is asked as it is now", provider),
            .origin = Origin::user,
            .code = kDeclaredAnew};
}

Lane::Lane(const ProviderSpec& provider, std::string model, const Clock& clock, Telemetry telemetry, std::uint64_t seed,
           BreakerSettings breaker)
    : provider_(provider.name),
      model_(std::move(model)),
      uid_(provider.uid),
      generation_(provider.generation),
      slow_after_(std::chrono::duration_cast<Duration>(Duration(provider.timeout) * kSlowShare)),
      in_process_(runs_here(provider)),
      clock_(clock),
      requests_total_(telemetry.metrics.counter("homeostat_provider_requests_total", "Requests to embedding providers.",
                                                {{"provider", provider_}})),
      throttled_total_(telemetry.metrics.counter("homeostat_provider_throttled_total",
                                                 "Requests that providers answered by asking to be left alone.",
                                                 {{"provider", provider_}})),
      retries_total_(telemetry.metrics.counter("homeostat_retries_total", "Requests sent again after a failure.",
                                               {{"provider", provider_}})),
      succeeded_total_(breaker_counter(telemetry, provider_, model_, "success")),
      failed_total_(breaker_counter(telemetry, provider_, model_, "failure")),
      rejected_total_(breaker_counter(telemetry, provider_, model_, "rejected")),
      opened_total_(telemetry.metrics.counter("homeostat_breaker_openings_total", "How often a breaker opened.",
                                              {{"provider", provider_}, {"model", model_}})),
      breaker_gauge_(telemetry.metrics.gauge("homeostat_breaker_state", "0 closed, 1 half open, 2 open.",
                                             {{"provider", provider_}, {"model", model_}})),
      limit_gauge_(telemetry.metrics.gauge("homeostat_concurrency_limit", "Requests that may be in flight at a time, now.",
                                           {{"provider", provider_}, {"model", model_}})),
      gate_gauge_(telemetry.metrics.gauge("homeostat_gate_closed_seconds", "How long the provider still wants to be left alone.",
                                          {{"provider", provider_}, {"model", model_}})),
      rate_gauge_(
          telemetry.metrics.gauge("homeostat_learnt_requests_per_second",
                                  "Requests a second that a provider takes, as its refusals tell; 0 while none is held back.",
                                  {{"provider", provider_}, {"model", model_}})),
      random_(seed),
      remote_(breaker),
      local_(breaker),
      concurrency_(static_cast<int>(provider.max_in_flight), in_process_ ? static_cast<int>(provider.max_in_flight) : 4),
      urgent_(in_process_),
      requests_rate_(rate_of(provider.requests_per_minute)),
      tokens_rate_(rate_of(provider.tokens_per_minute)),
      limits_(provider.max_batch, in_process_ ? Duration{} : Duration(provider.timeout)) {
    const Lock lock(mutex_);
    publish(clock_.steady_now());
}

int Lane::allowed(bool urgent, SteadyTime now) const {
    return std::min({remote_.allowed(now), local_.allowed(now), urgent_.allowed(concurrency_, urgent, now)});
}

bool Lane::is_next(bool urgent) const { return waiting_.empty() || (urgent && !waiting_.front().urgent); }

void Lane::queue(Waiter waiter) {
    const auto place = waiter.urgent ? std::find_if(waiting_.begin(), waiting_.end(), [](const Waiter& w) { return !w.urgent; })
                                     : waiting_.end();
    waiting_.insert(place, std::move(waiter));
}

std::optional<Error> Lane::left_alone(const Breaker& breaker, SteadyTime now) const {
    if (breaker.state(now) != BreakerState::open) return std::nullopt;
    const Duration left = breaker.retry_at() - now;
    Error e{.cls = ErrorClass::unavailable, .message = {}, .origin = Origin::theirs, .code = "BreakerOpen"};
    e.message = fmt::format("provider \"{}\" is left alone for {} because it failed: {}", provider_, seconds_text(left),
                            last_error_.empty() ? "as another replica found" : last_error_);
    e.retry_after = millis(left);
    return e;
}

SteadyTime Lane::earliest(SteadyTime now) const {
    SteadyTime earliest = std::max(gate_.opens_at(), learnt_.earliest(now));
    for (const auto* rate : {&requests_rate_, &tokens_rate_}) {
        if (*rate) earliest = std::max(earliest, (*rate)->earliest(now));
    }
    return earliest;
}

std::optional<Error> Lane::refusal(SteadyTime now) const {
    if (retired_) return declared_anew(provider_);
    if (auto e = left_alone(remote_, now)) return e;
    if (auto e = left_alone(local_, now)) return e;
    const SteadyTime earliest = this->earliest(now);
    if (earliest <= now || earliest - now <= kPatience) return std::nullopt;
    Error e{.cls = ErrorClass::throttled, .message = {}, .origin = Origin::theirs, .code = "Throttled"};
    e.message = fmt::format("provider \"{}\" takes no requests for another {}, by what it said or is declared to take", provider_,
                            seconds_text(earliest - now));
    e.retry_after = millis(earliest - now);
    return e;
}

Lane::Verdict Lane::judge(std::size_t texts, std::uint64_t tokens, bool urgent, SteadyTime now) {
    if (auto e = refusal(now)) return {.go = false, .until = {}, .refusal = std::move(e)};
    const SteadyTime earliest = this->earliest(now);
    if (earliest > now) return {.go = false, .until = earliest, .refusal = {}};
    if (limits_.over(texts, tokens)) {
        // Cut before the limit was learnt, while it waited here.
        Error e{.cls = ErrorClass::too_large, .message = {}, .origin = Origin::ours, .code = "KnownLimit"};
        e.message = fmt::format("provider \"{}\" takes smaller requests than {} texts of {} tokens", provider_, texts, tokens);
        return {.go = false, .until = {}, .refusal = std::move(e)};
    }
    if (in_flight_ >= allowed(urgent, now)) return {};
    if (!in_process_ && ventures_ > 0 && !limits_.proven(texts, tokens)) return {};
    return {.go = true, .until = {}, .refusal = {}};
}

Lane::Permit Lane::admit(std::size_t texts, std::uint64_t tokens, SteadyTime now) {
    Permit p;
    p.ticket = remote_.ticket(now);
    p.local_ticket = local_.ticket(now);
    p.started = now;
    p.texts = texts;
    p.tokens = tokens;
    p.venture = !in_process_ && !limits_.proven(texts, tokens);
    ++in_flight_;
    if (p.venture) ++ventures_;
    ++counts_.requests;
    requests_total_.add();
    retries_.requested(now);
    learnt_.take(now);
    if (requests_rate_) requests_rate_->take(1, now);
    if (tokens_rate_) tokens_rate_->take(static_cast<double>(tokens), now);
    return p;
}

asio::awaitable<Result<Lane::Permit>> Lane::enter(std::size_t texts, std::uint64_t tokens, bool urgent, Context context) {
    const auto self = shared_from_this();
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    std::shared_ptr<Wake> waiter;
    {
        const Lock lock(mutex_);
        const SteadyTime now = clock_.steady_now();
        if (urgent) urgent_.asked(now);
        if (is_next(urgent)) {
            Verdict v = judge(texts, tokens, urgent, now);
            if (v.refusal && v.refusal->cls == ErrorClass::unavailable) rejected_total_.add();
            if (v.refusal) co_return *std::move(v.refusal);
            if (v.go) co_return admit(texts, tokens, now);
        }
        waiter = std::make_shared<Wake>(executor);
        queue({waiter, urgent});
    }
    const std::stop_callback on_stop(context.stop, [waiter] { waiter->wake(); });
    for (;;) {
        Duration at_most = kLongWait;
        {
            const Lock lock(mutex_);
            const SteadyTime now = clock_.steady_now();
            Verdict v;
            // Only the first may go; that it went lets the next one look.
            if (context.stop.stop_requested()) {
                v.refusal = cancelled("stopped before the provider was asked");
            } else if (waiting_.front().wake == waiter) {
                v = judge(texts, tokens, urgent, now);
            } else {
                v.refusal = refusal(now);
            }
            if (v.go || v.refusal) {
                std::erase_if(waiting_, [&](const Waiter& w) { return w.wake == waiter; });
                std::optional<Permit> permit;
                if (v.go) permit = admit(texts, tokens, now);
                wake();
                if (permit) co_return *permit;
                if (v.refusal->cls == ErrorClass::unavailable) rejected_total_.add();
                co_return *std::move(v.refusal);
            }
            if (v.until) at_most = std::max<Duration>(*v.until - now, std::chrono::milliseconds(1));
        }
        co_await waiter->wait(at_most);
    }
}

void Lane::wake() {
    if (!waiting_.empty()) waiting_.front().wake->wake();
}

void Lane::note_breaker(const Permit& permit, CallResult result, const Error* error, SteadyTime now) {
    const bool local = error != nullptr && error->cls == ErrorClass::local;
    const BreakerState before = remote_.state(now);
    const BreakerState local_before = local_.state(now);
    if (error != nullptr) last_error_ = error->message;
    (result == CallResult::success || result == CallResult::slow ? succeeded_total_ : failed_total_).add();
    if (local) {
        local_.record(CallResult::failure, permit.local_ticket, now, random());
        if (permit.proof) remote_.undecided();
    } else {
        permit.proof ? remote_.prove(result, now, random()) : remote_.record(result, permit.ticket, now, random());
        if (result == CallResult::success || result == CallResult::slow)
            local_.record(CallResult::success, permit.local_ticket, now, random());
    }
    if (remote_.state(now) == before && local_.state(now) == local_before) return;
    dirty_ = true;
    const auto opened = [now](const Breaker& b, BreakerState was) {
        return b.state(now) == BreakerState::open && was != b.state(now);
    };
    if (opened(remote_, before) || opened(local_, local_before)) opened_total_.add();
    if (remote_.state(now) == BreakerState::closed && local_.state(now) == BreakerState::closed) {
        reason_.clear();
    } else if (error != nullptr) {
        reason_ = error->cls == ErrorClass::auth ? "ProviderRefused" : local ? "LocalFailure" : "ProviderFailing";
    }
}

bool Lane::leave(const Permit& permit, const Error* error, std::uint64_t billed) {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    --in_flight_;
    if (permit.venture) --ventures_;
    note(permit, error, billed, now);
    publish(now);
    wake();
    if (permit.proof) proving_ = false;
    if (!remote_.doubted() || proving_) return false;
    return proving_ = true;
}

std::optional<Duration> Lane::try_retry(int attempts, std::chrono::milliseconds base) {
    const Lock lock(mutex_);
    if (!retries_.try_retry(clock_.steady_now())) return std::nullopt;
    ++counts_.retries;
    retries_total_.add();
    return std::chrono::duration_cast<Duration>(Duration(base) * static_cast<double>(1 << std::min(attempts, 10)) * random());
}

void Lane::retry_ended() {
    const Lock lock(mutex_);
    retries_.ended();
}

ProviderHealthState Lane::health() const {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    const int slots = std::min(remote_.allowed(now), local_.allowed(now));
    if (slots == 0) return ProviderHealthState::ejected;
    // Half open with a probe to spare: it is offered its turn, or it would never come back while others are well.
    if (in_flight_ >= slots) return ProviderHealthState::probing;
    return refusal(now) ? ProviderHealthState::waiting : ProviderHealthState::usable;
}

std::optional<Error> Lane::blocked() const {
    const Lock lock(mutex_);
    return refusal(clock_.steady_now());
}

std::uint32_t Lane::max_texts() const {
    const Lock lock(mutex_);
    return limits_.max_texts();
}

std::uint64_t Lane::max_tokens() const {
    const Lock lock(mutex_);
    return limits_.max_tokens();
}

int Lane::room() const {
    const Lock lock(mutex_);
    return std::max(0, allowed(false, clock_.steady_now()) - in_flight_ - static_cast<int>(waiting_.size()));
}

void Lane::eject(const Error& why, Duration length) {
    const Lock lock(mutex_);
    last_error_ = why.message;
    reason_ = "CanaryDisagrees";
    const SteadyTime now = clock_.steady_now();
    remote_.restore(1, now + length);
    heard_at_ = now;
    dirty_ = true;
    publish(now);
    wake();
}

void Lane::allow_probe() {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    remote_.allow_probe(now);
    local_.allow_probe(now);
    gate_.allow_probe(now);
    wake();
}

void Lane::retire() {
    const Lock lock(mutex_);
    retired_ = true;
    for (const Waiter& w : waiting_) w.wake->wake();
}

void Lane::set_members(int members) {
    const Lock lock(mutex_);
    if (requests_rate_) requests_rate_->divide(members);
    if (tokens_rate_) tokens_rate_->divide(members);
}

LaneSnapshot Lane::snapshot() const {
    const Lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    LaneSnapshot s = counts_;
    s.provider = provider_;
    s.model = model_;
    const Breaker& worse = local_.state(now) != BreakerState::closed ? local_ : remote_;
    s.breaker = worse.state(now);
    if (s.breaker != BreakerState::closed) s.reason = reason_;
    s.message = last_error_;
    const SteadyTime free = s.breaker == BreakerState::open ? worse.retry_at() : gate_.opens_at();
    s.retry_in = free > now ? free - now : Duration{};
    s.limit = concurrency_.limit();
    s.ceiling = concurrency_.ceiling();
    s.in_flight = in_flight_;
    s.waiting = static_cast<int>(waiting_.size());
    s.max_texts = limits_.max_texts();
    s.max_tokens = limits_.max_tokens();
    const auto whole = [](const Counter& c) { return static_cast<std::uint64_t>(c.value()); };
    s.succeeded = whole(succeeded_total_);
    s.failed = whole(failed_total_);
    s.rejected = whole(rejected_total_);
    s.opened = whole(opened_total_);
    return s;
}

void Lane::publish(SteadyTime now) {
    const BreakerState state = std::max(remote_.state(now), local_.state(now), [](BreakerState a, BreakerState b) {
        const auto badness = [](BreakerState s) { return s == BreakerState::open ? 2 : s == BreakerState::half_open ? 1 : 0; };
        return badness(a) < badness(b);
    });
    breaker_gauge_.set(state == BreakerState::open ? 2 : state == BreakerState::half_open ? 1 : 0);
    limit_gauge_.set(concurrency_.limit());
    rate_gauge_.set(learnt_.rate().value_or(0));
    const SteadyTime opens = gate_.opens_at();
    gate_gauge_.set(opens > now ? std::chrono::duration<double>(opens - now).count() : 0);
}

}  // namespace homeostat
