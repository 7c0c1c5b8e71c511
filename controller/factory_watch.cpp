#include "controller/factory_watch.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "controller/seen_replica.hpp"
#include "store/control/migrator.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

constexpr Duration kBetween = std::chrono::seconds(5);
constexpr const char* kType = "FactoryConflict";

// Another process told of it: what, is not known.
constexpr const char* kToldBefore = "told before";

}  // namespace

FactoryConflict factory_conflict(const std::vector<Conflict>& conflicts, const std::string& provider) {
    FactoryConflict out;
    out.condition = {
        .type = kType, .status = "False", .reason = "Agrees", .message = "", .observed_generation = 0, .last_transition = {}};
    for (const Conflict& c : conflicts) {
        if (c.reason.empty() || (!c.provider.empty() && c.provider != provider)) continue;
        if (out.signature.empty()) {
            out.condition.status = "True";
            out.condition.reason = c.reason;
        } else {
            out.condition.message += ". ";
        }
        out.condition.message += conflict_text(c);
        out.signature += fmt::format("{} {}\n", c.reason, c.where);
    }
    return out;
}

// What a replica says of its clock is as old as the statement was that said it: on a machine that is very slow, or behind a lock,
// it seems to be slow. So a clock is behind by no more than it was in either of two reports.
std::vector<SeenReplica> FactoryWatch::seen(const std::vector<ReplicaLine>& lines, const std::vector<ProviderSpec>& declared) {
    std::vector<SeenReplica> out;
    std::map<std::string, Heard> heard;
    for (const ReplicaLine& line : lines) {
        SeenReplica& r = out.emplace_back(seen_replica(line, declared));
        Heard& h = heard[line.id] = heard_[line.id];
        if (h.ahead != r.clock_ahead) h = {.ahead = r.clock_ahead, .before = h.ahead};
        if (r.clock_ahead.count() < 0) r.clock_ahead = std::max(r.clock_ahead, h.before);
    }
    heard_ = std::move(heard);
    return out;
}

Status FactoryWatch::look(Session& session, const Owned& owned) {
    const SteadyTime now = clock_.steady_now();
    if (now < next_) return {};
    next_ = now + kBetween;
    std::erase_if(told_, [&](const auto& entry) { return !owned.contains(entry.first); });
    const Result<std::vector<ReplicaLine>> lines = list_replicas(session);
    if (!lines) return lines.error();
    const Result<std::vector<ProviderSpec>> declared = list_providers(session);
    if (!declared) return declared.error();
    const std::vector<Conflict> conflicts = synchronise(seen(*lines, *declared), *declared, newest_migration(), 0);
    const bool any = std::any_of(conflicts.begin(), conflicts.end(), [](const Conflict& c) { return !c.reason.empty(); });
    std::vector<std::int64_t> uids;
    for (const auto& [uid, epoch] : owned) {
        const auto told = told_.find(uid);
        if (any || told == told_.end() || !told->second.empty()) uids.push_back(uid);
    }
    if (uids.empty()) return {};
    const Result<std::vector<PipelineUse>> uses = list_pipeline_uses(session, uids, kType);
    if (!uses) return uses.error();
    for (const PipelineUse& use : *uses) {
        const Status done = tell(session, use, owned.at(use.uid), conflicts);
        // The next look tries again, where it is still ours.
        if (!done) spdlog::debug("conflicts of pipeline {}: {}", use.uid, done.error().message);
    }
    return {};
}

Status FactoryWatch::tell(Session& session, const PipelineUse& use, std::int64_t epoch, const std::vector<Conflict>& conflicts) {
    const auto [told, fresh] = told_.try_emplace(use.uid, use.told ? kToldBefore : "");
    const FactoryConflict now = factory_conflict(conflicts, use.provider);
    if (told->second == now.signature) return {};
    const Result<bool> written = tell_condition(session, use.uid, epoch, now.condition, fmt::format("report-{}", use.uid));
    if (!written) return written.error();
    if (*written) told->second = now.signature;
    return {};
}

}  // namespace homeostat
