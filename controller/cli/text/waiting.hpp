// How a command waits for what it has asked the controller for. It looks again and again; a signal or its timeout ends the wait
// and not what was asked for. One thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "controller/cli/text/context.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// The exit code once it has come to be, or was refused; nothing while it has not. What it prints is printed once.
using Glance = std::function<std::optional<int>()>;

// Says where no replica works (activity.hpp), and, where the wait ends before that has come to be, `given_up` on `err`, with exit
// code 1. Without a timeout it waits as long as it takes.
int wait_until_answered(CliContext& context, Session& session, std::optional<std::chrono::milliseconds> timeout,
                        const std::string& given_up, const Glance& look);

}  // namespace homeostat
