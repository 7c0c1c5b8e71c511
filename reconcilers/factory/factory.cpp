#include "reconcilers/factory/factory.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <set>

#include "core/fault_point.hpp"
#include "reconcilers/factory/freshness_metric.hpp"
#include "reconcilers/gateway/on.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/erasures.hpp"
#include "store/control/freshness.hpp"
#include "store/control/replicas.hpp"
#include "store/control/runs.hpp"
#include "store/data/metadata_slots.hpp"
#include "store/feed/feed.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

std::vector<std::int64_t> ids_of(const std::vector<Key>& keys) {
    std::vector<std::int64_t> ids;
    ids.reserve(keys.size());
    for (const Key& k : keys) ids.push_back(std::stoll(k.front()));
    return ids;
}

// Deletions that the feed planned carry both.
std::vector<Key> keys_behind_ids(const std::vector<Key>& keys) {
    std::vector<Key> out;
    for (const Key& k : keys) {
        if (k.size() > 1) out.emplace_back(k.begin() + 1, k.end());
    }
    return out;
}

std::vector<Key> keys_of(const WriteRequest& request, const std::vector<std::size_t>& documents) {
    std::vector<Key> keys;
    for (const std::size_t i : documents) keys.push_back(request.documents[i].read->key);
    return keys;
}

// What the gateway does not know of a dead letter.
std::vector<DeadLetter> letters_of(const Batch& batch, std::vector<DeadLetter> letters) {
    for (DeadLetter& l : letters) {
        l.attempts = batch.attempts + 1;
        if (!batch.traceparent.empty()) l.trace_id = SpanContext::from_traceparent(batch.traceparent).trace.hex();
    }
    return letters;
}

void describe(Span& span, const Batch& batch) {
    if (!span.context().valid()) return;
    span.set("messaging.system", std::string("homeostat"));
    span.set("messaging.destination.name", std::string("homeostat.batch"));
    span.set("messaging.operation.name", std::string("process"));
    span.set("messaging.operation.type", std::string("process"));
    span.set("messaging.batch.message_count", static_cast<std::int64_t>(batch.keys.size()));
    span.set("homeostat.pipeline.uid", batch.uid);
    span.set("homeostat.batch.id", batch.id);
    span.set("homeostat.batch.kind", std::string(to_string(batch.kind)));
    span.set("homeostat.batch.attempt", static_cast<std::int64_t>(batch.attempts + 1));
    if (batch.fed) {
        span.set("homeostat.fed", true);
    } else {
        span.set("homeostat.run.id", batch.run_id);
    }
}

const std::vector<double> kSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};

constexpr std::size_t kRing = 1'000;  // batches remembered
constexpr std::uint64_t kHeldPerBatch = 256 << 10;
// When a key that another batch is busy with is looked at again.
constexpr std::chrono::milliseconds kContestedAfter{100};
// For so long those who wait for vectors come before what was superseded.
constexpr std::chrono::milliseconds kPutAwayAfter{2'000};

// The batch is given back, and tried again with what is there now.
template <class T>
void forget_outdated(Targets& targets, const Batch& batch, const Result<T>& outcome) {
    if (!outcome && outcome.error().code == kOtherSlots) targets.forget(batch.uid);
}

}  // namespace

Factory::Factory(FactoryParts parts, FactorySettings settings)
    : parts_(std::move(parts)),
      settings_(std::move(settings)),
      paused_(parts_.telemetry.metrics.gauge("homeostat_writes_paused",
                                             "1 while nothing is embedded because the database is full or read-only.")),
      random_(settings_.seed) {
    for (const std::string_view outcome : {"done", "retried", "split", "failed", "fenced", "interrupted", "dead_letter"}) {
        parts_.telemetry.metrics.counter("homeostat_batches_total", "Batches that ended, by outcome.",
                                         {{"outcome", std::string(outcome)}});
    }
    parts_.telemetry.metrics.counter("homeostat_fenced_writes_total",
                                     "Writes refused because claim, epoch or generation had moved on.");
}

void Factory::start(std::shared_ptr<Running> running) { asio::co_spawn(parts_.io, run(std::move(running)), asio::detached); }

Status Factory::heartbeat(Session& session) {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> tokens;
    {
        const Lock lock(mutex_);
        for (const auto& [id, running] : running_) {
            ids.push_back(id);
            tokens.push_back(running->batch.token);
        }
    }
    const Result<int> forgotten = return_forgotten(session, settings_.replica, tokens, settings_.claim_ttl);
    if (!forgotten) return forgotten.error();
    if (*forgotten > 0) spdlog::info("{} batches are back in the queue whose end the database has lost", *forgotten);
    if (ids.empty()) return {};
    Result<std::vector<std::int64_t>> alive = heartbeat_batches(session, ids, tokens, settings_.claim_ttl);
    if (!alive) return alive.error();
    const std::set<std::int64_t> still(alive->begin(), alive->end());
    const Lock lock(mutex_);
    for (const std::int64_t id : ids) {
        const auto it = running_.find(id);
        if (it != running_.end() && !still.contains(id)) it->second->stop.request_stop();
    }
    return {};
}

void Factory::drain(std::chrono::steady_clock::time_point deadline) {
    const Lock lock(mutex_);
    draining_ = true;
    const std::stop_token never;
    while (!running_.empty() && std::chrono::steady_clock::now() < deadline) idle_.wait_until(mutex_, never, deadline);
    for (const auto& [id, running] : running_) running->stop.request_stop();
    // What was cancelled returns its claim by itself; a database that does not answer is left to the rescue of others.
    const auto last = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!running_.empty() && std::chrono::steady_clock::now() < last) idle_.wait_until(mutex_, never, last);
}

int Factory::in_flight() const {
    const Lock lock(mutex_);
    return static_cast<int>(running_.size());
}

double Factory::random() {
    const Lock lock(mutex_);
    return std::uniform_real_distribution<double>(0, 1)(random_);
}

void Factory::ended(const Batch& batch, bool healed) {
    bool last = false;
    bool more = false;
    {
        const Lock lock(mutex_);
        more = more_;
        running_.erase(batch.id);
        if (running_.empty()) trials_.idle();
        last = std::none_of(running_.begin(), running_.end(), [&](const auto& r) { return r.second->batch.uid == batch.uid; });
        idle_.notify_all();
    }
    // Nobody waits for what the feed had healed; but where more is planned than had places, this was one.
    if (!(batch.fed && healed)) {
        if (parts_.finished) parts_.finished(batch.uid, last);
    } else if (more && parts_.freed) {
        parts_.freed();
    }
}

void Factory::record(const Batch& batch, std::string_view outcome, SteadyTime started) {
    const double took = std::chrono::duration<double>(parts_.clock.steady_now() - started).count();
    {
        const Lock lock(mutex_);
        ended_.push_back({parts_.clock.now(), batch.id, batch.uid, batch.keys.size(), took, std::string(outcome)});
        while (ended_.size() > kRing) ended_.pop_front();
    }
    Registry& m = parts_.telemetry.metrics;
    m.counter("homeostat_batches_total", "Batches that ended, by outcome.", {{"outcome", std::string(outcome)}}).add();
    m.histogram("homeostat_batch_duration_seconds", "Time from claim to the end of a batch.", kSeconds,
                {{"kind", std::string(to_string(batch.kind))}})
        .observe(took);
}

asio::awaitable<void> Factory::run(std::shared_ptr<Running> running) {
    const Batch& batch = running->batch;
    const SteadyTime started = parts_.clock.steady_now();
    // Part of the trace of whoever planned it, on whichever replica that was.
    Span span = parts_.telemetry.tracer.start("process embedding_batch", SpanKind::consumer,
                                              SpanContext::from_traceparent(batch.traceparent));
    describe(span, batch);
    if (parts_.traced && span.context().valid()) parts_.traced(batch, span.context());
    Context context;
    context.stop = running->stop.get_token();
    context.epoch = batch.epoch;
    context = context.under(span);

    Result<std::shared_ptr<const TargetInfo>> target =
        co_await parts_.targets.get(batch.uid, batch.generation, batch.revision, context);
    if (target && other_provider((*target)->provider, {batch.provider, batch.provider_uid, batch.provider_generation})) {
        parts_.targets.forget(batch.uid);
        target = co_await parts_.targets.get(batch.uid, batch.generation, batch.revision, context);
    }
    std::optional<Error> failure;
    if (!target) {
        failure = target.error();
    } else {
        parts_.faults.know(batch.uid, (*target)->spec.name);
        try {
            Result<Outcome> outcome = co_await execute(*running, *target, context);
            if (!outcome) failure = outcome.error();
        } catch (const std::exception& e) {
            failure = internal_error(e.what());
        }
    }
    if (failure) {
        span.fail(*failure);
        const Status settled =
            co_await on(parts_.db, [&] { return settle_failure(batch, target ? target->get() : nullptr, *failure, Context{}); });
        if (!settled) spdlog::debug("batch {} cannot be given back yet: {}", batch.id, settled.error().message);
    }
    if (!failure) {
        note_stored();
        record(batch, "done", started);
        parts_.faults.over(batches_of(batch.uid), parts_.clock.steady_now());
    }
    span.end();
    ended(batch, !failure);
}

asio::awaitable<Result<Factory::Outcome>> Factory::execute(Running& running, std::shared_ptr<const TargetInfo> target,
                                                           Context context) {
    const Batch& batch = running.batch;
    // A replica died that had nothing else in flight: cut, until it is a single document that was seen to do so again and again.
    if (batch.deaths > 0 && (batch.keys.size() > 1 || batch.deaths >= kCondemned)) {
        co_return Error{.cls = ErrorClass::content,
                        .message = fmt::format("{} replicas died while they worked on nothing else", batch.deaths),
                        .code = std::string(kSuspectCode)};
    }
    if (batch.kind == BatchKind::heal) co_return co_await heal(running, target, context);
    co_return co_await on(db_for(batch),
                          [&] { return as_named(running.batch, nullptr, [&] { return change(batch, *target, context); }); });
}

// Section 2's execute: read, chunk, embed, write. No transaction is open between the steps.
asio::awaitable<Result<Factory::Outcome>> Factory::heal(Running& running, std::shared_ptr<const TargetInfo> target,
                                                        Context context) {
    const Batch& batch = running.batch;
    if (target->unprovided) co_return *target->unprovided;
    if (std::optional<Error> held = budgets_.held(batch)) co_return *std::move(held);
    // What is read is held once; what becomes of it (chunks, requests, answers, rows to write) many times over. Between the two
    // nothing is held, so that batches which wait for room cannot keep it from each other.
    // What was read by other columns than are written is read again: values would land beside theirs.
    std::unique_ptr<HealWork> work = running.ahead.first == target ? std::move(running.ahead.second) : nullptr;
    running.ahead = {};
    std::vector<ReadDocument> documents;
    if (!target->chunker) {
        // Nothing is read in vain.
        const Status able = co_await parts_.chunkers.ready(target->revision.settings.chunker);
        if (!able) co_return able.error();
    }
    SteadyTime began = parts_.clock.steady_now();
    if (!work) {
        const Status done = co_await read_within_budget(batch, *target, context, documents, work);
        if (!done) co_return done.error();
    }
    const Duration reading = parts_.clock.steady_now() - began;
    const std::uint64_t bytes = bytes_of(work ? work->documents() : documents);
    const Result<MemoryBudget::Hold> hold = co_await admit(bytes * kHeldPerByte + kHeldPerBatch, context);
    if (!hold) co_return hold.error();
    if (!work) {
        Result<std::unique_ptr<HealWork>> made = co_await cut(batch, *target, documents, context);
        if (!made) co_return std::move(made).error();
        work = *std::move(made);
    }
    HOMEOSTAT_REACH("embed.before");
    if (!work->texts().empty()) {
        if (parts_.gate.state() == WriteGate::State::closed) {
            co_return Error{.cls = ErrorClass::db_resource,
                            .message = "nothing is embedded while the database does not take writes: " + parts_.gate.reason(),
                            .origin = Origin::theirs};
        }
        const Status embedded = co_await embed(running.batch, *target, *work, context);
        if (!embedded) co_return embedded.error();
    }
    HOMEOSTAT_REACH("embed.after");
    began = parts_.clock.steady_now();
    Result<Outcome> written = co_await on(db_for(batch), [&] {
        return as_named(running.batch, work.get(), [&] { return write(batch, *target, *work, context); });
    });
    if (written) parts_.pressure.worked(batch.keys.size(), reading + (parts_.clock.steady_now() - began));
    co_return written;
}

Result<Factory::Outcome> Factory::write(const Batch& batch, const TargetInfo& target, HealWork& work, const Context& context) {
    if (context.stop.stop_requested()) return cancelled("stopped before writing");
    Result<Pool::Lease> session = pool_for(batch).acquire(Context{});
    if (!session) return session.error();
    const RowTurns::Turn turn = parts_.turns.give_way(**session, batch.uid, context.stop);
    Span span = parts_.telemetry.tracer.start("write vectors", SpanKind::internal, context.span);
    const SpanScope scope(parts_.telemetry.tracer, span);
    WriteRequest& request = work.request();
    std::optional<double> named;
    request.run_id = batch.run_id;
    request.batch_id = batch.id;
    request.token = batch.token;
    request.fed = batch.fed;
    Result<Outcome> outcome = guarded([&]() -> Result<Outcome> {
        (*session)->keep_plans(batch.keys.size() <= kFew);
        Transaction tx = (*session)->begin();
        use_operators(tx, target.source);
        fence_batch(tx, batch);
        Result<WriteOutcome> written = write_documents(tx, target.source, target.revision, target.vectors, request);
        if (!written) return written.error();
        HOMEOSTAT_REACH("write.after_vectors");
        Outcome o;
        if (!written->superseded.empty()) insert_put_away(tx, batch, written->superseded, kPutAwayAfter);
        std::vector<std::vector<Key>> rest = work.deferred(settings_.read_budget);
        if (!written->contested.empty() && !HOMEOSTAT_PLANTED("drop")) rest.push_back(keys_of(request, written->contested));
        insert_rest(tx, batch, rest, batch.attempts, std::chrono::milliseconds(0), "");
        if (batch.fed) remove_dead_letters(tx, batch.uid, batch.revision, batch.keys);
        if (!work.dead().empty()) add_dead_letters(tx, batch.uid, batch.revision, letters_of(batch, work.dead()));
        if (batch.fed || !work.dead().empty()) recount_dead_letters(tx, batch.uid, !work.dead().empty());
        o.result.written = written->written;
        o.result.dropped = written->dropped + work.gone();
        o.result.chunks = written->chunks;
        o.result.embedded = static_cast<std::int32_t>(work.texts().size());
        // A sweep counts at its end; what the feed heals between two is counted as it is written.
        if (batch.fed) move_stored(tx, batch.uid, batch.revision, written->change);
        if (batch.fed) read_age(tx, batch, named);
        check_metadata_slots(tx, target.revision);
        finish_batch(tx, batch, settings_.replica, o.result);
        HOMEOSTAT_REACH("write.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("write.after_commit");
        observe_freshness(parts_.telemetry.metrics, target, named);
        return o;
    });
    if (!outcome) span.fail(outcome.error());
    forget_outdated(parts_.targets, batch, outcome);
    return outcome;
}

// Batches that embed nothing: metadata and versions, deletions, strays. One transaction each.
Result<Factory::Outcome> Factory::change(const Batch& batch, const TargetInfo& target, const Context& context) {
    Result<Pool::Lease> session = pool_for(batch).acquire(context);
    if (!session) return session.error();
    const RowTurns::Turn turn = parts_.turns.give_way(**session, batch.uid, context.stop);
    Span span = parts_.telemetry.tracer.start(to_string(batch.kind), SpanKind::internal, context.span);
    const SpanScope scope(parts_.telemetry.tracer, span);
    std::optional<double> named;
    Result<Outcome> outcome = guarded([&]() -> Result<Outcome> {
        Transaction tx = (*session)->begin();
        use_operators(tx, target.source);
        fence_batch(tx, batch);
        Outcome o;
        std::vector<Key> contested;
        if (batch.kind == BatchKind::prune) {
            Result<PruneOutcome> gone = prune_documents(tx, target.source, target.revision,
                                                        {batch.run_id, batch.token, target.spec.documents, batch.keys});
            if (!gone) return gone.error();
            o.result.removed = static_cast<std::int32_t>(-gone->change.documents);
            if (batch.fed) move_stored(tx, batch.uid, batch.revision, gone->change);
            if (batch.fed) read_age(tx, batch, named);
            if (batch.fed) remove_dead_letters(tx, batch.uid, batch.revision, keys_behind_ids(batch.keys));
            if (batch.fed) recount_dead_letters(tx, batch.uid, false);
            contested = std::move(gone->contested);
            // In the transaction that puts them into the journal.
            if (target.spec.erase_on_delete) request_erasures(tx, target.spec.name, gone->removed);
        } else if (batch.kind == BatchKind::move) {
            Result<ChangeOutcome> moved =
                move_documents(tx, target.source, target.revision, batch.run_id, batch.id, batch.token, batch.keys);
            if (!moved) return moved.error();
            o.result.written = moved->changed;
            check_metadata_slots(tx, target.revision);
            contested = std::move(moved->contested);
        } else {
            Result<std::int32_t> n = remove_strays(tx, target.revision, batch.run_id, batch.token, ids_of(batch.keys));
            if (!n) return n.error();
        }
        o.result.dropped = static_cast<std::int32_t>(contested.size());
        // Named again in the transaction that leaves it out.
        if (!contested.empty() && !HOMEOSTAT_PLANTED("drop"))
            insert_rest(tx, batch, {std::move(contested)}, batch.attempts, kContestedAfter, "");
        finish_batch(tx, batch, settings_.replica, o.result);
        HOMEOSTAT_REACH("prune.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("prune.after_commit");
        observe_freshness(parts_.telemetry.metrics, target, named);
        return o;
    });
    if (!outcome) span.fail(outcome.error());
    forget_outdated(parts_.targets, batch, outcome);
    return outcome;
}

}  // namespace homeostat
