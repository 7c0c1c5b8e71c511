// What the controller does and did, as rows for people and programs: events, runs, replicas, batches, revisions, leases, dead
// letters, checkpoints. One shape for all of them, since whoever lists them shows columns and reckons with none. Only reads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

enum class ListingKind : std::uint8_t { event, run, replica, batch, revision, lease, dead_letter, checkpoint };

enum class ListingType : std::uint8_t { text, number, time };

struct ListingColumn {
    std::string_view name;  // as in JSON: camelCase
    ListingType type = ListingType::text;
    bool wide = false;  // only where all there is to say was asked for
};
// The first column names the row, the second what it is about: pipeline/docs, or "" where it is about nothing declared.
std::span<const ListingColumn> listing_columns(ListingKind kind);

using ListingRow = std::vector<std::optional<std::string>>;  // times as microseconds since 1970

// The newest `limit` of them, oldest first. `names`: only rows of that name or about an object of that name; none = all.
Result<std::vector<ListingRow>> read_listing(Session& session, ListingKind kind, const std::vector<std::string>& names,
                                             int limit);

}  // namespace homeostat
