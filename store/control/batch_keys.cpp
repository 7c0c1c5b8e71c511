// Whether a batch is still there, and which documents the open ones of a pipeline hold.
#include <fmt/format.h>

#include "store/control/batches.hpp"
#include "store/data/relation.hpp"
#include "store/data/sql_fragments.hpp"

namespace homeostat {

namespace {

const Statement kExists{"batch_exists",
                        "SELECT EXISTS (SELECT FROM homeostat.batch WHERE id = $1::bigint AND claim_token = $2::bigint)"};

}  // namespace

Result<bool> batch_exists(Session& session, const Batch& batch) {
    return guarded([&] { return session.exec(kExists, Params::of(batch.id, batch.token)).boolean(0, 0); });
}

}  // namespace homeostat
