// What a program prints for a credential: the bare token, or JSON as the programs of clouds and clusters print it. Pure; safe
// from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/clock.hpp"
#include "core/error.hpp"

namespace homeostat {

struct PrintedCredential {
    std::string secret;
    std::optional<Duration> lives;  // from `now` on, above zero; absent where the program does not say
};

// `{"token": "...", "expires_at": "2026-01-01T00:00:00Z"}` (or "expires_in": seconds), the same under "status" as Kubernetes'
// ExecCredential has it, "access_token" and "accessToken" as gcloud and az name it, "Secret" of Docker's helpers; anything else
// is the token itself, one word. Fails with what is wrong ("printed nothing"), which repeats nothing of what was printed: it may
// be the secret.
Result<PrintedCredential> read_printed_credential(std::string_view output, WallTime now);

// A point in time as RFC 3339 writes it.
std::optional<WallTime> rfc3339_time(std::string_view text);

}  // namespace homeostat
