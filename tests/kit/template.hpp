// The databases that tests are copied from, made once a cluster. Private to the kit.
#pragma once

#include <string>

#include "tests/kit/cluster.hpp"

namespace homeostat::kit {

// The name of the template for `schema`, which is made now if nobody has; safe against other processes that want it too.
std::string ensure_template(Schema schema, Cluster& cluster);

}  // namespace homeostat::kit
