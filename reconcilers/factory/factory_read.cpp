// The part of the executor that reads: within the budget of its memory, or ahead, by whoever planned an edit or two.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "core/fault_point.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/gateway/on.hpp"
#include "reconcilers/gateway/wake.hpp"
#include "store/data/document_ids.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr std::uint64_t kLittle = 16 << 10;  // of text, bytes
constexpr int kAheadMs = 250;  // whoever plans edits waits no longer for a source that others' code reads
constexpr Duration kMoment = std::chrono::milliseconds(50);

// What is read before its batch has begun is part of what planned it.
SpanContext parent_of(const Batch& batch, const Context& context) {
    return context.span.valid() ? context.span : SpanContext::from_traceparent(batch.traceparent);
}

using Made = Result<std::unique_ptr<HealWork>>;

}  // namespace

asio::awaitable<Result<MemoryBudget::Hold>> Factory::admit(std::uint64_t bytes, const Context& context) {
    std::optional<MemoryBudget::Hold> hold = parts_.memory.try_admit(bytes);
    if (hold) co_return *std::move(hold);
    const auto bell = std::make_shared<Wake>(co_await asio::this_coro::executor);
    while (!hold) {
        if (context.stop.stop_requested()) co_return cancelled("stopped while waiting for memory");
        co_await bell->wait(kMoment);
        hold = parts_.memory.try_admit(bytes);
    }
    co_return *std::move(hold);
}

// Where it is little, chunked as well: another thread would take longer to wake than to cut it.
asio::awaitable<Status> Factory::read_within_budget(const Batch& batch, const TargetInfo& target, Context context,
                                                    std::vector<ReadDocument>& documents, std::unique_ptr<HealWork>& work) {
    const auto budget =
        static_cast<std::uint64_t>(static_cast<double>(settings_.read_budget) * (settings_.shrink ? parts_.memory.scale() : 1));
    const Result<MemoryBudget::Hold> hold = co_await admit(budget, context);
    if (!hold) co_return hold.error();
    co_return co_await on(db_for(batch), [&]() -> Status {
        Result<Pool::Lease> session = pool_for(batch).acquire(context);
        if (!session) return session.error();
        Result<std::vector<ReadDocument>> found =
            read(**session, batch, target, static_cast<std::int64_t>(budget), false, context);
        if (!found) return found.error();
        documents = *std::move(found);
        if (target.chunker && bytes_of(documents) <= kLittle) work = chunk(batch, target, std::move(documents), context);
        return {};
    });
}

// By the thread that has just claimed it and with its connection, which spares two other threads to be woken. Where it fails, or
// is more than a little, or has to ask a program how to cut it, the batch reads by itself.
std::unique_ptr<HealWork> Factory::read_ahead(Session& session, const Batch& batch, const TargetInfo& target,
                                              const Context& context) {
    if (batch.kind != BatchKind::heal || batch.keys.size() > kFew || !target.chunker) return nullptr;
    Result<std::unique_ptr<HealWork>> work = guarded([&]() -> Result<std::unique_ptr<HealWork>> {
        Result<std::vector<ReadDocument>> found = read(session, batch, target, kLittle, true, context);
        if (!found) return found.error();
        if (std::any_of(found->begin(), found->end(), [](const ReadDocument& d) { return d.deferred; }))
            return std::unique_ptr<HealWork>();
        return chunk(batch, target, *std::move(found), context);
    });
    return work ? *std::move(work) : nullptr;
}

Result<std::vector<ReadDocument>> Factory::read(Session& session, const Batch& batch, const TargetInfo& target,
                                                std::int64_t budget, bool ahead, const Context& context) {
    Span span = parts_.telemetry.tracer.start("read documents", SpanKind::internal, parent_of(batch, context));
    const SpanScope scope(parts_.telemetry.tracer, span);
    Result<std::vector<ReadDocument>> documents = guarded([&]() -> Result<std::vector<ReadDocument>> {
        session.keep_plans(batch.keys.size() <= kFew);
        Result<std::vector<ReadDocument>> read = [&] {
            // A source may be a view with functions in it, which run with our rights. Where it is read apart, ours is one
            // statement, over our own tables; only a path for it needs a transaction to be set in.
            const bool ours_alone = target.source.reader.apart() && target.source.search_path.empty();
            Transaction tx = session.begin(ours_alone ? TxMode::none : TxMode::read_only);
            // Now, so that what it needs of this one travels with the first statement.
            Transaction& source = tx.source(target.source.reader);
            if (ahead && target.source.reader.apart())
                source.before_each(fmt::format("SET LOCAL statement_timeout = {}", kAheadMs));
            use_operators(tx, target.source);
            Result<std::vector<ReadDocument>> found =
                read_documents(tx, target.source, target.revision, batch.keys, budget, !ahead);
            if (found) tx.commit();
            return found;
        }();
        if (!read) return read;
        if (Status given = give_ids(session, target.revision, *read); !given) return std::move(given).error();
        return read;
    });
    if (!documents) span.fail(documents.error());
    span.end();
    if (documents) HOMEOSTAT_REACH("read.after");
    return documents;
}

// Nothing is held while the program is asked but the memory of what was read.
asio::awaitable<Result<std::unique_ptr<HealWork>>> Factory::cut(const Batch& batch, const TargetInfo& target,
                                                                std::vector<ReadDocument>& documents, Context context) {
    Span chunking = parts_.telemetry.tracer.start("chunk", SpanKind::internal, context.span);
    if (target.chunker)
        co_return co_await on(parts_.cpu, [&] { return Made(chunk(batch, target, std::move(documents), context)); });
    Context below = context.under(chunking);
    ChunkSettings settings = chunk_settings(target.revision.settings);
    const Result<std::vector<CutDocument>> cut = co_await parts_.chunkers.cut(
        std::move(settings), target.revision.settings.chunk_context.has_value(), documents, std::move(below));
    if (!cut) co_return cut.error();
    const bool rebuild = batch.cls == to_string(DriftClass::partial);
    co_return co_await on(parts_.cpu, [&] { return Made(std::make_unique<HealWork>(std::move(documents), *cut, rebuild)); });
}

std::unique_ptr<HealWork> Factory::chunk(const Batch& batch, const TargetInfo& target, std::vector<ReadDocument> documents,
                                         const Context& context) {
    const Span chunking = parts_.telemetry.tracer.start("chunk", SpanKind::internal, parent_of(batch, context));
    const bool rebuild = batch.cls == to_string(DriftClass::partial);
    const std::vector<CutDocument> cut = cut_documents(documents, *target.chunker);
    return std::make_unique<HealWork>(std::move(documents), cut, rebuild);
}

}  // namespace homeostat
