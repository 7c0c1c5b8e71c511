#include "reconcilers/feed.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <utility>

#include "core/fault_point.hpp"
#include "reconcilers/factory/plan.hpp"
#include "reconcilers/factory/prune.hpp"
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

Result<FeedOutcome> Feed::look_once(std::int64_t uid, const Context& context) {
    Known known = this->known(uid);
    Result<Pool::Lease> session = writes_.acquire(context);
    if (!session) return session.error();
    Drained drained;
    bool full = false;
    if (known.epoch == context.epoch) {
        const SteadyTime asked = clock_.steady_now();
        Result<ChangesSeen> seen = look_at_changes(**session, uid);
        if (seen) pressure_.answered(clock_.steady_now() - asked);
        if (!seen && seen.error().cls == ErrorClass::db_permanent) {
            // The feed is gone, or its table: the reconciler knows which.
            leave(uid);
            return FeedOutcome{.sweep = true};
        }
        if (!seen) return seen.error();
        Result<bool> news = tend_room(**session, uid, *seen, known, context);
        if (!news) return news.error();
        Result<bool> relieved = feel_pressure(**session, uid, *seen, *news || known.burst >= kBurst);
        if (!relieved) return relieved.error();
        full = *news || *relieved;
        if (!seen->any) {
            known.burst = 0;
            widen(**session, uid, known);
            Result<FeedOutcome> rested = rest(**session, uid, known);
            if (!rested) return rested;
            remember(uid, known);
            rested->sweep = full;
            return rested;
        }
    }
    for (int tries = 0;; ++tries) {
        std::shared_ptr<const TargetInfo> target;
        if (known.revision > 0) {
            Result<std::shared_ptr<const TargetInfo>> found = target_of(uid, known, context);
            if (!found) {
                begin_anew(uid);
                return found.error();
            }
            target = *std::move(found);
        }
        const TargetInfo none;
        Result<Drained> done = drain(**session, uid, target ? *target : none, known, context);
        if (!done) {
            begin_anew(uid);
            return done.error();
        }
        drained = *std::move(done);
        if (!drained.claimed.empty())
            factory_.start(std::move(drained.places), std::move(drained.claimed), **session, target, context);
        if (!drained.other) break;
        // The pipeline is another than it was at the last look. Once more with what it is now; edits faster than that can wait.
        if (tries == 2) return FeedOutcome{.again_in = milliseconds(20)};
        std::tie(known.generation, known.revision) = *drained.other;
    }
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
Result<std::shared_ptr<const TargetInfo>> Feed::target_of(std::int64_t uid, const Known& known, const Context& context) {
    std::future<std::optional<Result<Targets::Info>>> found =
        boost::asio::co_spawn(io_, ask(targets_, uid, known.generation, known.revision, context), boost::asio::use_future);
    return *found.get();
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

Result<Feed::Drained> Feed::drain(Session& session, std::int64_t uid, const TargetInfo& target, const Known& known,
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
            feed_gate(tx, uid, context.epoch, gate);
            use_operators(tx, target.source);
            changes = take_changes(tx, uid, target.source, target.revision, settings_.take);
        } else {
            gate = feed_gate(tx, uid, context.epoch);
        }
        if (!changes && !gate.kept) return changes.error();  // or the gate was not answered
        drained.gone = !gate.kept;
        drained.closed = gate.kept && gate.closed;
        if (drained.gone || drained.closed) return drained;
        const DeclaredProvider provider{gate.provider, gate.provider_uid, gate.provider_generation};
        const bool anew = known.revision > 0 && other_provider(target.provider, provider);
        if (anew) targets_.forget(uid);
        if (anew || gate.generation != known.generation || gate.revision != known.revision) {
            drained.other = std::make_pair(gate.generation, gate.revision);
            return drained;
        }
        if (!changes) return changes.error();
        drained.rows = changes->rows;
        // What was planned under an earlier lease, ours or another's, could not be written under this one.
        const bool adopt = known.epoch != context.epoch;
        if (adopt) adopt_batches(tx, uid, context.epoch);
        if (changes->rows == 0 && !adopt) return drained;  // nothing was changed: there is nothing to commit
        drained.planned = adopt;
        Span span = telemetry_.tracer.start("drain", SpanKind::internal, context.span);
        span.set("homeostat.changes", changes->rows);
        plan(tx, uid, target, gate, *changes, context.under(span), drained);
        if (known.asleep && changes->rows > 0) wake_feed(tx, uid);
        HOMEOSTAT_REACH("feed.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("feed.after_commit");
        changes_total_.add(static_cast<double>(changes->rows));
        lag_.observe(std::chrono::duration<double>(changes->oldest).count());
        return drained;
    });
}

void Feed::plan(Transaction& tx, std::int64_t uid, const TargetInfo& target, const FeedGate& gate, const Changes& changes,
                const Context& context, Drained& drained) {
    std::vector<DriftItem> heal;
    std::vector<Key> gone;  // id and key
    std::int64_t fresh = 0;
    for (const DriftItem& item : changes.items) {
        if (item.cls == DriftClass::orphaned) {
            gone.push_back({std::to_string(item.document_id)});
            gone.back().insert(gone.back().end(), item.key.begin(), item.key.end());
        } else {
            heal.push_back(item);
            fresh += item.cls == DriftClass::missing ? 1 : 0;
        }
    }
    // A row that went while its first heal is under way: its document comes to be, and has to go again. (Its id is not known.)
    if (!changes.unborn.empty()) {
        Result<std::vector<Key>> coming = coming_to_be(tx, target.source, target.revision, changes.unborn);
        if (!coming) throw StoreFailure(coming.error());
        for (const Key& key : *coming) {
            gone.push_back({"0"});
            gone.back().insert(gone.back().end(), key.begin(), key.end());
        }
    }
    // The first N of a source in key order: what comes or goes may move the border, and only a sweep sees the border.
    bool sweep = changes.sweep || (target.spec.documents && (fresh > 0 || !gone.empty()));
    if (sweep && target.spec.documents) {
        std::erase_if(heal, [](const DriftItem& item) { return item.cls == DriftClass::missing; });
        gone.clear();
        fresh = 0;
    }
    EmbedderLimits limits;
    limits.max_batch = target.provider.max_batch;
    std::vector<PlannedBatch> batches =
        plan_batches(heal, {batch_documents(limits, settings_.batch_documents), target.spec.priority, false, true});
    if (!gone.empty() && target.spec.prune != "Never") {
        const auto n = static_cast<std::int64_t>(gone.size());
        if (prunes_allowed(target, gate, changes, n)) {
            note_feed_prunes(tx, uid, n);
        } else {
            // What is held back is the sweep's to hold, with its reason.
            sweep = true;
            gone.clear();
        }
        for (std::size_t at = 0; at < gone.size(); at += 1'000) {
            PlannedBatch b{BatchKind::prune, DriftClass::orphaned, target.spec.priority * 100, {}};
            for (std::size_t i = at; i < std::min(gone.size(), at + 1'000); ++i) b.keys.push_back(std::move(gone[i]));
            batches.push_back(std::move(b));
        }
    }
    Batch like;
    like.uid = uid;
    like.revision = gate.revision;
    like.generation = gate.generation;
    like.epoch = context.epoch;
    like.run_id = gate.run_id;
    like.traceparent = context.span.traceparent();
    like.provider = target.provider.name;
    like.provider_uid = target.provider.uid;
    like.provider_generation = target.provider.generation;
    like.fed = true;
    like.waited = changes.oldest;
    if (!batches.empty())
        drained.places =
            factory_.reserve({like.provider, like.provider_uid, like.provider_generation}, static_cast<int>(batches.size()));
    insert_claimed(tx, like, batches, factory_.claimant(), drained.places.count(),
                   [&drained](std::vector<Batch> claimed) { drained.claimed = std::move(claimed); });
    if (sweep) distrust_feed(tx, uid, changes.oldest);
    drained.planned = drained.planned || static_cast<int>(batches.size()) > drained.places.count();
    drained.sweep = sweep;
}

// Named by the feed and seen to be gone: at once, within the same brakes as any deletion.
bool Feed::prunes_allowed(const TargetInfo& target, const FeedGate& gate, const Changes& changes, std::int64_t gone) const {
    PruneInput input;
    input.policy = target.spec.prune;
    input.confirmed = gone;
    input.documents = gate.documents;
    input.source_rows = std::max<std::int64_t>(gate.source_documents + changes.inserted - changes.deleted, 0);
    input.previous_source_rows = gate.source_documents;
    input.pruned_in_window = gate.pruned_in_window;
    input.max_ratio = target.spec.max_prune_ratio;
    input.max_rows = target.spec.max_prune_rows;
    input.floor = settings_.prune_floor;
    const PruneDecision decision = decide_prune(input);
    return !decision.blocked && decision.allowed >= gone;
}

}  // namespace homeostat
