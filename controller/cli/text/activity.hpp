// What the replicas last did, as they write it of themselves into homeostat.replica: the newest calls of a provider, selections
// within its pool, batches of a pipeline. Ages are reckoned from the replica's own clock and its last sign of life, so that
// clocks that differ make no difference. One thread.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "controller/cli/text/context.hpp"
#include "controller/cli/text/output.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

inline constexpr std::size_t kActivityShown = 10;

// Newest first, at most kActivityShown of all replicas together.
TextTable calls_table(const std::vector<ReplicaLine>& replicas, const std::string& provider);
TextTable selections_table(const std::vector<ReplicaLine>& replicas, const std::string& provider);
// What breakers and caches have made of a provider's requests and texts, a line each model and replica, since the replica
// started.
TextTable uses_table(const std::vector<ReplicaLine>& replicas, const std::string& provider);
// What the caches have saved of it, all replicas together; "" where nothing was looked up. `price` of a million tokens, 0 = none.
std::string saved_text(const std::vector<ReplicaLine>& replicas, const std::string& provider, double price);
TextTable batches_table(const std::vector<ReplicaLine>& replicas, std::int64_t uid);

// Says on `err` that no replica has shown itself lately: whatever is waited for will not come of itself.
void say_where_nobody_works(CliContext& context, Session& session);

}  // namespace homeostat
