// Documents that one revision has and another has not: what searches lose where the other takes over.
#pragma once

#include <cstdint>
#include <string>

#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct LeftBehind {
    std::int64_t documents = 0;
    std::string plan;  // names this very set; "" where there are none
};

// Reads the keys of both. Where they name their documents by other columns, how many fewer `next` has. Blocks; one thread a
// session.
Result<LeftBehind> left_behind(Session& session, const Revision& served, const Revision& next);

}  // namespace homeostat
