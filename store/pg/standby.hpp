// A physical standby of the database, as seen beside its primary: by which address it is reached, and whether what it shows is
// what the primary has.
//
// Whatever a standby shows may be old. It counts only where the standby is one of this primary's, on its timeline, and has
// replayed all that the primary had written at a moment of which the caller knows: each snapshot that it takes from then on is
// one that the primary could have given at that moment, or later.
#pragma once

#include <string>

#include "store/pg/session.hpp"

namespace homeostat {

// How to connect to the standby at `url` in place of the primary: as whoever `url` names, and where sources are read by a login
// of their own (readers), as that one at the place that `url` names.
ConnectOptions standby_options(ConnectOptions primary, const std::string& url);

// What of the primary a standby is compared with.
struct PrimaryMoment {
    std::string written;      // all that anybody sees in it ends before this place in the WAL
    std::string system;       // of the cluster, whichever server it is on
    std::string timeline;
    std::string started;      // the server, by its own clock
    std::string database;
    std::string role;
    std::string collations;   // the versions of the libraries that sort
};
Result<PrimaryMoment> read_moment(Session& primary);

enum class StandbyState : std::uint8_t { behind, caught_up, primary };  // primary: it is that very server

struct StandbyFacts {
    StandbyState state = StandbyState::behind;
    std::string started;  // the server; it is asked again in the snapshot (still_standby)
    bool paused = false;  // its replay
};
// Errors with code kStandbyRefused: it is none of that primary's, and why.
Result<StandbyFacts> look_at_standby(Session& standby, const PrimaryMoment& moment);
inline constexpr std::string_view kStandbyRefused = "StandbyRefused";

// The first statement of a snapshot on a standby that has caught up: that this is the server that was looked at, and that it was
// no primary yet when the snapshot was taken.
Status still_standby(Transaction& tx, const StandbyFacts& facts);

}  // namespace homeostat
