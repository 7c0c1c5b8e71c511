// The replicas as rows: who lives, who has died, and what becomes of that one's claims and leases.
//
// A replica that died is known by what ends with it: its process, where that can be looked for (same machine, same process
// numbers), or its database session. Where neither tells, behind a pooler or after a restart of the database that ended all
// sessions alike, one that has not said that it lives for a lease's length has its claims returned, and that is no death: its
// batches are not blamed. Fences make an early rescue safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// A process as others may look for it.
struct ProcessMark {
    std::string host;
    int pid = 0;
    std::string space;       // the running system and its process numbers; "" where it is not known
    std::int64_t start = 0;  // of the process, in the system's own count
    bool operator==(const ProcessMark&) const = default;
};
ProcessMark this_process();
// Whether it has ended, for a mark of the same space.
bool process_ended(const ProcessMark& mark);

// The row of this replica, with the session that lives as long as it does. What a predecessor of that name held is returned as
// of one that died, where it is another process.
Status register_replica(Session& session, const std::string& replica, const ProcessMark& mark);
// It ends by its own will, and its row with it. What it could not give back is free in the same transaction: without a row nobody
// would find that it is nobody's. Nothing is done where another process has registered under that name since.
Status retire_replica(Session& session, const std::string& replica, const ProcessMark& mark);

struct ReplicaSight {
    std::string id;
    ProcessMark mark;
    ServerSession server;
    bool session_ended = false;  // while the server went on
    bool silent = false;  // has not said that it lives for `patience`
};
// Says that `replica` lives, and looks at the others that have neither retired nor died. An error of class fenced where it was
// taken for dead itself, and has to register again.
Result<std::vector<ReplicaSight>> look_at_replicas(Session& session, const std::string& replica,
                                                   std::chrono::milliseconds patience);

// It has died: claims and leases are free at once. The only batch it had in flight is blamed; where it had several, each is
// marked; where it was not one alone, whoever is blamed already and was not with it is cleared. Returns how many batches are
// back; 0 too where another replica was faster or it lives again.
Result<int> rescue_from(Session& session, const ReplicaSight& dead);
// Claims of replicas that are silent, and those that expired, without blame. Returns how many.
Result<int> rescue_silent(Session& session, std::chrono::milliseconds patience);

// Claims of this replica that it does not know: their end was lost in a crash of the server. Those younger than some seconds may
// be on their way to it. Returns how many.
Result<int> return_forgotten(Session& session, const std::string& replica, const std::vector<std::int64_t>& tokens,
                             std::chrono::milliseconds ttl);

// Whether the database takes writes that need room; leaves nothing behind.
Status probe_writes(Session& session);

}  // namespace homeostat
