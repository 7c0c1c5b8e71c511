// The status of a pipeline as it is now rather than as it was last written: also where no controller runs that would correct it.
#pragma once

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

Result<PipelineStatus> read_true_status(Session& session, const PipelineSpec& pipeline);

}  // namespace homeostat
