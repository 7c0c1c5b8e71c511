// What a pipeline needs of the roles around it, as statements for whoever may grant it. Only reads. One thread a session.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/lineage.hpp"
#include "store/data/source_facts.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct PipelineGrant {
    std::string role;  // quoted
    std::string why;   // "reads the source"
    std::string sql;   // GRANT ..., without a semicolon
    bool there = false;
};
// Of the role that runs homeostat, of the one that declared the pipeline, and of `searcher` where one is named, in this order.
// Where a login of its own reads the source, the right to read it is not asked of the role that runs. `tables`: whose changes are
// captured. Fails with class not_found where `searcher` is no role, or the source is not there.
Result<std::vector<PipelineGrant>> pipeline_grants(Transaction& tx, const PipelineSpec& spec, const UsedColumns& used,
                                                   const std::vector<std::string>& tables,
                                                   const std::optional<std::string>& searcher);

}  // namespace homeostat
