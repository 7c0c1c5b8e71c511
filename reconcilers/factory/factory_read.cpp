// The part of the executor that reads: within the budget of its memory, or ahead, by whoever planned an edit or two.
#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "core/fault_point.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/factory/on.hpp"
#include "reconcilers/factory/wake.hpp"
#include "store/document_ids.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr std::uint64_t kLittle = 16 << 10;  // of text, bytes
constexpr Duration kMoment = std::chrono::milliseconds(50);

}  // namespace

std::uint64_t Factory::bytes_of(const std::vector<ReadDocument>& documents) {
    std::uint64_t bytes = 0;
    for (const ReadDocument& d : documents) bytes += d.content.size();
    return bytes;
}

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
            read(**session, batch, target, static_cast<std::int64_t>(budget), true, context);
        if (!found) return found.error();
        documents = *std::move(found);
        if (bytes_of(documents) <= kLittle) work = chunk(batch, target, std::move(documents), context);
        return {};
    });
}

// By the thread that has just claimed it and with its connection, which spares two other threads to be woken. Where it fails, or
// is more than a little, the batch reads by itself.
std::unique_ptr<HealWork> Factory::read_ahead(Session& session, const Batch& batch, const TargetInfo& target,
                                              const Context& context) {
    if (batch.kind != BatchKind::heal || batch.keys.size() > kFew) return nullptr;
    Result<std::unique_ptr<HealWork>> work = guarded([&]() -> Result<std::unique_ptr<HealWork>> {
        Result<std::vector<ReadDocument>> found = read(session, batch, target, kLittle, false, context);
        if (!found) return found.error();
        if (std::any_of(found->begin(), found->end(), [](const ReadDocument& d) { return d.deferred; }))
            return std::unique_ptr<HealWork>();
        return chunk(batch, target, *std::move(found), context);
    });
    return work ? *std::move(work) : nullptr;
}

Result<std::vector<ReadDocument>> Factory::read(Session& session, const Batch& batch, const TargetInfo& target,
                                                std::int64_t budget, bool first_anyway, const Context& context) {
    Span span = parts_.telemetry.tracer.start("read documents", SpanKind::client, context.span);
    Result<std::vector<ReadDocument>> documents = guarded([&]() -> Result<std::vector<ReadDocument>> {
        session.keep_plans(batch.keys.size() <= kFew);
        Result<std::vector<ReadDocument>> read = [&] {
            // A source may be a view with functions in it, which run with our rights.
            Transaction tx = session.begin(TxMode::read_only);
            tx.source(target.source.reader);  // now, so that what it needs of this one travels with the first statement
            use_operators(tx, target.source);
            Result<std::vector<ReadDocument>> found =
                read_documents(tx, target.source, target.revision, batch.keys, budget, first_anyway);
            if (found) tx.commit();
            return found;
        }();
        if (!read) return read;
        if (Status given = give_ids(session, target.revision, *read); !given) return std::move(given).error();
        return read;
    });
    span.end();
    if (documents) HOMEOSTAT_REACH("read.after");
    return documents;
}

std::unique_ptr<HealWork> Factory::chunk(const Batch& batch, const TargetInfo& target, std::vector<ReadDocument> documents,
                                         const Context& context) {
    const Span chunking = parts_.telemetry.tracer.start("chunk", SpanKind::internal, context.span);
    const bool rebuild = batch.cls == to_string(DriftClass::partial);
    return std::make_unique<HealWork>(std::move(documents), *target.chunker, rebuild);
}

}  // namespace homeostat
