// Revisions as a person sees and asks for them: what each is and holds, and the requests (control columns of homeostat.pipeline)
// that the controller carries out. What may not be asked is refused by the database itself (migration 0040), with its sentence.
// One session at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class RevisionStanding : std::uint8_t {
    filling,  // is built beside the one that is served
    serving,
    kept,     // was served, and can be again
    aborted   // was stopped before it was whole
};
std::string_view to_string(RevisionStanding s) noexcept;

// How far the run has come that fills a revision.
struct FillProgress {
    std::int64_t written = 0;  // documents
    std::optional<std::int64_t> of;  // as many as the source has; absent = not counted yet
    std::int64_t tokens = 0;   // paid
    double seconds = 0;        // since the run began
    double price = 0;          // of a million tokens, as who fills it declares it; 0 = none is
    std::string currency;
    std::optional<double> cost() const;  // of what is paid; absent = no price is declared
    std::optional<double> cost_left() const;  // at the pace so far; absent = not known yet
    std::optional<double> seconds_left() const;  // at the pace so far; absent = not known yet
};

struct RevisionLine {
    std::int32_t number = 0;
    RevisionStanding standing = RevisionStanding::kept;
    RevisionSettings settings;
    bool pinned = false;
    bool dropping = false;
    std::optional<std::int64_t> documents, chunks;  // of one that is not served as PostgreSQL's statistics have them
    std::int64_t bytes = 0;  // tables, indexes and journal
    std::optional<WallTime> created, served, retired;
    std::optional<FillProgress> fill;
    std::string why;  // what it has otherwise than the one before
};
Result<std::vector<RevisionLine>> list_revision_lines(Session& session, std::int64_t uid);  // ascending

struct RevisionPin {
    std::int32_t revision = 0;
    std::string by;
    std::string reason;  // "" where none was given
    std::optional<WallTime> since;
};
Result<std::optional<RevisionPin>> read_revision_pin(Session& session, std::int64_t uid);

// Serves that revision from the next pass on, whatever is declared, until the pipeline is resumed.
Status pin_revision(Session& session, std::int64_t uid, std::int32_t revision, const std::optional<std::string>& reason);
Status ask_to_drop_revision(Session& session, std::int64_t uid, std::int32_t revision);

}  // namespace homeostat
