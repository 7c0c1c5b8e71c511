// Whom homeostat may read sources as.
#pragma once

#include "controller/config/config.hpp"
#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Refuses (class invalid) a login that may do everything, unless another reads sources or the settings allow it: what whoever
// declares writes into a view or a function runs with the rights of who reads it.
Status check_login(Session& session, const Settings& settings);

}  // namespace homeostat
