// Dead letters of all pipelines as a person sees them: listed, and removed so that their documents are tried again. (One
// pipeline's, as its passes write and settle them: batches.hpp, drift.hpp.) Pipelines that are being deleted are left out.
//
// Session rules as everywhere in the store: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/control/batches.hpp"

namespace homeostat {

// All that are named here must hold; nothing named is every letter.
struct DeadLetterFilter {
    std::optional<std::string> pipeline;
    std::optional<Key> key;  // all its columns, as they are listed
    std::optional<std::string> cls;
};

struct DeadLetterLine {
    std::string pipeline;
    DeadLetter letter;  // without the content's hash
    WallTime since{};
};
struct DeadLetterList {
    std::vector<DeadLetterLine> lines;  // by pipeline, the latest first
    std::int64_t total = 0;             // of which `lines` are the first
};
Result<DeadLetterList> list_dead_letters(Session& session, const DeadLetterFilter& filter, std::int64_t limit);

// What the request for such a pass begins with. The pass finds documents that no feed should have named, as nobody edited them.
inline constexpr std::string_view kRetriesRefused = "dead-letters/";

// Removes the letters and asks for a pass over each pipeline that had any, in one statement; the next sweep finds their documents
// missing or stale again and plans them. Returns how many went, by pipeline in the order of names.
Result<std::vector<std::pair<std::string, std::int64_t>>> retry_dead_letters(Session& session, const DeadLetterFilter& filter);

}  // namespace homeostat
