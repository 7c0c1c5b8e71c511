#include "reconcilers/gateway/ranking.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace homeostat {

std::string_view to_string(ProviderHealthState s) noexcept {
    switch (s) {
        case ProviderHealthState::usable: return "usable";
        case ProviderHealthState::probing: return "probing";
        case ProviderHealthState::waiting: return "waiting";
        case ProviderHealthState::ejected: return "ejected";
    }
    return "usable";
}

bool serves(const ProviderSpec& other, const ProviderSpec& declared, const std::string& model, std::uint32_t dimensions) {
    if (other.name == declared.name) return true;
    return declared.pool && other.pool == declared.pool && other.model == model &&
           (!other.dimensions || *other.dimensions == dimensions);
}

std::vector<std::size_t> rank_providers(std::span<const RankedProvider> providers) {
    std::vector<std::size_t> order(providers.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto place = [&](std::size_t i) {
        const RankedProvider& p = providers[i];
        return std::tie(p.health, p.rank, p.price, p.name);
    };
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
    return order;
}

}  // namespace homeostat
