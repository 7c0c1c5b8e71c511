// The one place that knows which kinds of provider there are.
#pragma once

#include <boost/asio/any_io_executor.hpp>

#include "controller/config/config.hpp"
#include "core/clock.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/gateway/gateway.hpp"

namespace homeostat {

// Makes embedders that do their waiting on `io` and their computing on `cpu`. The built-in model is read when first asked for,
// and once. What it refers to outlives every embedder it makes. Safe from any thread.
EmbedderMaker make_embedder_maker(const Settings& settings, boost::asio::any_io_executor io, boost::asio::any_io_executor cpu,
                                  const Clock& clock, Telemetry telemetry);

}  // namespace homeostat
