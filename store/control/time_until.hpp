// How far a moment that a person wrote is from now, by the server's clock.
#pragma once

#include <string_view>

#include "core/error.hpp"
#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// `text` as RFC 3339 has it ("2026-11-28T06:00:00Z", "2026-11-28 06:00+01:00"): with its zone, as that of whoever wrote it is not
// known. Another form, a day that there is none, and a moment that has passed are errors that say so. Blocks for a round trip.
Result<Millis> time_until(Session& session, std::string_view text);

}  // namespace homeostat
