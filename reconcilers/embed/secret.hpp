// Secrets are declared by reference and read at the moment of use, so that a rotated one is taken up by the next request and none
// is ever kept in a table, a log line or a message. Safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

// The code of the error where what a reference names cannot be read.
inline constexpr std::string_view kCredentialCode = "credential";

// True for env:NAME and file:PATH.
bool is_secret_reference(std::string_view text) noexcept;

// The secret itself, without the line end a file usually has. Fails (class auth: useless until somebody acts) where the variable
// is not set, the file cannot be read, or what is there is empty or holds a control character; the message names the reference,
// never the value.
Result<std::string> read_secret(std::string_view reference);

}  // namespace homeostat
