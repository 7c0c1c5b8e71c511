// timestamptz in text form, both ways, for sessions whose DateStyle is ISO. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/clock.hpp"

namespace homeostat {

std::string format_timestamp(WallTime t);           // 2026-11-21T03:04:05.123456Z
WallTime parse_timestamp(std::string_view text);    // "2026-11-21 03:04:05.123+01"; throws StoreFailure where it is none

}  // namespace homeostat
