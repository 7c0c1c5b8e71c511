// Declared objects as rows inside a transaction that may be taken back: what a declaration makes of them, and which of them carry
// labels. For `diff` and `apply --prune`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/resource.hpp"
#include "store/control/resources.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Each declared column as text, as the checks have brought it into canonical form; durations as milliseconds, "300000ms".
using DeclaredValues = std::vector<std::pair<std::string, std::optional<std::string>>>;
// Nothing where no living object has this name.
Result<std::optional<DeclaredValues>> read_declared(Transaction& tx, ResourceKind kind, std::string_view name);

struct LabelledObject {
    ResourceKind kind = ResourceKind::pipeline;
    std::int64_t uid = 0;
    std::string name;
    StringMap labels;
};
// All living objects that people declare: not the pipelines of target views. In the order in which they can be deleted.
Result<std::vector<LabelledObject>> list_labelled(Transaction& tx);

Status delete_declared(Transaction& tx, ResourceKind kind, std::int64_t uid);

}  // namespace homeostat
