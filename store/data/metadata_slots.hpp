// Whether the columns for metadata are still those that a write was made for.
//
// A new declaration adds columns to tables in use, and what a replica knows of them may be some seconds old. A write by an older
// list would store a row's new version without its new metadata, and by its version the row would count as current.
#pragma once

#include <string_view>

#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

inline constexpr std::string_view kOtherSlots = "OtherSlots";

// To be sent after the write and before its commit: from the write on no column can be added until it has ended, and what was
// added before is seen here. What comes next throws StoreFailure of class fenced and code kOtherSlots where they are others.
void check_metadata_slots(Transaction& tx, const Revision& revision);

}  // namespace homeostat
