// The standby on which sweeps observe, as `doctor` tells of it.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "controller/cli/checks/doctor_checks.hpp"
#include "store/pg/standby.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr const char* kSubject = "standby";
constexpr milliseconds kLook{20};
constexpr milliseconds kLongest{3'000};  // that a person is kept waiting

Check unusable(const std::string& why) {
    return {CheckHealth::warn, kSubject, "sweeps read database.url and not database.observe_url: " + why,
            "see docs/operating.md, Sweeps on a standby; or set database.observe_url empty"};
}

}  // namespace

Checks check_standby(Session& session, const ConnectOptions& primary, const Settings& settings) {
    if (settings.database_observe_url.empty()) return {};
    const auto standby = Session::connect(standby_options(primary, settings.database_observe_url));
    if (!standby) return {unusable(standby.error().message)};
    const Result<PrimaryMoment> moment = read_moment(session);
    if (!moment) return {unusable(moment.error().message)};
    const auto began = std::chrono::steady_clock::now();
    for (;;) {
        const Result<StandbyFacts> facts = look_at_standby(**standby, *moment);
        if (!facts) return {unusable(facts.error().message)};
        const auto took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began);
        if (facts->state == StandbyState::primary)
            return {{CheckHealth::ok, kSubject, "database.observe_url is the server of database.url"}};
        if (facts->state == StandbyState::caught_up)
            return {{CheckHealth::ok, kSubject, fmt::format("caught up within {} ms; sweeps are read there", took.count())}};
        if (facts->paused) return {unusable("its replay is paused")};
        if (took >= std::min(kLongest, settings.database_observe_max_lag))
            return {unusable(fmt::format("it has not caught up within {} ms", took.count()))};
        std::this_thread::sleep_for(kLook);
    }
}

}  // namespace homeostat
