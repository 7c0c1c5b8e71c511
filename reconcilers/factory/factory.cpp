#include "reconcilers/factory/factory.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/detached.hpp>
#include <set>

#include "core/fault_point.hpp"
#include "reconcilers/factory/on.hpp"
#include "store/runs.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

std::vector<std::int64_t> ids_of(const std::vector<Key>& keys) {
    std::vector<std::int64_t> ids;
    ids.reserve(keys.size());
    for (const Key& k : keys) ids.push_back(std::stoll(k.front()));
    return ids;
}

std::string_view outcome_name(BatchFate fate) {
    switch (fate) {
        case BatchFate::give_back: return "interrupted";
        case BatchFate::retry: return "retried";
        case BatchFate::split: return "split";
        case BatchFate::dead_letter: return "dead_letter";
        case BatchFate::fail_run: return "failed";
        case BatchFate::drop: return "fenced";
    }
    return "failed";
}

// Halves, to find the culprit in few requests; a suspect goes straight to single documents.
std::vector<std::vector<Key>> split_keys(const Batch& batch, const Error& error) {
    const std::size_t size = error.code == "Suspect" ? 1 : (batch.keys.size() + 1) / 2;
    std::vector<std::vector<Key>> parts;
    for (std::size_t at = 0; at < batch.keys.size(); at += size) {
        const std::size_t end = std::min(batch.keys.size(), at + size);
        parts.emplace_back(batch.keys.begin() + static_cast<std::ptrdiff_t>(at),
                           batch.keys.begin() + static_cast<std::ptrdiff_t>(end));
    }
    return parts;
}

const std::vector<double> kSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};

}  // namespace

Factory::Factory(FactoryParts parts, FactorySettings settings)
    : parts_(std::move(parts)), settings_(std::move(settings)), random_(settings_.seed) {
    for (const std::string_view outcome : {"done", "retried", "split", "failed", "fenced", "interrupted", "dead_letter"}) {
        parts_.telemetry.metrics.counter("homeostat_batches_total", "Batches that ended, by outcome.",
                                         {{"outcome", std::string(outcome)}});
    }
    parts_.telemetry.metrics.counter("homeostat_fenced_writes_total",
                                     "Writes refused because claim, epoch or generation had moved on.");
}

Result<int> Factory::claim(const Context& context) {
    int free = 0;
    {
        const Lock lock(mutex_);
        if (draining_ || alone_) return 0;
        free = settings_.slots - static_cast<int>(running_.size());
    }
    // A quarter of the slots is claimed at a time, so that claiming does not cost a transaction a batch.
    if (free < std::max(1, settings_.slots / 4)) return 0;
    const SteadyTime started = parts_.clock.steady_now();
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    Result<std::vector<Batch>> batches = claim_batches(**session, settings_.replica, free, settings_.claim_ttl);
    if (batches && batches->empty() && free == settings_.slots) {
        batches = claim_batches(**session, settings_.replica, 1, settings_.claim_ttl, true);
    }
    if (!batches) return batches.error();
    parts_.telemetry.metrics.histogram("homeostat_claim_duration_seconds", "Time to claim batches.", kSeconds)
        .observe(std::chrono::duration<double>(parts_.clock.steady_now() - started).count());
    if (!batches->empty()) HOMEOSTAT_REACH("claim.after_commit");
    for (Batch& b : *batches) start(std::move(b));
    return static_cast<int>(batches->size());
}

void Factory::start(Batch batch) {
    auto running = std::make_shared<Running>();
    running->batch = std::move(batch);
    {
        const Lock lock(mutex_);
        running_[running->batch.id] = running;
        alone_ = running->batch.deaths >= kSuspectDeaths;
    }
    asio::co_spawn(parts_.io, run(running), asio::detached);
}

Status Factory::heartbeat(const Context& context) {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> tokens;
    {
        const Lock lock(mutex_);
        for (const auto& [id, running] : running_) {
            ids.push_back(id);
            tokens.push_back(running->batch.token);
        }
    }
    if (ids.empty()) return {};
    Result<Pool::Lease> session = parts_.reads.acquire(context);
    if (!session) return session.error();
    Result<std::vector<std::int64_t>> alive = heartbeat_batches(**session, ids, tokens, settings_.claim_ttl);
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

void Factory::ended(const Batch& batch) {
    {
        const Lock lock(mutex_);
        running_.erase(batch.id);
        alone_ = false;
        idle_.notify_all();
    }
    if (parts_.finished) parts_.finished(batch.uid);
}

void Factory::record(const Batch& batch, std::string_view outcome, SteadyTime started) {
    Registry& m = parts_.telemetry.metrics;
    m.counter("homeostat_batches_total", "Batches that ended, by outcome.", {{"outcome", std::string(outcome)}}).add();
    m.histogram("homeostat_batch_duration_seconds", "Time from claim to the end of a batch.", kSeconds,
                {{"kind", std::string(to_string(batch.kind))}})
        .observe(std::chrono::duration<double>(parts_.clock.steady_now() - started).count());
}

asio::awaitable<void> Factory::run(std::shared_ptr<Running> running) {
    const Batch& batch = running->batch;
    const SteadyTime started = parts_.clock.steady_now();
    Span span = parts_.telemetry.tracer.start("process embedding_batch", SpanKind::consumer);
    span.set("messaging.system", std::string("homeostat"));
    span.set("messaging.operation.name", std::string("process"));
    span.set("messaging.batch.message_count", static_cast<std::int64_t>(batch.keys.size()));
    span.link(SpanContext::from_traceparent(batch.traceparent));
    Context context;
    context.stop = running->stop.get_token();
    context.epoch = batch.epoch;
    context = context.under(span);

    Result<std::shared_ptr<const TargetInfo>> target =
        co_await on(parts_.db, [&] { return parts_.targets.get(batch.uid, batch.generation, batch.revision, context); });
    std::optional<Error> failure;
    if (!target) {
        failure = target.error();
    } else {
        try {
            Result<Outcome> outcome = co_await execute(batch, *target, context);
            if (!outcome) failure = outcome.error();
        } catch (const std::exception& e) {
            failure = internal_error(e.what());
        }
    }
    if (failure) {
        span.fail(failure->message);
        const Status settled =
            co_await on(parts_.db, [&] { return settle_failure(batch, target ? target->get() : nullptr, *failure, Context{}); });
        if (!settled)
            spdlog::warn("batch {} could not be given back and waits for its claim to expire: {}", batch.id,
                         settled.error().message);
    }
    if (!failure) record(batch, "done", started);
    span.end();
    ended(batch);
}

asio::awaitable<Result<Factory::Outcome>> Factory::execute(const Batch& batch, std::shared_ptr<const TargetInfo> target,
                                                           Context context) {
    if (batch.deaths >= kSuspectDeaths && (batch.keys.size() > 1 || batch.deaths > kSuspectDeaths)) {
        co_return Error{.cls = ErrorClass::content,
                        .message = fmt::format("{} replicas stopped answering while they worked on it", batch.deaths),
                        .code = "Suspect"};
    }
    if (batch.kind == BatchKind::heal) co_return co_await heal(batch, target, context);
    co_return co_await on(parts_.db, [&] { return change(batch, *target, context); });
}

// Section 2's execute: read, chunk, embed, write. No transaction is open between the steps.
asio::awaitable<Result<Factory::Outcome>> Factory::heal(const Batch& batch, std::shared_ptr<const TargetInfo> target,
                                                        Context context) {
    Result<std::unique_ptr<HealWork>> work = co_await on(parts_.db, [&] { return read_and_chunk(batch, *target, context); });
    if (!work) co_return std::move(work).error();
    std::int64_t tokens = 0;
    HOMEOSTAT_REACH("embed.before");
    if (!(*work)->texts().empty()) {
        const RevisionSettings& s = target->revision.settings;
        Result<std::shared_ptr<Embedder>> embedder =
            co_await on(parts_.cpu, [&] { return parts_.gateway.embedder(target->provider, s.model, s.dimensions); });
        if (!embedder) co_return std::move(embedder).error();
        Result<Embeddings> vectors =
            co_await parts_.gateway.embed(target->provider, *embedder, (*work)->texts(), TextRole::document, context);
        if (!vectors) co_return std::move(vectors).error();
        tokens = static_cast<std::int64_t>(vectors->tokens);
        (*work)->attach(*std::move(vectors));
    }
    HOMEOSTAT_REACH("embed.after");
    co_return co_await on(parts_.db, [&] { return write(batch, *target, **work, tokens, context); });
}

Result<std::unique_ptr<HealWork>> Factory::read_and_chunk(const Batch& batch, const TargetInfo& target, const Context& context) {
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    Span span = parts_.telemetry.tracer.start("read documents", SpanKind::client, context.span);
    Result<std::vector<ReadDocument>> documents = guarded([&]() -> Result<std::vector<ReadDocument>> {
        Transaction tx = (*session)->begin();
        use_operators(tx, target.source);
        Result<std::vector<ReadDocument>> read =
            read_documents(tx, target.source, target.revision, batch.keys, settings_.read_budget);
        if (read) tx.commit();
        return read;
    });
    span.end();
    if (!documents) return documents.error();
    HOMEOSTAT_REACH("read.after");
    const Span chunking = parts_.telemetry.tracer.start("chunk", SpanKind::internal, context.span);
    const bool rebuild = batch.cls == to_string(DriftClass::partial);
    return std::make_unique<HealWork>(*std::move(documents), *target.chunker, rebuild);
}

Result<Factory::Outcome> Factory::write(const Batch& batch, const TargetInfo& target, HealWork& work, std::int64_t tokens,
                                        const Context& context) {
    if (context.stop.stop_requested()) return cancelled("stopped before writing");
    Result<Pool::Lease> session = parts_.writes.acquire(Context{});
    if (!session) return session.error();
    Span span = parts_.telemetry.tracer.start("write vectors", SpanKind::client, context.span);
    WriteRequest& request = work.request();
    request.run_id = batch.run_id;
    request.batch_id = batch.id;
    request.token = batch.token;
    Result<Outcome> outcome = guarded([&]() -> Result<Outcome> {
        Transaction tx = (*session)->begin();
        use_operators(tx, target.source);
        fence_batch(tx, batch);
        HOMEOSTAT_REACH("write.after_fence");
        Result<WriteOutcome> written = write_documents(tx, target.source, target.revision, target.vectors, request);
        if (!written) return written.error();
        HOMEOSTAT_REACH("write.after_vectors");
        Outcome o;
        o.deferred = work.deferred();
        if (!o.deferred.empty()) insert_rest(tx, batch, {o.deferred}, batch.attempts, std::chrono::milliseconds(0), "");
        o.result.written = written->written;
        o.result.dropped = written->dropped + work.gone();
        o.result.chunks = written->chunks;
        o.result.embedded = static_cast<std::int32_t>(work.texts().size());
        o.result.tokens = tokens;
        finish_batch(tx, batch, settings_.replica, o.result);
        HOMEOSTAT_REACH("write.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("write.after_commit");
        return o;
    });
    if (!outcome) span.fail(outcome.error().message);
    return outcome;
}

// Batches that embed nothing: metadata and versions, deletions, strays. One transaction each.
Result<Factory::Outcome> Factory::change(const Batch& batch, const TargetInfo& target, const Context& context) {
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    Span span = parts_.telemetry.tracer.start(to_string(batch.kind), SpanKind::client, context.span);
    return guarded([&]() -> Result<Outcome> {
        Transaction tx = (*session)->begin();
        use_operators(tx, target.source);
        fence_batch(tx, batch);
        Outcome o;
        Result<std::int32_t> n = 0;
        if (batch.kind == BatchKind::move) {
            n = move_documents(tx, target.source, target.revision, batch.run_id, batch.id, batch.token, batch.keys);
            o.result.written = n ? *n : 0;
        } else if (batch.kind == BatchKind::prune) {
            n = prune_documents(tx, target.source, target.revision, batch.run_id, batch.token, target.spec.documents,
                                ids_of(batch.keys));
            o.result.removed = n ? *n : 0;
        } else {
            n = remove_strays(tx, target.revision, batch.run_id, batch.token, ids_of(batch.keys));
        }
        if (!n) return n.error();
        finish_batch(tx, batch, settings_.replica, o.result);
        HOMEOSTAT_REACH("prune.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("prune.after_commit");
        return o;
    });
}

Status Factory::settle_failure(const Batch& batch, const TargetInfo* target, const Error& error, const Context& context) {
    if (error.cls == ErrorClass::db_permanent) parts_.targets.forget(batch.uid);
    const BatchDecision d = after_failure(error, {batch.keys.size(), batch.attempts}, settings_.retry, random());
    record(batch, outcome_name(d.fate), parts_.clock.steady_now());
    spdlog::log(d.fate == BatchFate::give_back || d.fate == BatchFate::drop ? spdlog::level::info : spdlog::level::warn,
                "batch {} of pipeline {} ({} documents): {}: {}", batch.id, batch.uid, batch.keys.size(), outcome_name(d.fate),
                error.message);
    if (d.fate == BatchFate::drop) {
        parts_.telemetry.metrics
            .counter("homeostat_fenced_writes_total", "Writes refused because claim, epoch or generation had moved on.")
            .add();
        // The claim is normally gone; where only the epoch or the generation moved, the batch is its owner's to judge again.
    }
    Result<Pool::Lease> session = parts_.writes.acquire(context);
    if (!session) return session.error();
    if (error.outcome_unknown) {
        // The link broke while committing: if the batch row is gone, everything was written.
        Result<bool> still = batch_exists(**session, batch);
        if (!still) return still.error();
        if (!*still) return {};
    }
    if (d.fate == BatchFate::drop || d.fate == BatchFate::give_back || d.fate == BatchFate::retry) {
        return release_batch(**session, batch, d.fate == BatchFate::retry, d.delay,
                             d.fate == BatchFate::drop ? "" : error.message);
    }
    return end_failed(**session, batch, target, error, d.fate);
}

Status Factory::end_failed(Session& session, const Batch& batch, const TargetInfo* target, const Error& error, BatchFate fate) {
    return guarded([&]() -> Status {
        Transaction tx = session.begin();
        fence_batch(tx, batch);
        BatchResult result;
        result.outcome = std::string(outcome_name(fate));
        result.error = error;
        if (fate == BatchFate::split) {
            insert_rest(tx, batch, split_keys(batch, error), 0, std::chrono::milliseconds(0), error.message);
        } else if (fate == BatchFate::dead_letter && target != nullptr) {
            use_operators(tx, target->source);
            Result<std::vector<ReadDocument>> read = read_documents(tx, target->source, target->revision, batch.keys, 1);
            if (!read) return read.error();
            std::vector<DeadLetter> letters;
            for (const ReadDocument& r : *read) {
                if (!r.in_source) continue;
                letters.push_back({r.key, r.content_hash, std::string(to_string(error.cls)), std::string(error.strategy()),
                                   error.message, batch.attempts + 1,
                                   SpanContext::from_traceparent(batch.traceparent).trace.hex()});
            }
            add_dead_letters(tx, batch.uid, batch.revision, letters);
        }
        finish_batch(tx, batch, settings_.replica, result);
        tx.commit();
        return {};
    });
}

}  // namespace homeostat
