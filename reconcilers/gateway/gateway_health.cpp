// How providers are, as this process and others know it, and the look at one that nobody asks anything.
#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "core/log_fields.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "reconcilers/gateway/remainders.hpp"

namespace homeostat {

namespace asio = boost::asio;

Gateway::Health Gateway::health(const ProviderSpec& provider, const std::string& model) const {
    // What this process lacks says nothing of the provider: what others tell of it is so.
    if (left_.contains(declaration(provider))) return {};
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
    std::vector<DeclaredProvider> out = left_.all();
    const Lock lock(mutex_);
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
    GatewaySnapshot s;
    s.left = left_.lines();
    const Lock lock(mutex_);
    for (const auto& [key, channel] : channels_) {
        LaneSnapshot& lane = s.lanes.emplace_back(channel->lane->snapshot());
        if (channel->remainders) lane.left_over = channel->remainders->waiting();
        lane.looked_up = channel->cached->looked_up;
        lane.found = channel->cached->found;
        lane.saved_tokens = channel->cached->tokens;
    }
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
    for (LeftToOthers::Asked& asked : left_.take_due(parts_.clock.steady_now())) {
        Context own = context;
        own.deadline = parts_.clock.steady_now() + Duration(asked.provider.timeout);
        asio::co_spawn(io, try_again(std::move(asked), std::move(own)), asio::detached);
    }
}

Result<bool> Gateway::leave_to_others(Session& session, const LeftToOthers::Asked& asked, const Error& error) {
    // In a pool another provider is asked instead.
    if (asked.provider.pool || fault_place(error) == FaultPlace::elsewhere) return false;
    const Result<Others> others = read_others(session, settings_.replica);
    if (!others) return others.error();
    const bool before = left_.contains(declaration(asked.provider));
    const bool left = left_.failed(asked, error, *others, parts_.clock.steady_now());
    if (left && !before) {
        const LogFields about{{"provider", asked.provider.name}};
        spdlog::warn("provider \"{}\" cannot be asked from here, so its batches are left to other replicas: {}",
                     asked.provider.name, error.message);
    }
    return left;
}

Status Gateway::look_at_others(Session& session) {
    if (left_.empty()) return {};
    const Result<Others> others = read_others(session, settings_.replica);
    if (!others) return others.error();
    std::vector<std::string> from_now = left_.heard(*others, parts_.clock.steady_now());
    const Lock lock(mutex_);
    renewed_.insert(from_now.begin(), from_now.end());
    return {};
}

asio::awaitable<void> Gateway::try_again(LeftToOthers::Asked asked, Context context) {
    const DeclaredProvider who = declaration(asked.provider);
    const Result<ChannelPtr> made = co_await channel(asked.provider, asked.model, asked.dimensions);
    std::optional<Error> failure;
    if (made) {
        (*made)->lane->allow_probe();
        const Status proved = co_await prove(*made, asked.dimensions, std::move(context));
        if (!proved) failure = proved.error();
    } else {
        failure = made.error();
    }
    // What says nothing of what is missing here.
    const auto silent = [](const Error& e) {
        return e.cls == ErrorClass::cancelled || e.cls == ErrorClass::unavailable || e.cls == ErrorClass::throttled;
    };
    if (failure && (fault_place(*failure) != FaultPlace::elsewhere || silent(*failure))) co_return;
    if (!left_.over(who) || failure) co_return;
    const LogFields about{{"provider", who.name}};
    spdlog::info("provider \"{}\" can be asked from here again", who.name);
}

}  // namespace homeostat
