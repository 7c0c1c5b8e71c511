// What is there, where no connection could be made: for the sentence that tells a person what to do now. Decided by how the
// server behaves when it is asked once more, never by libpq's words. Any thread; blocks for a few seconds at most.
#pragma once

#include <cstdint>
#include <string>

namespace homeostat {

enum class Reach : std::uint8_t {
    silent,     // nothing answers there as PostgreSQL does
    starting,   // a server that takes nobody just now
    other_tls,  // a server that answers, but not with this sslmode
    read_only,  // a server that lets in, and takes no writes: a standby
    refusing    // a server that answers: it is the role, the password, the database or its pg_hba.conf
};

Reach reach_of(const std::string& url);

}  // namespace homeostat
