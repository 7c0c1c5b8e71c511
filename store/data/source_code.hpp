// Whose code reading a source runs: functions in views, policies, expressions of indexes and constraints, operators and casts of
// types. It would run with the rights of whoever reads, so it has to be of somebody who is trusted with those.
#pragma once

#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// Throws StoreFailure (db_permanent, 42501) with a sentence that begins with `subject` and names the first object that does not
// belong to a superuser, to this login, to the owner of our schema, or to one of ConnectOptions::trusted_owners. `columns` are
// those that are read: the types of others do not matter; none means all. Where the source is read apart, the reader runs what
// views and tables bring; types are still ours to handle, and are looked at. Costs one statement; reads the catalog only.
void refuse_untrusted_code(Transaction& tx, SourceReader reader, const std::string& subject, const std::string& relation,
                           const std::vector<std::string>& columns);

}  // namespace homeostat
