// Ownership: one row a resource, with an epoch that grows with each change of owner.
//
// Time is the server's (clock_timestamp()), never ours: two replicas with different clocks agree. A lease is trusted locally
// only until a deadline counted from the start of the request that got it. Every write on behalf of a lease locks the row
// and compares the epoch inside the same transaction (hold_lease), so a takeover cannot slip in between. It is locked against a
// change of the epoch only: renewals do not wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

struct Lease {
    std::string resource;
    std::string holder;
    std::int64_t epoch = 0;
    std::int32_t timeline = 0;
};

// The lease where it was free, expired or ours already; nothing where somebody else holds it. A new owner's epoch is one more
// than the last; renewing one's own live lease keeps it.
Result<std::optional<Lease>> acquire_lease(Session& session, std::string_view resource, std::string_view holder,
                                           std::chrono::milliseconds ttl);

// Extends all of a holder's live leases in one statement and returns those that are still held; what is missing is lost.
Result<std::vector<Lease>> renew_leases(Session& session, std::string_view holder, std::chrono::milliseconds ttl);

// Of these resources, those that somebody else holds now, in one statement.
Result<std::vector<std::string>> foreign_leases(Session& session, std::string_view holder,
                                                const std::vector<std::string>& resources);

Status release_leases(Session& session, std::string_view holder);
// For a resource that will never be again: epochs would begin anew.
Status remove_lease(Session& session, std::string_view resource, std::string_view holder);

// Locks the epoch of the lease for the rest of the transaction, with what comes next in it, which throws StoreFailure of class
// fenced where the epoch moved on.
void hold_lease(Transaction& tx, std::string_view resource, std::int64_t epoch);

// The same for an epoch that was read under such a lock.
void check_epoch(std::string_view resource, std::int64_t found, std::int64_t epoch);

std::string pipeline_lease(std::int64_t uid);
// Nothing where it is a lease of another kind.
std::optional<std::int64_t> pipeline_of_lease(std::string_view resource);

}  // namespace homeostat
