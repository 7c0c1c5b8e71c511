// Which pipeline is to be looked at first, and why, in one sentence. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "store/control/resources.hpp"

namespace homeostat {

enum class Urgency : std::uint8_t {
    failing,   // nothing will move without a person
    not_ready, // something is in the way, or too little is embedded
    losing,    // it is searched, and documents were set aside or wait
    working,   // it is on its way
    paused,    // somebody has suspended it, or it is being deleted
    well
};
std::string_view to_string(Urgency u) noexcept;

Urgency urgency_of(const PipelineLine& line);
// The sentence of its condition Ready, or what stands beside it.
std::string cause_of(const PipelineLine& line);
// The most urgent first; of the same urgency what has waited longest, then what differs most, then by name.
bool more_urgent(const PipelineLine& a, const PipelineLine& b);

}  // namespace homeostat
