// A source may show each role something else: what the server tells of itself, a view over current_user, a foreign table with a
// user mapping each, a policy. Read by another login than its declarer it would show the declarer what it may not see.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "store/pg/session.hpp"

namespace homeostat {

// What is declared: its row in homeostat.pipeline or homeostat.target_view; who declared that is whose eyes count.
struct DeclaredIn {
    std::string_view table;
    std::int64_t uid = 0;  // 0: not yet there, so whoever looks declares it
    std::string subject;   // begins the sentence
};

// Throws StoreFailure (db_permanent, kRightOfAnother) with a sentence that names the first object that tells who looks, where the
// login that reads is not trusted by the declarer's being it, a superuser, the owner of our schema or one of
// ConnectOptions::trusted_owners. A reader of its own is not looked at: what it may read is what may be read for whom it reads.
// Costs one statement; reads the catalog only.
void refuse_what_tells_who_looks(Transaction& tx, SourceReader reader, const DeclaredIn& declared, const std::string& relation);

// The same of a policy that chooses rows for `reader` (the role that reads, of its own or not) and would choose others for the
// declarer. For sources that accept that a policy chooses.
void refuse_policy_for_others(Transaction& tx, const DeclaredIn& declared, const std::string& relation,
                              const std::string& reader);

}  // namespace homeostat
