#include "controller/cli/text/waiting.hpp"

#include <fmt/core.h>

#include "controller/cli/text/activity.hpp"
#include "controller/cli/text/interruption.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::milliseconds kBetween{100};

}  // namespace

int wait_until_answered(CliContext& context, Session& session, std::optional<std::chrono::milliseconds> timeout,
                        const std::string& given_up, const Glance& look) {
    const Interruption interruption;
    const auto began = std::chrono::steady_clock::now();
    for (bool first = true;; first = false) {
        if (const std::optional<int> code = look()) return *code;
        if (first) say_where_nobody_works(context, session);
        const bool over = timeout && std::chrono::steady_clock::now() - began > *timeout;
        if (!over && interruption.pause(kBetween)) continue;
        context.streams.err << fmt::format("homeostat: {}\n", given_up);
        return kExitDifferences;
    }
}

}  // namespace homeostat
