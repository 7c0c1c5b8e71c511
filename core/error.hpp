// What can go wrong, and what a caller may ask of it.
//
// Every seam between rooms returns Result<T>. An Error answers the questions a caller has (is it worth retrying, whose fault is
// it, how long to wait) so that nobody branches on text. The classes are a closed list; each edge (SQLSTATE, HTTP status) maps
// into it in one table beside that edge. Values are immutable and may be shared between threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace homeostat {

enum class ErrorClass : std::uint8_t {
    invalid,         // what was declared or asked is wrong; a person has to change it
    not_found,       // the named thing does not exist
    conflict,        // somebody else changed it first; read again
    fenced,          // our lease, claim or generation is no longer the newest; drop the work
    cancelled,       // we were asked to stop; costs no attempt
    throttled,       // the other side asks us to slow down; costs no attempt
    unavailable,     // refused here because a breaker, gate or limit is closed; costs no attempt
    transient,       // a remote fault that may pass
    timeout,         // no answer within the deadline
    local,           // our own network or machine: DNS, no route, no descriptors
    too_large,       // the request must be split
    content,         // this very input is refused
    bad_answer,      // the answer breaks its contract; nothing of it may be used
    auth,            // credentials or quota; useless to retry until they change
    db_transient,    // the database asks to try again (serialisation, deadlock, restart, lost connection)
    db_resource,     // the database is out of disk, memory or connections
    db_permanent,    // table or column gone, right missing: stays until somebody changes it
    internal,        // our own invariant is broken
};

enum class Origin : std::uint8_t { ours, theirs, user };

std::string_view to_string(ErrorClass c) noexcept;
std::string_view to_string(Origin o) noexcept;
ErrorClass error_class_named(std::string_view name) noexcept;  // internal where it is none of ours

struct Error {
    ErrorClass cls = ErrorClass::internal;
    std::string message;  // a sentence: what, where, and what to do now
    Origin origin = Origin::ours;
    std::string code{};  // SQLSTATE, HTTP status or errno name where there is one
    std::optional<std::chrono::milliseconds> retry_after{};
    bool outcome_unknown = false;  // the link broke while committing: look before doing it again
    std::string said{};  // the other side's own words, without any of ours: limits are read from them and from nothing else

    // True where the same call may succeed later without anybody changing anything.
    [[nodiscard]] bool retryable() const noexcept;
    // True where the failure says nothing about the work itself, so it is not counted as an attempt.
    [[nodiscard]] bool costs_no_attempt() const noexcept;
    // The named strategy of the class (RULES of the docs): retry_with_backoff, reduce_batch_size, bisect, ...
    [[nodiscard]] std::string_view strategy() const noexcept;

    [[nodiscard]] Error with_prefix(std::string_view prefix) const;
};

Error invalid(std::string message);
Error not_found(std::string message);
Error fenced(std::string message);
Error cancelled(std::string message);
Error internal_error(std::string message);

// Either a value or an Error. Dereferencing the wrong side is a broken invariant and ends the process.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }

    T& operator*() & { return std::get<0>(state_); }
    const T& operator*() const& { return std::get<0>(state_); }
    T&& operator*() && { return std::get<0>(std::move(state_)); }
    T* operator->() { return &std::get<0>(state_); }
    const T* operator->() const { return &std::get<0>(state_); }

    const Error& error() const& { return std::get<1>(state_); }
    Error&& error() && { return std::get<1>(std::move(state_)); }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const noexcept { return !error_.has_value(); }
    explicit operator bool() const noexcept { return ok(); }
    const Error& error() const& { return *error_; }
    Error&& error() && { return *std::move(error_); }

private:
    std::optional<Error> error_;
};

using Status = Result<void>;

// The name in `known` nearest to `wrong` by edit distance, when it is near enough to be a likely slip; else empty.
std::string nearest_name(std::string_view wrong, std::span<const std::string_view> known);
// " (did you mean "x"?)" for use at the end of a message, or "" where nothing is near.
std::string did_you_mean(std::string_view wrong, std::span<const std::string_view> known);

}  // namespace homeostat
