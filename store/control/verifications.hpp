// What came of runs whose texts were embedded again (table homeostat.verification). Blocks; one thread a session.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/pg/session.hpp"

namespace homeostat {

struct Verification {
    std::int64_t uid = 0, run_id = 0;
    std::int64_t sample = 0;
    double worst = 0;  // cosine distance
    bool failed = false;
    std::string message;
};
void write_verification(Transaction& tx, const Verification& verification);
// The message of the last one, where it failed.
Result<std::optional<std::string>> failed_verification(Session& session, std::int64_t uid);
// As a person does it, with that reason; who resumes it says that it is right again.
void suspend_unverified(Transaction& tx, std::int64_t uid, std::string_view reason);

}  // namespace homeostat
