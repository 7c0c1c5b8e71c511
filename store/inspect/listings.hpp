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

// Where a page ends: what is there then may come and go, and the next page still begins behind it.
struct ListingPlace {
    std::int64_t moment = 0;  // microseconds since 1970
    std::int64_t number = 0;
    std::string name;
    std::string about;  // the object's name without its kind
};
struct ListingPage {
    std::vector<ListingRow> rows;  // newest first
    std::optional<ListingPlace> next;  // none where nothing is older
};
struct ListingWanted {
    std::vector<std::string> names;  // as of read_listing
    std::string reason;              // of events, only those; "" = any
    int limit = 100;
    std::optional<ListingPlace> after;
};
Result<ListingPage> read_listing_page(Session& session, ListingKind kind, const ListingWanted& wanted);

}  // namespace homeostat
