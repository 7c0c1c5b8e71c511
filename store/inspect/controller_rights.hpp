// What the role that runs homeostat may do with a source, asked by anybody: so that a declarer learns what will be missing, and
// is not told of rights of his own that nobody needs. Only reads. One thread a session.
#pragma once

#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/lineage.hpp"
#include "store/data/source_facts.hpp"
#include "store/inspect/diagnosis.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ControllerRights {
    // The login of a replica that lives; else who asks, where it is a member of homeostat_controller; else that group; else who
    // asks.
    std::string role;
    bool asks = true;  // it is who asks
    bool declares = false;  // who asks has declared the pipeline: what that role may not read is read for nobody
    std::vector<MissingRight> missing;  // to read the columns that are used, and to serve the view
};
// Where a login of its own reads sources, what it may read is not asked here. Needs our schema.
Result<ControllerRights> read_controller_rights(Transaction& tx, const PipelineSpec& spec, const UsedColumns& used);
// Says of each table whether that role may make triggers on it.
Status note_trigger_rights(Transaction& tx, const std::string& role, Lineage& lineage);

}  // namespace homeostat
