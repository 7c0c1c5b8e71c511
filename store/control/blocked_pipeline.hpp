// How one pipeline is named among what claim_batches() and suspects_wait() leave alone (`blocked`): its batches that embed
// something are not claimed. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace homeostat {

// No name of a provider begins like that.
inline std::string blocked_pipeline(std::int64_t uid) { return "\npipeline " + std::to_string(uid); }

}  // namespace homeostat
