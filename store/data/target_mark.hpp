// Whether what was once read of a target (pipeline, revision, provider, source as the catalog has it) would be read the same
// again: a short text for each, equal as long as nothing of it has changed. Many are read with one statement.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct TargetName {
    std::int64_t uid = 0;
    std::int32_t revision = 0;
};

// In the order of `targets`. Of a source, and of every relation that a view rests on: kind, name, owner and rights, columns with
// their types, unique indexes, the view's own text, who declared it and which roles are members of which; but nothing that
// VACUUM, TRUNCATE or writing changes. What it does not tell of: operator classes.
Result<std::vector<std::string>> read_target_marks(Session& session, const std::vector<TargetName>& targets);

}  // namespace homeostat
