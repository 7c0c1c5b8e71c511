#include "reconcilers/feed.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <tuple>
#include <utility>

#include "core/fault_point.hpp"
#include "core/log_fields.hpp"
#include "store/control/batches.hpp"
#include "store/control/leases.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

const std::vector<double> kLags{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300};

// Between looks while changes may come, at first and later, and after how many in vain it goes to sleep: some 200 ms. A look that
// finds nothing is one small statement.
constexpr std::chrono::microseconds kPause{500};
constexpr std::chrono::microseconds kLaterPause{3'000};
constexpr int kLooksAtFirst = 100;
constexpr int kLooksBeforeSleep = 150;
constexpr std::chrono::microseconds kWatched{100'000};  // between looks while it is watched how much writers change
constexpr std::int64_t kBurst = 100;  // changes taken at once, from which on it is
constexpr milliseconds kUnsettled{250};  // between looks while writers from before are under way
constexpr std::int64_t kUntidy = 2'000;  // changes taken, after which autovacuum, which comes once a minute, is not waited for

// In an optional because what a future hands over has to be default constructible.
boost::asio::awaitable<std::optional<Result<Targets::Info>>> ask(Targets& targets, std::int64_t uid, std::int64_t generation,
                                                                 std::int32_t revision, Context context) {
    Result<Targets::Info> info = co_await targets.get(uid, generation, revision, std::move(context));
    co_return std::optional<Result<Targets::Info>>(std::move(info));
}

}  // namespace

Feed::Feed(Pool& writes, Targets& targets, Factory& factory, WriterPressure& pressure, RowTurns& turns, const Clock& clock,
           boost::asio::any_io_executor io, Telemetry telemetry, FeedSettings settings)
    : writes_(writes),
      targets_(targets),
      factory_(factory),
      pressure_(pressure),
      turns_(turns),
      clock_(clock),
      io_(std::move(io)),
      telemetry_(telemetry),
      settings_(settings),
      changes_total_(telemetry.metrics.counter("homeostat_feed_changes_total", "Changes that the change feeds named.")),
      lag_(telemetry.metrics.histogram("homeostat_feed_lag_seconds", "Age of the oldest change when it was taken up.", kLags)) {}

Feed::Known Feed::known(std::int64_t uid) {
    const Lock lock(mutex_);
    return known_[uid];
}

// Nothing is to be looked at until somebody calls.
void Feed::leave(std::int64_t uid) {
    pressure_.forget(uid);
    const Lock lock(mutex_);
    known_.erase(uid);
}

// What was known of the pipeline may be what was wrong: the next look begins as the first did.
void Feed::begin_anew(std::int64_t uid) {
    targets_.forget(uid);
    const Lock lock(mutex_);
    known_.erase(uid);
}

void Feed::remember(std::int64_t uid, const Known& known) {
    const Lock lock(mutex_);
    known_[uid] = known;
}

Result<FeedOutcome> Feed::look(std::int64_t uid, const Context& context) {
    const bool remembered = known(uid).revision > 0;
    Result<FeedOutcome> outcome = look_once(uid, context);
    // What was remembered may be what has gone (a revision, a column): that is nobody's trouble until it fails as it is now.
    if (!outcome && remembered && known(uid).revision == 0 && !outcome.error().retryable()) outcome = look_once(uid, context);
    if (!outcome) return outcome;
    // Whoever presses does not call; nor does what waits, when it is healed and takes no more room.
    if (pressure_.watched(uid)) outcome->again_in = std::min(outcome->again_in.value_or(kWatched), kWatched);
    if (!outcome->again_in && known(uid).narrow) outcome->again_in = settings_.poll;
    return outcome;
}

Result<std::optional<FeedOutcome>> Feed::nothing_named(Session& session, std::int64_t uid, Known& known, bool& full,
                                                       const Context& context) {
    const SteadyTime asked = clock_.steady_now();
    Result<ChangesSeen> seen = look_at_changes(session, uid);
    if (seen) pressure_.answered(clock_.steady_now() - asked);
    if (!seen && seen.error().cls == ErrorClass::db_permanent) {
        // The feed is gone, or its table: the reconciler knows which.
        leave(uid);
        return std::optional(FeedOutcome{.sweep = true});
    }
    if (!seen) return seen.error();
    Result<bool> news = tend_room(session, uid, *seen, known, context);
    if (!news) return news.error();
    Result<bool> relieved = feel_pressure(session, uid, *seen, *news || known.burst >= kBurst);
    if (!relieved) return relieved.error();
    full = *news || *relieved;
    if (seen->any) return std::optional<FeedOutcome>();
    known.burst = 0;
    widen(session, uid, known);
    Result<FeedOutcome> rested = rest(session, uid, known);
    if (!rested) return rested.error();
    remember(uid, known);
    rested->sweep = full;
    return std::optional(*rested);
}

Result<std::optional<Feed::Drained>> Feed::drain_all(Session& session, std::int64_t uid, Known& known, const Context& context) {
    for (int tries = 0;; ++tries) {
        Result<Targeted> targets = targets_of(uid, known, context);
        if (!targets) {
            begin_anew(uid);
            return targets.error();
        }
        Result<Drained> done = drain(session, uid, *targets, known, context);
        if (!done) {
            begin_anew(uid);
            return done.error();
        }
        if (!done->claimed.empty())
            factory_.start(std::move(done->places), std::move(done->claimed), session, targets->first(), context);
        if (!done->other) return std::optional(*std::move(done));
        // The pipeline is another than it was at the last look. Once more with what it is now; edits faster than that can wait.
        if (tries == 2) return std::optional<Drained>();
        known.generation = done->other->generation;
        known.revision = done->other->revision;
        known.served = done->other->served;
    }
}

Result<FeedOutcome> Feed::look_once(std::int64_t uid, const Context& context) {
    Known known = this->known(uid);
    Result<Pool::Lease> session = writes_.acquire(context);
    if (!session) return session.error();
    bool full = false;
    if (known.epoch == context.epoch) {
        Result<std::optional<FeedOutcome>> nothing = nothing_named(**session, uid, known, full, context);
        if (!nothing) return nothing.error();
        if (*nothing) return **nothing;
    }
    const Result<std::optional<Drained>> all = drain_all(**session, uid, known, context);
    if (!all) return all.error();
    if (!*all) return FeedOutcome{.again_in = milliseconds(20)};
    const Drained& drained = **all;
    if (drained.gone || drained.closed) {
        leave(uid);
        return FeedOutcome{};
    }
    // What is still to be taken takes room too, and is not counted.
    if (drained.rows < settings_.take) widen(**session, uid, known);
    FeedOutcome outcome{.again_in = std::nullopt, .planned = drained.planned, .sweep = drained.sweep || full};
    if (drained.rows > 0) {
        known.idle = 0;
        known.burst = drained.rows;
        known.taken += drained.rows;
        known.asleep = false;
        known.point.reset();
        outcome.again_in = drained.rows >= settings_.take ? std::chrono::microseconds(0) : kPause;
    } else {
        // At the first look of this replica nobody is known to write: it need not wait for more.
        if (known.epoch != context.epoch) known.idle = kLooksBeforeSleep;
        Result<FeedOutcome> rested = rest(**session, uid, known);
        if (!rested) return rested;
        outcome.again_in = rested->again_in;
    }
    known.epoch = context.epoch;
    remember(uid, known);
    return outcome;
}

// Whether it is news that the feed was full. Else there is always room for half of what is worth naming, so that only who is
// faster than it finds none. That it is shut is asked of its row, and not remembered: a sweep opens it meanwhile, and a writer
// who had found room before may fill it right after.
Result<bool> Feed::tend_room(Session& session, std::int64_t uid, const ChangesSeen& seen, Known& known, const Context& context) {
    // Who called says so in the row, and need not have left anything to take: nobody would call again.
    known.asleep = known.asleep && seen.asleep;
    if (seen.full) {
        Result<bool> shut = guarded([&]() -> Result<bool> {
            if (seen.shut) return false;
            Transaction tx = session.begin();
            if (!feed_gate(tx, uid, context.epoch).kept) return false;
            shut_feed(tx, uid);
            tx.commit();
            return true;
        });
        if (!shut) return shut;
        return !std::exchange(known.full, true) || *shut;
    }
    known.full = false;
    // Who presses is named for as long as there is room, and then swept for.
    const bool enough = known.room > 0 && seen.room > known.room / 2;
    known.widen = (!enough || (known.narrow && known.asleep)) && !pressure_.pressing(uid, clock_.steady_now());
    return false;
}

// Not before what was changed is planned: until then it is not seen to wait. Where it cannot be done, the next look asks for it.
void Feed::widen(Session& session, std::int64_t uid, Known& known) {
    if (!std::exchange(known.widen, false)) return;
    const Result<RoomMade> room = make_room(session, uid);
    known.room = room ? room->worth : 0;
    known.narrow = room && room->less;
}

// Whether writers who pressed have let up: what was healed slowly until then need not be any more.
Result<bool> Feed::feel_pressure(Session& session, std::int64_t uid, const ChangesSeen& seen, bool many) {
    if (!many && !pressure_.watched(uid)) return false;
    if (!pressure_.due(uid, clock_.steady_now())) return false;
    Result<std::int64_t> rows = rows_changed(session, uid);
    if (!rows) return rows.error();
    return pressure_.look(uid, seen.named, *rows, seen.full, clock_.steady_now());
}

// Blocks: this is a thread of the feed's own, and what is looked up is mostly known.
Result<Feed::Target> Feed::target_of(std::int64_t uid, std::int64_t generation, std::int32_t revision, const Context& context) {
    std::future<std::optional<Result<Targets::Info>>> found =
        boost::asio::co_spawn(io_, ask(targets_, uid, generation, revision, context), boost::asio::use_future);
    return *found.get();
}

// A served revision that cannot be followed (its keys are others, a column of its is gone) holds up nothing: its gap is noted.
Result<Feed::Targeted> Feed::targets_of(std::int64_t uid, const Known& known, const Context& context) {
    Targeted targets;
    if (known.revision == 0) return targets;
    Result<Target> worked = target_of(uid, known.generation, known.revision, context);
    if (!worked) return worked.error();
    targets.worked = *std::move(worked);
    if (known.served == 0) return targets;
    Result<Target> served = target_of(uid, known.generation, known.served, context);
    if (served) {
        const auto typed = [](const ColumnShape& c) { return std::tie(c.type, c.collate); };
        const auto& key = (*served)->source.key;
        if (std::ranges::equal(key, targets.worked->source.key, {}, typed, typed) &&
            (*served)->spec.key == targets.worked->spec.key)
            targets.served = *std::move(served);
        return targets;
    }
    switch (served.error().cls) {
        case ErrorClass::db_permanent:
        case ErrorClass::conflict:
        case ErrorClass::invalid:
        case ErrorClass::not_found: return targets;
        default: return served.error();
    }
}

// Nothing was there. The row says `asleep` before the last look, so that whoever commits after that look has read it or began
// before it was written; the latter are waited for.
Result<FeedOutcome> Feed::rest(Session& session, std::int64_t uid, Known& known) {
    if (!known.asleep) {
        if (known.idle == 0 && known.taken >= kUntidy) {
            // Where it cannot be done now, autovacuum will.
            if (const Status tidied = tidy_changes(session, uid); !tidied)
                spdlog::debug("the changes of pipeline {} are not tidied up: {}", uid, tidied.error().message);
            known.taken = 0;
        }
        if (known.idle++ < kLooksBeforeSleep) return FeedOutcome{.again_in = known.idle < kLooksAtFirst ? kPause : kLaterPause};
        Result<std::optional<std::int64_t>> point = let_feed_sleep(session, uid);
        if (!point) return point.error();
        if (!*point) {
            known.idle = kLooksBeforeSleep;
            return FeedOutcome{.again_in = settings_.poll};
        }
        known.asleep = true;
        known.point = *point;
        return FeedOutcome{.again_in = milliseconds(0)};
    }
    if (!known.point) return FeedOutcome{};
    Result<bool> settled = feed_settled(session, *known.point);
    if (!settled) return settled.error();
    // One more look after the last of them has ended.
    if (*settled) known.point.reset();
    return FeedOutcome{.again_in = *settled ? milliseconds(0) : kUnsettled};
}

Result<Feed::Drained> Feed::drain(Session& session, std::int64_t uid, const Targeted& targets, const Known& known,
                                  const Context& context) {
    const RowTurns::Turn turn = turns_.give_way(session, uid, context.stop);
    return guarded([&]() -> Result<Drained> {
        Drained drained;
        FeedGate gate;
        Result<Changes> changes = Changes{};
        session.keep_plans(true);
        Transaction tx = session.begin();
        // The pipeline is mostly what it was at the last look. So what was changed is taken in the same round trip that asks;
        // where it is another, that is not committed.
        if (known.revision > 0) {
            const TargetInfo& first = *targets.first();
            feed_gate(tx, uid, context.epoch, gate);
            use_operators(tx, first.source);
            changes = take_changes(tx, uid, first.source, first.revision, settings_.take);
        } else {
            gate = feed_gate(tx, uid, context.epoch);
        }
        if (!changes && !gate.kept) return changes.error();  // or the gate was not answered
        drained.gone = !gate.kept;
        drained.closed = gate.kept && gate.closed;
        if (drained.gone || drained.closed) return drained;
        const DeclaredProvider provider{gate.provider, gate.provider_uid, gate.provider_generation};
        const auto edited = [&](const Target& target) { return target && other_provider(target->provider, provider); };
        const bool anew = edited(targets.worked) || edited(targets.served);
        if (anew) targets_.forget(uid);
        if (anew || gate.generation != known.generation || gate.revision != known.revision || gate.served != known.served) {
            drained.other = gate;
            return drained;
        }
        if (!changes) return changes.error();
        return drain_into(tx, uid, targets, known, gate, *changes, context);
    });
}

Result<Feed::Drained> Feed::drain_into(Transaction& tx, std::int64_t uid, const Targeted& targets, const Known& known,
                                       const FeedGate& gate, const Changes& changes, const Context& context) {
    Drained drained;
    drained.rows = changes.rows;
    // What was planned under an earlier lease, ours or another's, could not be written under this one.
    const bool adopt = known.epoch != context.epoch;
    if (adopt) adopt_batches(tx, uid, context.epoch);
    if (changes.rows == 0 && !adopt) return drained;  // nothing was changed: there is nothing to commit
    drained.planned = adopt;
    Span span = telemetry_.tracer.start("drain", SpanKind::internal, context.span);
    const SpanScope scope(telemetry_.tracer, span);
    const LogFields about{{"trace", span.context().valid() ? span.context().trace.hex() : ""}};
    span.set("homeostat.pipeline.uid", uid);
    span.set("homeostat.changes", changes.rows);
    // When the oldest of them was made, so that a trace tells how long it waited.
    span.set("homeostat.oldest_change_ms", static_cast<std::int64_t>(changes.oldest.count()));
    plan(tx, uid, targets, gate, changes, context.under(span), drained);
    if (known.asleep && changes.rows > 0) wake_feed(tx, uid);
    HOMEOSTAT_REACH("feed.before_commit");
    tx.commit();
    HOMEOSTAT_REACH("feed.after_commit");
    changes_total_.add(static_cast<double>(changes.rows));
    lag_.observe(std::chrono::duration<double>(changes.oldest).count());
    return drained;
}

}  // namespace homeostat
