// Which provider serves a model: those that can, by health, declared rank, price and name. Pure and deterministic.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/resource.hpp"

namespace homeostat {

enum class ProviderHealthState : std::uint8_t {
    usable,
    probing,  // half open: a few calls find out
    waiting,  // asked to be left alone for a while
    ejected,  // its breaker is open, or it is not what it says it is
};
std::string_view to_string(ProviderHealthState s) noexcept;

struct RankedProvider {
    std::string name;
    ProviderHealthState health = ProviderHealthState::usable;
    std::int32_t rank = 100;
    double price = 0;
    auto operator<=>(const RankedProvider&) const = default;
};

// Whether `other` may stand in for `declared`: one pool, the same model, no other width.
bool serves(const ProviderSpec& other, const ProviderSpec& declared, const std::string& model, std::uint32_t dimensions);

// Indexes into `providers`, best first; ties by name.
std::vector<std::size_t> rank_providers(std::span<const RankedProvider> providers);

}  // namespace homeostat
