// What a statement does, in a few words that are the same for all statements of its kind: "SELECT homeostat.pipeline", "INSERT
// homeostat.event". As OpenTelemetry's db.query.summary has it, which names spans and groups them.
//
// Operations, and tables by their qualified names, in the order of the text; functions, constants and names that the statement
// itself makes are left out. So nothing of a value or of a document is in it. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace homeostat {

inline constexpr std::size_t kMostSummary = 255;  // bytes, as the convention has it

std::string query_summary(std::string_view sql);

}  // namespace homeostat
