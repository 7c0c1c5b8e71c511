// Where a connection string leads, for people: never with what it says of passwords. Pure; safe from any thread.
#pragma once

#include <string>

namespace homeostat {

struct DatabasePlace {
    std::string host;  // several with commas between; "local" for a socket of this machine
    std::string port;
    std::string database;
    std::string text() const;  // host:port/database
};

// As libpq would take it, with PG* variables and its own defaults. What it cannot read leaves parts empty.
DatabasePlace database_place(const std::string& url);

}  // namespace homeostat
