// The settings of each part, from those of the process. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "controller/config/config.hpp"
#include "controller/config/run_mode.hpp"
#include "controller/trace_keeper.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/feed.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// `abandon`: requested, whoever waits for the database waits no longer.
ConnectOptions connection(const Settings& s, std::string name, const std::stop_token& abandon);
PipelineSettings pipeline_settings(const Settings& s, RunMode mode, SweepStandby* standby, std::function<void()> planned,
                                   AskAgain ask);
// What is declared, or half of what this process may use: the rest is for the program itself and for what cannot be counted.
std::uint64_t memory_budget(const Settings& s);
FactorySettings factory_settings(const Settings& s, bool once);
FeedSettings feed_settings(const Settings& s);
GatewaySettings gateway_settings(const Settings& s);
TraceKeeping trace_keeping(const Settings& s, ConnectOptions connection);
// Threads for what only computes.
unsigned cores(const Settings& s);
// Nothing where nothing is served.
std::optional<std::pair<std::string, std::uint16_t>> listen_address(const std::string& text);

}  // namespace homeostat
