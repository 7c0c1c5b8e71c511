// What a failed HTTP call means for the work: the one table from status, body and transport fault to Error (classes as in RULES C
// of the documentation). Pure; safe from any thread.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/http_client.hpp"

namespace homeostat {

// Where a call can break before there is an answer.
enum class HttpFault : std::uint8_t {
    resolve,  // the host name has no address
    refused,  // nobody listens there
    unreachable,  // no route, network down, no descriptors: our side
    certificate,  // TLS came up but the certificate is not to be trusted
    tls,  // the TLS handshake broke otherwise
    reset,  // the connection was lost while sending or reading
    timeout,  // the deadline passed
    stopped,  // the stop token was used
    malformed,  // what came back is not HTTP
    body_limit,  // the answer is larger than the cap
    encoding,  // the answer is packed in a way that cannot be undone
    proxy,  // the proxy does not let us through
    client_certificate,  // it wants to know who we are, and does not, or does not believe it
    forbidden,  // the host turned out to be where the settings do not let us go
};

Error error_of_fault(HttpFault fault, std::string_view where, std::string_view detail);

// The code of an error, instead of its status, that is about the encoding in which vectors were asked for.
inline constexpr std::string_view kEncodingRefused = "encoding_refused";

// For every status but those of success. `now` is what an HTTP date in Retry-After is counted from.
Error error_of_status(const HttpAnswer& answer, std::string_view where, WallTime now);

// For a status of success with an error inside, as gateways and some servers send it: {"error": …}, or a message and no "data". A
// status of its own in there counts. Absent where there is none.
std::optional<Error> error_inside(const HttpAnswer& answer, std::string_view where, WallTime now);

// Bounds of every wait the other side asks for (RULES 43).
inline constexpr std::chrono::milliseconds kMinRetryAfter{100};
inline constexpr std::chrono::milliseconds kMaxRetryAfter{600'000};

// The longest wait the headers ask for (Retry-After in seconds or as a date, retry-after-ms, and the x-ratelimit-reset-* of
// whatever is used up), within the bounds; absent where they ask for none or hold garbage.
std::optional<std::chrono::milliseconds> retry_after(const HttpHeaders& headers, WallTime now);

// The names of the table's rows in order, so that a test can show that it has seen every one.
std::span<const std::string_view> http_error_rows() noexcept;
// The row an answer falls into.
std::string_view http_error_row(const HttpAnswer& answer);

}  // namespace homeostat
