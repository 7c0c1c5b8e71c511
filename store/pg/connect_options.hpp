// How a connection to PostgreSQL is made, and what of it is known to the server. Plain values.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace homeostat {

// A login that reads sources: those that a member of `role` has declared; everybody's where it is empty.
struct ReaderLogin {
    std::string role;
    std::string url;
    std::string problem;  // why there is no URL
    std::string setting;  // what names it: "database.reader_url", "database.readers, role \"search\""
};

// Which login reads a source: a place in ConnectOptions::readers, or the one that also writes.
struct SourceReader {
    int place = -1;
    bool apart() const noexcept { return place >= 0; }
    bool operator==(const SourceReader&) const = default;
};

struct ConnectOptions {
    std::string url;  // URI or key=value string; may name several hosts
    std::string application_name = "homeostat";
    std::uint32_t statement_timeout_ms = 30'000;
    std::uint32_t lock_timeout_ms = 5'000;
    std::uint32_t idle_timeout_ms = 5'000;  // of a transaction whose owner has stopped, before the server ends it
    std::uint32_t connect_timeout_s = 10;
    std::uint32_t answer_timeout_ms = 4'000;  // without a word, before it is asked after (store/pg/connection.hpp)
    std::stop_token abandon;  // requested: calls that wait end at once, as when the link breaks
    std::vector<ReaderLogin> readers;  // the first that fits reads; where none does, this login
    std::vector<std::string> trusted_owners;  // roles whose code may run where sources are read by this login
    // What it runs is not trusted: all that is pinned is pinned again before each statement, and nothing is prepared.
    bool reader = false;
    bool prepare = true;  // false behind a transaction-mode pooler that does not support it
};

// The server's end of a session: ends with it, and is no other one's. pid 0 where a pooler stands in between.
struct ServerSession {
    int pid = 0;
    std::int64_t started = 0;  // microseconds since 1970, by the server
    bool operator==(const ServerSession&) const = default;
};

}  // namespace homeostat
