// Who reads a source: of the logins that only read (ConnectOptions::readers), the first whose role the role that declared it is,
// or is a member of; a login without a role reads for everybody. Where none fits the login that also writes reads, and
// refuse_untrusted_code says what may run. Where a superuser has declared, membership is what was granted, not what he may.
//
// It is looked up wherever a source is inspected, and stays with its shape: declared_by, memberships and roles are part of what
// read_target_marks compares, so a change of any has the source inspected anew. They throw StoreFailure and cost no statement
// where no login is there, or one for everybody.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

// Of a pipeline or a target view; one that is not there yet is its to be who asks.
SourceReader reader_of_pipeline(Transaction& tx, std::int64_t uid);
SourceReader reader_of_target_view(Transaction& tx, std::int64_t uid);

// What `doctor` asks of one: its role as the server names it, or why it reads nothing. A role of the settings that is not there
// declares nothing, so what is meant for its reader is read by the next that fits.
struct ReaderReport {
    ReaderLogin login;
    std::string role;  // "" where it does not log in, or may do more than read
    std::string problem;
    bool unknown_role = false;
};
Result<std::vector<ReaderReport>> try_readers(Session& session);

}  // namespace homeostat
