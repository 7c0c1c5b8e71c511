#include "reconcilers/factory/gateway.hpp"

#include <fmt/format.h>

#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace homeostat {

namespace asio = boost::asio;

// A semaphore that suspends: a channel with room for as many tokens as there may be requests.
class Gateway::Slots {
public:
    Slots(const asio::any_io_executor& io, std::uint32_t n) : width(n), channel_(io, n) {}
    asio::awaitable<void> take() { co_await channel_.async_send(boost::system::error_code{}, asio::use_awaitable); }
    void give() {
        channel_.try_receive([](boost::system::error_code) {});
    }
    const std::uint32_t width;

private:
    asio::experimental::concurrent_channel<void(boost::system::error_code)> channel_;
};

Gateway::Gateway(EmbedderMaker make, asio::any_io_executor io, const Clock& clock, Telemetry telemetry)
    : make_(std::move(make)), io_(std::move(io)), clock_(clock), telemetry_(telemetry) {}
Gateway::~Gateway() = default;

Result<std::shared_ptr<Embedder>> Gateway::embedder(const ProviderSpec& provider, const std::string& model,
                                                    std::uint32_t dimensions) {
    const std::string name = fmt::format("{}\n{}\n{}", provider.name, model, dimensions);
    {
        const Lock lock(mutex_);
        const auto it = embedders_.find(name);
        if (it != embedders_.end() && it->second.generation == provider.generation) return it->second.embedder;
    }
    // Made outside the lock (a model may have to be read); of two made at once the first one stored is the one used.
    Result<std::shared_ptr<Embedder>> made = make_(provider, model, dimensions);
    if (!made) return made.error().with_prefix(fmt::format("provider \"{}\"", provider.name));
    const Lock lock(mutex_);
    Entry& entry = embedders_[name];
    if (entry.generation != provider.generation || !entry.embedder) entry = {provider.generation, *std::move(made)};
    return entry.embedder;
}

std::shared_ptr<Gateway::Slots> Gateway::slots_of(const ProviderSpec& provider, std::uint32_t width) {
    const Lock lock(mutex_);
    std::shared_ptr<Slots>& slots = slots_[provider.name];
    if (!slots || slots->width != width) slots = std::make_shared<Slots>(io_, width);
    return slots;
}

asio::awaitable<Result<Embeddings>> Gateway::embed(const ProviderSpec& provider, std::shared_ptr<Embedder> embedder,
                                                   const std::vector<std::string>& texts, TextRole role, const Context& context) {
    Embeddings all;
    all.dimensions = embedder->dimensions();
    all.values.reserve(texts.size() * all.dimensions);
    const EmbedderLimits limits = embedder->limits();
    const std::size_t most = std::max<std::uint32_t>(limits.max_batch, 1);
    const std::shared_ptr<Slots> slots = slots_of(provider, std::max<std::uint32_t>(limits.max_in_flight, 1));
    Counter& requests = telemetry_.metrics.counter("homeostat_provider_requests_total", "Requests to embedding providers.",
                                                   {{"provider", provider.name}});
    Counter& tokens = telemetry_.metrics.counter("homeostat_provider_tokens_total", "Tokens embedded, as billed or estimated.",
                                                 {{"provider", provider.name}});
    for (std::size_t at = 0; at < texts.size(); at += most) {
        if (context.stop.stop_requested()) co_return cancelled("stopped before the provider was asked");
        const std::size_t n = std::min(most, texts.size() - at);
        const bool whole = n == texts.size();
        std::vector<std::string> part;
        if (!whole)
            part.assign(texts.begin() + static_cast<std::ptrdiff_t>(at), texts.begin() + static_cast<std::ptrdiff_t>(at + n));
        co_await slots->take();
        Context bounded = context;
        bounded.deadline = std::min(context.deadline, clock_.steady_now() + provider.timeout);
        Result<Embeddings> answer = co_await embedder->embed(whole ? texts : part, role, bounded);
        slots->give();
        requests.add();
        if (!answer) co_return std::move(answer).error();
        if (const Status valid = validate_embeddings(*answer, n, all.dimensions); !valid) co_return valid.error();
        tokens.add(static_cast<double>(answer->tokens));
        all.tokens += answer->tokens;
        all.model = answer->model;
        if (whole) co_return answer;
        all.values.insert(all.values.end(), answer->values.begin(), answer->values.end());
    }
    co_return all;
}

}  // namespace homeostat
