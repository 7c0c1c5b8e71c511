// Who has suspended something, why, since when and until when. Only reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/clock.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// What it is beside a pause: that is undone by resuming it, and by nothing else.
enum class Pin : std::uint8_t { none, rollback };

struct Suspension {
    std::string by;
    std::string reason;  // "" where none was given
    std::optional<WallTime> since;
    std::optional<WallTime> until;  // it resumes by itself then
    Pin pin = Pin::none;
};
// Of a pipeline; nothing where it is not suspended.
Result<std::optional<Suspension>> read_suspension(Session& session, std::int64_t uid);

}  // namespace homeostat
