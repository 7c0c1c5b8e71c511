// That a request may go, and what it is: what a lane gives, and is given back when the request has ended.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/clock.hpp"

namespace homeostat {

struct LanePermit {
    std::uint64_t ticket = 0;  // of the breaker; of the breaker for local faults
    std::uint64_t local_ticket = 0;
    SteadyTime started{};
    std::size_t texts = 0;
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;  // of all texts
    bool venture = false;  // a size that has not been answered yet
    bool proof = false;    // of the good text: it tells the provider's fault from a text's
};

}  // namespace homeostat
