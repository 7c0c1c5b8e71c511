// The part of the executor that ends a batch which failed: given back, split, or its documents made dead letters.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "core/log_fields.hpp"
#include "core/outside_text.hpp"
#include "reconcilers/factory/factory.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/named_keys.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

// "" where nothing is traced.
std::string trace_of(const Batch& batch) {
    const SpanContext span = SpanContext::from_traceparent(batch.traceparent);
    return span.valid() ? span.trace.hex() : std::string();
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

// Halves, to find the culprit in few requests; of a suspect more, because each try may cost a process.
std::vector<std::vector<Key>> split_keys(const Batch& batch, const Error& error) {
    const std::size_t parts = error.code == kSuspectCode ? kSuspectParts : 2U;
    const std::size_t size = (batch.keys.size() + parts - 1) / parts;
    std::vector<std::vector<Key>> out;
    for (std::size_t at = 0; at < batch.keys.size(); at += size) {
        const std::size_t end = std::min(batch.keys.size(), at + size);
        out.emplace_back(batch.keys.begin() + static_cast<std::ptrdiff_t>(at),
                         batch.keys.begin() + static_cast<std::ptrdiff_t>(end));
    }
    return out;
}

// Says which document it is. Where that ends the run, it must not go on, as one does after a slow slice: the batch is gone.
void name_slow_document(const Batch& batch, BatchFate fate, Error& error) {
    if (error.code != kTookTooLong) return;
    if (batch.keys.size() == 1 && (batch.kind == BatchKind::heal || batch.kind == BatchKind::move))
        error = error.with_prefix(outside_text(fmt::format("document ({})", fmt::join(batch.keys.front(), ", "))));
    if (fate == BatchFate::fail_run) error.code = kDocumentTooSlow;
}

// Deletions and moves have no text that could be refused, and without its target a batch's texts cannot be read.
bool condemns(const Batch& batch, const TargetInfo* target, BatchFate fate) {
    return fate == BatchFate::dead_letter && target != nullptr && batch.kind == BatchKind::heal;
}

// Who held the lock that a batch waited for in vain: of the source, or of a table of ours.
std::string lock_in_the_way(Session& session, const TargetInfo& target) {
    const RevisionTables& tables = target.revision.tables;
    const Result<std::optional<std::string>> holder =
        lock_holder(session, {target.source.relation, tables.document, tables.chunk, tables.journal}, InTheWay::owners);
    if (holder && *holder) return fmt::format("; it waited for {}", **holder);
    return "; who held it has let go";
}

}  // namespace

// Of one fault there may be hundreds of batches. What is stopped with the process suffers from none, and of a database that takes
// no writes the gate tells.
void Factory::tell_failure(const Batch& batch, BatchFate fate, const Error& error) {
    const LogFields about{{"batch", std::to_string(batch.id)}, {"provider", batch.provider}, {"trace", trace_of(batch)}};
    const bool stopping = [&] {
        const Lock lock(mutex_);
        return draining_;
    }();
    const std::string whose = batches_of(batch.uid);
    const std::string line = fmt::format("batch {} of {} ({} documents): {}: {}", batch.id, parts_.faults.called(batch.uid),
                                         batch.keys.size(), outcome_name(fate), error.message);
    if ((stopping && error.cls == ErrorClass::cancelled) || is_write_trouble(error)) {
        spdlog::debug("{}", line);
    } else {
        parts_.faults.met(whose, error, line, parts_.clock.steady_now(), batch.provider);
    }
}

// Whose own fault it is that a provider was not reached, which another replica reaches. Who waits for the end of a run is told.
bool Factory::leave_to_others(const TargetInfo* target, const Error& error, const Context& context) {
    if (target == nullptr || settings_.once || fault_place(error) == FaultPlace::elsewhere) return false;
    Result<Pool::Lease> session = parts_.reads.acquire(context);
    if (!session) return false;
    const RevisionSettings& s = target->revision.settings;
    const Result<bool> left = parts_.gateway.leave_to_others(**session, {target->provider, s.model, s.dimensions}, error);
    return left && *left;
}

// Where documents of it were erased since it was claimed, `act` has come to nothing, and is done again without them: what the
// others have cost is not lost. Each time there are fewer.
Result<Factory::Outcome> Factory::as_named(Batch& batch, HealWork* work, const std::function<Result<Outcome>()>& act) {
    for (;;) {
        Result<Outcome> outcome = act();
        if (outcome || outcome.error().code != kKeysTaken) return outcome;
        Result<Pool::Lease> session = pool_for(batch).acquire(Context{});
        if (!session) return session.error();
        Result<std::vector<Key>> named = named_keys(**session, batch);
        if (!named) return named.error();
        if (named->size() >= batch.keys.size()) return internal_error("a batch names more documents than when it was claimed");
        if (work != nullptr) work->keep_named(*named);
        const Lock lock(mutex_);
        batch.keys = *std::move(named);
    }
}

Status Factory::settle_failure(const Batch& batch, const TargetInfo* target, const Error& failure, const Context& context) {
    Error error = failure;
    if (error.cls == ErrorClass::db_permanent) {
        parts_.targets.forget(batch.uid);
        // What was true when the batch began is true no more: only what fails as things are now is for a person.
        if (target != nullptr && parts_.targets.outdated(*target, context)) error.cls = ErrorClass::conflict;
    }
    BatchDecision d = after_failure(error, {batch.keys.size(), batch.attempts, settings_.once}, settings_.retry, random());
    name_slow_document(batch, d.fate, error);
    if (error.code == kDeclaredAnew) {
        // As it is now it is asked at once.
        parts_.targets.forget(batch.uid);
        d.delay = std::chrono::milliseconds(0);
    }
    if (error.code == kChunkerMissing && d.fate == BatchFate::give_back) {
        // Whoever has the program takes it at once.
        parts_.chunkers.leave(batch.uid, parts_.clock.steady_now());
        d.delay = settings_.retry.base;
    }
    if (error.code == kBudgetSpent && d.fate == BatchFate::give_back && budgets_.blocks(batch)) d.delay = settings_.retry.base;
    const bool left = leave_to_others(target, error, context);
    if (left) {
        d = {BatchFate::give_back, std::chrono::milliseconds(0)};
        error.message.clear();  // nothing is wrong with the batch
    }
    if (error.code == kLockNotAvailable && target != nullptr) {
        if (Result<Pool::Lease> session = parts_.reads.acquire(context)) error.message += lock_in_the_way(**session, *target);
    }
    record(batch, outcome_name(d.fate), parts_.clock.steady_now());
    if (!left) tell_failure(batch, d.fate, error);
    if (d.fate == BatchFate::drop) {
        parts_.telemetry.metrics
            .counter("homeostat_fenced_writes_total", "Writes refused because claim, epoch or generation had moved on.")
            .add();
        // The claim is normally gone; where only the epoch or the generation moved, the batch is its owner's to judge again.
    }
    note_failure(error);
    const std::string message = d.fate == BatchFate::drop ? "" : error.message;
    Status settled = settle(batch, target, error, d, context);
    if (!settled) {
        note_failure(settled.error());
        // What has ended meanwhile is there no more, so that giving it back does nothing.
        owe(batch, d.fate == BatchFate::retry, d.delay, message);
    }
    return settled;
}

Status Factory::settle(const Batch& batch, const TargetInfo* target, const Error& error, const BatchDecision& d,
                       const Context& context) {
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
    const RowTurns::Turn turn = parts_.turns.give_way(**session, batch.uid, context.stop);
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
        } else if (condemns(batch, target, fate)) {
            use_operators(tx, target->source);
            // Their texts may be what cannot be read.
            auto hashes = content_hashes(tx, target->source, target->revision, batch.keys);
            if (!hashes) return hashes.error();
            std::vector<DeadLetter> letters;
            for (std::size_t i = 0; i < hashes->size(); ++i) {
                if (!(*hashes)[i]) continue;  // not in the source any more
                letters.push_back({batch.keys[i], *(*hashes)[i], std::string(to_string(error.cls)), std::string(error.strategy()),
                                   error.message, batch.attempts + 1, trace_of(batch)});
            }
            add_dead_letters(tx, batch.uid, batch.revision, letters);
            recount_dead_letters(tx, batch.uid, true);
        }
        finish_batch(tx, batch, settings_.replica, result);
        // What leaves no name behind has to be found again.
        const bool forgotten = fate == BatchFate::dead_letter && !condemns(batch, target, fate);
        if (fate == BatchFate::fail_run || forgotten) feed_batch_failed(tx, batch.uid, batch.run_id, batch.revision);
        tx.commit();
        return {};
    });
}

}  // namespace homeostat
