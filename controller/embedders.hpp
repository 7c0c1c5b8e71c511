// The one place that knows which kinds of provider there are.
#pragma once

#include <boost/asio/any_io_executor.hpp>

#include "controller/config/config.hpp"
#include "core/clock.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/gateway/gateway.hpp"

namespace homeostat {

// Where embedders wait and compute.
struct EmbedderExecutors {
    boost::asio::any_io_executor io;
    boost::asio::any_io_executor cpu;
    boost::asio::any_io_executor quick;  // for what somebody may wait for (inprocess.hpp); none: `cpu`
};

// The built-in model is read when first asked for, and once. What it refers to outlives every embedder it makes. Safe from any
// thread.
EmbedderMaker make_embedder_maker(const Settings& settings, EmbedderExecutors on, const Clock& clock, Telemetry telemetry);

}  // namespace homeostat
