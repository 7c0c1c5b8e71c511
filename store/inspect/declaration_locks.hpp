// Who holds up everybody's declarations and healing by a lock on a table of ours: a declarer may write there, and so lock it.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct DeclarationLock {
    std::string holder;  // "PID 7 (psql, role bob), whose transaction began 60 s ago and holds ... on homeostat.pipeline"
    std::string pid;
    std::string role;    // quoted
    bool rows = false;   // of some rows alone, not of the table
    bool readers = false;  // keeps out who only reads, too
};

// Transactions of others that are some seconds old and lock a table of schema homeostat, or rows of the declarations; the oldest
// first. Reads no table of ours, so it waits for none of them. Blocks for one round trip.
Result<std::vector<DeclarationLock>> declaration_locks(Session& session);

}  // namespace homeostat
