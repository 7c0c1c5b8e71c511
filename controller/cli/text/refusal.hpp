// Why the database refused what a verb asked of it, for whoever typed it: which right, role or step is missing, and the statement
// or command that gives it. Decided by SQLSTATE and by what the database says of itself, never by a message's words. Blocks for a
// few round trips; one thread.
#pragma once

#include <string>
#include <string_view>

#include "store/pg/session.hpp"

namespace homeostat {

// Whether the server itself said it, and in a way that homeostat has more to say of.
bool wants_reason(const Error& error);
// What is to be said after the server's words; "" where nothing more is known.
std::string why_refused(Session& session, const Error& error, std::string_view verb);
// The same where no connection was made: what to look at now.
std::string why_unreached(const std::string& url);

}  // namespace homeostat
