// What a claimed batch still names. The row of a batch loses keys, those of documents that were erased meanwhile (erasures.hpp),
// and nothing else ever changes them. Its claimant finds that out by the fence of its write (fence_batch), asks here which are
// left, and writes nothing of the others.
#pragma once

#include <string_view>
#include <vector>

#include "store/control/batches.hpp"

namespace homeostat {

// Of the error of a fence: the row names fewer documents than the claimant's batch does. Of class fenced, as for whoever does not
// ask which are left there is nothing to be written.
inline constexpr std::string_view kKeysTaken = "KeysTaken";

// Of class fenced where the claim is no longer ours.
Result<std::vector<Key>> named_keys(Session& session, const Batch& batch);

// The batch names these from now on, which are some of what it named; its claim stays as it is. The caller holds its row. Throws
// StoreFailure.
void keep_keys(Transaction& tx, std::int64_t id, const std::vector<Key>& keys);

}  // namespace homeostat
