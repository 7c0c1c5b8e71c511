#include "store/data/metadata_slots.hpp"

#include <fmt/format.h>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kAsKnown{
    "revision_slots_as_known",
    "SELECT r.metadata_slots = $3::text[] FROM homeostat.revision r WHERE r.uid = $1::bigint AND r.revision ="
    " $2::int"};

}  // namespace

void check_metadata_slots(Transaction& tx, const Revision& revision) {
    tx.later(kAsKnown, Params::of(revision.tables.uid, revision.number, format_text_array(revision.tables.metadata_slots)),
             [number = revision.number](const Rows& rows) {
                 if (!rows.empty() && rows.boolean(0, 0)) return;
                 Error error = fenced(fmt::format("revision {} has other columns for metadata now", number));
                 error.code = kOtherSlots;
                 throw StoreFailure(std::move(error));
             });
}

}  // namespace homeostat
