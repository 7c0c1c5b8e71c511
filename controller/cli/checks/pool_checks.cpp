// What the replicas last said of their connections to the database, as `doctor` tells it.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "controller/cli/checks/doctor_checks.hpp"
#include "reconcilers/factory/synchronise.hpp"
#include "store/control/providers.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::json;

Check check_pools_of(const std::string& replica, const Json& pools) {
    Check check{CheckHealth::ok, fmt::format("pools of {}", replica), "", ""};
    for (const Json& p : pools) {
        const std::string name = p.value("name", "");
        const int size = p.value("size", 0);
        const int in_use = p.value("inUse", 0);
        const int waiting = p.value("waiting", 0);
        check.said += fmt::format("{}{}: {} of {} in use, {} idle, {} waiting, {} broken so far", check.said.empty() ? "" : "; ",
                                  name, in_use, size, p.value("idle", 0), waiting, p.value("broken", 0));
        // A moment's queue is none.
        if (waiting <= size) continue;
        check.health = CheckHealth::warn;
        check.fix = fmt::format("raise database.{}_connections", name);
    }
    return check;
}

}  // namespace

Checks check_pools(Session& session) {
    const Result<std::vector<ReplicaLine>> replicas = list_replicas(session);
    if (!replicas) return {{CheckHealth::warn, "pools", replicas.error().message, ""}};
    Checks out;
    for (const ReplicaLine& r : *replicas) {
        if (r.silent_for > kReplicaSilent) continue;
        const Json said = Json::parse(r.snapshot, nullptr, false);
        if (said.is_object() && said.contains("pools")) out.push_back(check_pools_of(r.id, said["pools"]));
    }
    return out;
}

}  // namespace homeostat
