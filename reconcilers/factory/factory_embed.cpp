// The part of the executor that has a batch's texts embedded, and pays for it from the budgets that are declared.
#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <stop_token>

#include "reconcilers/factory/factory.hpp"
#include "reconcilers/gateway/on.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr Duration kBetweenLooks = std::chrono::milliseconds(200);
constexpr int kLooks = 25;  // for as long as a request usually takes

}  // namespace

asio::awaitable<Status> Factory::reserve_paid(const Batch& batch, std::uint64_t tokens, const Context& context) {
    const auto bell = std::make_shared<Wake>(co_await asio::this_coro::executor);
    const std::stop_callback on_stop(context.stop, [bell] { bell->wake(); });
    for (int look = 1;; ++look) {
        Status reserved = co_await on(db_for(batch), [&]() -> Status {
            Result<Pool::Lease> session = pool_for(batch).acquire(Context{});
            if (!session) return session.error();
            return budgets_.reserve(**session, batch, tokens);
        });
        // What others have reserved is settled within moments, or is there again.
        const bool waits = !reserved && reserved.error().code == kReservedByOthers && look < kLooks;
        if (!waits || context.stop.stop_requested()) co_return reserved;
        co_await bell->wait(kBetweenLooks);
    }
}

asio::awaitable<Status> Factory::embed(Batch& batch, const TargetInfo& target, HealWork& work, Context context) {
    const RevisionSettings& s = target.revision.settings;
    Spending spent;
    std::vector<ProviderSpec> peers = target.peers;
    std::erase_if(peers, [&](const ProviderSpec& p) { return budgets_.spent(p); });
    EmbedOrder order{target.provider, peers,  s.model,   s.dimensions,           TextRole::document,
                     batch.fed,       &spent, batch.uid, target.spec.cache_epoch};
    if (has_budget(target)) {
        batch.budgeted = true;
        order.reserve = [this, &batch, &context](std::uint64_t tokens) { return reserve_paid(batch, tokens, context); };
    }
    Result<Embedded> embedded = co_await parts_.gateway.embed(std::move(order), work.texts(), context);
    batch.tokens = static_cast<std::int64_t>(spent.used);
    batch.wasted_tokens = static_cast<std::int64_t>(spent.wasted);
    batch.saved_tokens = static_cast<std::int64_t>(spent.saved);
    batch.paid.assign(spent.paid.begin(), spent.paid.end());
    if (!embedded) co_return std::move(embedded).error();
    work.attach(*std::move(embedded));
    co_return Status{};
}

}  // namespace homeostat
