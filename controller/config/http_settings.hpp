// Whether the settings of http.* fit each other. Pure.
#pragma once

#include <string_view>

#include "controller/config/config.hpp"
#include "core/error.hpp"

namespace homeostat {

// Fails with a sentence: an address that is none, a login for actions that anybody could use, and in profile production a port
// that is reached from elsewhere without a token.
Status check_http(const Settings& settings, std::string_view profile);

}  // namespace homeostat
