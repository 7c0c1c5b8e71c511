// Logs of the process: text for people or one JSON object a line, on stderr.
#pragma once

#include "controller/config/config.hpp"

namespace homeostat {

void set_up_log(const Settings& settings, bool colour);

}  // namespace homeostat
