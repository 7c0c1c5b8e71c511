// How providers are, as this process and others know it, and the look at one that nobody asks anything.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "reconcilers/factory/gateway.hpp"

namespace homeostat {

namespace asio = boost::asio;

Gateway::Health Gateway::health(const ProviderSpec& provider, const std::string& model) const {
    const Lock lock(mutex_);
    Health health;
    for (const auto& [key, channel] : channels_) {
        if (declaration(channel->provider) != declaration(provider) || channel->lane->model() != model) continue;
        health.trouble = channel->lane->trouble();
        health.known = health.trouble || channel->lane->known();
        if (health.trouble) break;
    }
    return health;
}

std::vector<DeclaredProvider> Gateway::blocked() const {
    const Lock lock(mutex_);
    std::vector<DeclaredProvider> out;
    for (const auto& [key, channel] : channels_) {
        const ProviderSpec& p = channel->provider;
        if (!p.pool && channel->lane->blocked()) out.push_back(declaration(p));
    }
    return out;
}

void Gateway::set_members(int members) {
    const Lock lock(mutex_);
    members_ = members;
    for (const auto& [key, channel] : channels_) channel->lane->set_members(members);
}

GatewaySnapshot Gateway::snapshot() const {
    const Lock lock(mutex_);
    GatewaySnapshot s;
    for (const auto& [key, channel] : channels_) s.lanes.push_back(channel->lane->snapshot());
    s.calls.assign(calls_.begin(), calls_.end());
    s.selections.assign(selections_.begin(), selections_.end());
    return s;
}

// Its last word was a failure, and nobody asks it anything: nobody would ever know that it is well again.
void Gateway::look_again(const asio::any_io_executor& io, const Context& context) {
    std::vector<ChannelPtr> silent;
    {
        const Lock lock(mutex_);
        for (const auto& [key, channel] : channels_) {
            if (channel->lane->take_look()) silent.push_back(channel);
        }
    }
    for (ChannelPtr& channel : silent) {
        const std::uint32_t dimensions = channel->dimensions;
        Context own = context;
        own.deadline = parts_.clock.steady_now() + Duration(channel->provider.timeout);
        asio::co_spawn(io, prove(std::move(channel), dimensions, std::move(own)), asio::detached);
    }
}

}  // namespace homeostat
