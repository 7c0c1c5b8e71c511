#include "controller/freshness_watch.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

#include "store/control/reports.hpp"

namespace homeostat {

namespace {

constexpr Duration kBetween = std::chrono::seconds(30);
constexpr const char* kType = "Fresh";

std::string seconds(Millis age) { return fmt::format("{:.1f} s", std::chrono::duration<double>(age).count()); }

std::string known_by(const Staleness& f) {
    if (f.evidence == Evidence::feed)
        return f.age->count() == 0 ? "nothing that the change feed has named waits"
                                   : fmt::format("the oldest change that waits was named {} ago", seconds(*f.age));
    return fmt::format("the last sweep that left nothing began {} ago", seconds(*f.age));
}

}  // namespace

std::optional<Condition> fresh_condition(const Staleness& f) {
    const auto made = [](const char* status, const char* reason, std::string message) {
        return Condition{.type = kType,
                         .status = status,
                         .reason = reason,
                         .message = std::move(message),
                         .observed_generation = 0,
                         .last_transition = {}};
    };
    if (!f.promised) {
        if (f.told_status.empty() || f.told_reason == "NoPromise") return std::nullopt;
        return made("Unknown", "NoPromise", "max_staleness is not declared");
    }
    if (f.evidence == Evidence::none || !f.age)
        return made("Unknown", "NoEvidence",
                    "nothing says how old what is served is: no sweep over it has left nothing to be healed, and no change feed "
                    "follows it");
    const bool fresh = *f.age <= *f.promised;
    return made(fresh ? "True" : "False", fresh ? "WithinPromise" : "TooOld",
                fmt::format("{}; at most {} is promised", known_by(f), seconds(*f.promised)));
}

Status FreshnessWatch::look(Session& session, const Owned& owned) {
    std::erase_if(told_, [&](const auto& entry) { return !owned.contains(entry.first); });
    const SteadyTime now = clock_.steady_now();
    const bool all = now >= next_all_;
    if (all) next_all_ = now + kBetween;
    const Result<std::vector<Staleness>> facts = read_staleness(session, all);
    if (!facts) return facts.error();
    for (const Staleness& f : *facts) {
        const auto epoch = owned.find(f.uid);
        if (epoch == owned.end()) continue;
        if (f.age) {
            metrics_
                .gauge("homeostat_staleness_seconds",
                       "How old what is served may be: all that was committed longer ago is served. Not there where nothing is "
                       "known.",
                       {{"pipeline", f.name}})
                .set(std::chrono::duration<double>(*f.age).count());
        }
        metrics_.gauge("homeostat_staleness_known", "Whether it is known how old what is served may be.", {{"pipeline", f.name}})
            .set(f.age ? 1 : 0);
        metrics_
            .gauge("homeostat_max_staleness_seconds",
                   "How old it may be by its declaration (maxStaleness); 0 where nothing is promised.", {{"pipeline", f.name}})
            .set(f.promised ? std::chrono::duration<double>(*f.promised).count() : 0);
        if (const Status done = tell(session, f, epoch->second); !done)
            spdlog::debug("freshness of pipeline \"{}\": {}", f.name, done.error().message);
    }
    return {};
}

// An age grows all the time: it is told again when it has doubled, or is less than half.
Status FreshnessWatch::tell(Session& session, const Staleness& f, std::int64_t epoch) {
    const std::optional<Condition> now = fresh_condition(f);
    if (!now) return {};
    const auto told = told_.find(f.uid);
    const Millis age = f.age.value_or(Millis(0));
    const bool same = now->status == f.told_status && now->reason == f.told_reason && told != told_.end() &&
                      age <= 2 * told->second + std::chrono::seconds(10) && 2 * age + std::chrono::seconds(10) >= told->second;
    if (same) return {};
    const Result<bool> written = tell_condition(session, f.uid, epoch, *now, fmt::format("report-{}", f.uid));
    if (!written) return written.error();
    if (*written) told_[f.uid] = age;
    return {};
}

}  // namespace homeostat
