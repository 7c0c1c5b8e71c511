// What every call below the loop carries: when to give up, whose authority it acts under, and the id that ties logs and spans.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "core/clock.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

struct Context {
    std::stop_token stop{};
    SteadyTime deadline = SteadyTime::max();
    std::int64_t epoch = 0;        // of the lease the work is done under; 0 where there is none
    std::string reconcile_id{};    // one id on logs, spans, events and rows of a pass
    SpanContext span{};            // parent of what is started below

    [[nodiscard]] Context under(const Span& s) const {
        Context c = *this;
        if (s.context().valid()) c.span = s.context();
        return c;
    }
};

}  // namespace homeostat
