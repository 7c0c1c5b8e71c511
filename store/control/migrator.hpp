// Brings the schema up or down through the numbered migrations that are compiled into the binary. One transaction a migration,
// under a transaction-scoped advisory lock, so that any number of replicas may start at once. Needs a direct connection.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

struct MigrationState {
    int number = 0;
    std::string name;
    std::optional<std::string> applied_at;
    bool known = true;  // false: applied by a newer binary than this one
};

int newest_migration();

// Both return how many migrations were applied or taken back. A migration that fails leaves the ones before it in place on the
// way up; on the way down nothing is taken back then.
Result<int> migrate_up(Session& session, std::optional<int> to = std::nullopt);
Result<int> migrate_down(Session& session, int to);
Result<std::vector<MigrationState>> migration_status(Session& session);
// The three group roles, where they are not there, and what they are granted in this database; changes nothing else. Wants a role
// that may create roles and owns the schemas.
Status make_roles(Session& session);

// 0 where nothing was ever migrated.
Result<int> schema_version(Session& session);

}  // namespace homeostat
