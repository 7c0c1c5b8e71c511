// What a server and its grants are like, asked for a person who wants to know whether homeostat can work here. Only reads, but
// for one notification to itself. Needs no schema of ours unless it says so. One thread a session.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

struct ServerFacts {
    std::string version;
    std::int64_t version_number = 0;    // 150004
    bool in_recovery = false;
    bool read_only = false;
    std::int64_t timeline = 0;
    std::string database;
    std::string role;
    bool superuser = false;
    std::int64_t max_connections = 0;   // that an ordinary role may use
    std::int64_t connections = 0;       // in use now
    double clock = 0;                   // seconds since 1970 by the server's clock
    std::optional<std::string> vector;  // version of the extension in this database
    std::optional<std::string> vector_available;
};
Result<ServerFacts> read_server_facts(Session& session);

// What holds back vacuum, and the disk.
struct HorizonFacts {
    std::int64_t oldest_snapshot_age = 0;  // in transactions
    std::string held_by;                   // a process, a slot, a prepared transaction
    std::int64_t freeze_age = 0;           // of the oldest database
    std::int64_t retained_wal = 0;         // bytes kept for the slot furthest behind; 0 = none
    std::string slot;
};
Result<HorizonFacts> read_horizon_facts(Session& session);

// A right that the current role lacks, and the statement that gives it. Needs our schema.
struct MissingRight {
    std::string what;
    std::string fix;
    std::string pipeline;  // "" = every one
};
Result<std::vector<MissingRight>> missing_rights(Session& session);

// Why the login of this session is as strong as the server itself: "role "x" is a superuser", "role "x" is a member of
// role "y", a superuser"; "" where it is not. Whom it was set to (SET ROLE) makes no difference: that is undone in a word.
Result<std::string> unbounded_login(Session& session);

// Of the three group roles, those that do not exist.
Result<std::vector<std::string>> missing_roles(Session& session);

// Of what was made in homeostat_data, that which does not belong to the group of controllers, though there is one: the login that
// owns it cannot leave, and another cannot alter it. None where there is no such group.
struct ForeignOwner {
    std::string owner;
    std::int64_t objects = 0;
    std::string example;  // one of them
    std::string fix;  // a statement for the owner, if a member of the group, or a superuser
};
Result<std::vector<ForeignOwner>> foreign_owners(Session& session);

// From sending a notification on one connection to its arrival on another; nothing where it did not come within two seconds.
Result<std::optional<std::chrono::microseconds>> notification_trip(const ConnectOptions& options, const std::string& token);

}  // namespace homeostat
