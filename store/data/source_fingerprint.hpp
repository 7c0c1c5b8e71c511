// What decides, beside the rows themselves, which rows a source has and what they say: as the catalog has it, in a short text.
//
// Triggers name what a statement changes. They say nothing of a partition that is attached with its rows, of a child that
// inherits no longer, of a view or function that was replaced, of a policy, a column that was rewritten, or a subscription. Each
// of these changes a row of the catalog, and the fingerprint with it, even where in the end it says the same again: rows of the
// catalog are told by the transaction that wrote them. So a feed is complete only as long as the fingerprint is the same.
//
// What it does not report: bodies of functions that a function calls by a text of SQL, and what a foreign server does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// In the order of `uids`, of each pipeline's source and of the tables in its capture_from, with everything that these rest on;
// "" where nothing of it exists. Costs one statement. Throws StoreFailure.
std::vector<std::string> read_source_fingerprints(Transaction& tx, const std::vector<std::int64_t>& uids);

// Of the whole database: another one wherever any source's may be another, but for the columns of what a source that has no
// triggers rests on. Cheap enough to be asked for every second.
Result<std::string> read_catalog_fingerprint(Session& session);

}  // namespace homeostat
