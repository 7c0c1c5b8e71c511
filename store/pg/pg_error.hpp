// SQLSTATE and broken links -> Error: the one table of the database edge.
#pragma once

#include <string_view>

#include "core/error.hpp"

namespace homeostat {

// `sqlstate` may be empty where the link broke before the server could say. `message` is the server's text; only its first
// line is kept, without the severity, because the rest is context for whoever wrote the statement. Unless a function of ours
// `raised` it, it is kept as what the other side said (Error::said): a sentence of the server's that knows nothing of homeostat.
Error from_sqlstate(std::string_view sqlstate, std::string_view message, bool raised = false);

inline constexpr std::string_view kTookTooLong = "57014";  // the code of a statement that was ended, mostly by its timeout
inline constexpr std::string_view kSourceFailed =
    "SourceFailed";  // of what a source's own code fails with, where it is read apart
// A right that is missing to another role than the one that connects: the sentence names it, and what gives it.
inline constexpr std::string_view kRightOfAnother = "RightOfAnother";
inline constexpr std::string_view kConnectFailed = "08001";  // the code of what comes next
// No connection was made. `message`: libpq's, which names server and port, a line each address that was tried.
Error from_failed_connect(std::string_view message);
// What was given as a connection string is none.
Error from_bad_url(std::string_view problem);

Error from_broken_link(std::string_view message, bool while_committing);

}  // namespace homeostat
