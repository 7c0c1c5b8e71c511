// When a limit that is used up is lifted, by what gateways put beside a refusal: headers that tell of each limit how much is left
// and when it is reset, and members of the body. Pure; safe from any thread.
#pragma once

#include <chrono>
#include <optional>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/http_client.hpp"

namespace homeostat {

// The longest time until a limit of which nothing is left is reset, in seconds: of `X-RateLimit-Reset[-of]` and all of its kin
// (`RateLimit-Reset`, `anthropic-ratelimit-requests-reset`), where `remaining` in the place of `reset` is 0, and of the header
// `RateLimit` of both drafts. The time is a length (20, 6m0s), seconds, milliseconds, microseconds or nanoseconds of Unix time,
// or an instant. Absent where none is told, it is over, or it is garbage.
std::optional<double> seconds_until_reset(const HttpHeaders& headers, WallTime now);

// The same of the body: headers that a broker passes on (`error.metadata.headers`), and members such as `estimated_time`,
// `retry_after_ms`, `resets_in_seconds` and `reset_at`.
std::optional<double> seconds_in_body(std::string_view body, WallTime now);

// Of an error that passes and asks for no wait yet: the wait that these ask for, within the bounds of all waits.
void add_wait(Error& error, const HttpAnswer& answer, WallTime now);

}  // namespace homeostat
