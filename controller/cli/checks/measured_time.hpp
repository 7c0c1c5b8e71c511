// How long the built-in model takes here, where no run has shown it yet: a request to it is no request to an endpoint. One
// thread.
#pragma once

#include "controller/config/config.hpp"
#include "reconcilers/inspect/observation.hpp"

namespace homeostat {

// Where the minutes of the plan are assumed and `provider` is the built-in model, has it embed a few texts as long as the chunks
// would be, in about a second, and reckons with that. Changes nothing where it cannot.
void measure_time(const Settings& settings, const ProviderSpec& provider, Observation& observation);

}  // namespace homeostat
