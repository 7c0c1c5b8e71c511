#include "reconcilers/pipeline/sweep_standby.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kFirstLook{5};
constexpr milliseconds kSlowestLook{100};
// The standby is tried again when that many times what it has cost to find out have passed.
constexpr int kPatience = 5;
constexpr milliseconds kShortestPause{2'000};
constexpr milliseconds kLongestPause{60'000};
// Of one source that fails there: an unlogged table, a right that has not come yet.
constexpr milliseconds kSourcePause{60'000};

std::string sufferer_of(std::int64_t uid) { return fmt::format("sweeps of pipeline {} on the standby", uid); }

// A query of ours met what the standby had to replay: that passes, and says nothing about the standby.
bool conflicted(const Error& e) { return e.code == "40001" || e.code == "40P01"; }

bool about_link(const Error& e) { return e.code.starts_with("08") || e.code.starts_with("57P"); }

}  // namespace

bool SweepStandby::held_off(std::int64_t uid) const {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    if (now < not_before_) return true;
    const auto of = not_before_of_.find(uid);
    return of != not_before_of_.end() && now < of->second;
}

Result<StandbyFacts> SweepStandby::catch_up(Session& standby, const Context& context) {
    Result<PrimaryMoment> moment = Error{};
    {
        Result<Pool::Lease> primary = primary_.acquire(context);
        // No fault of the standby's: whoever reads the primary next tells of it.
        if (!primary) return cancelled("the primary cannot be asked");
        moment = read_moment(**primary);
    }
    if (!moment) return moment.error().with_prefix("where database.url is cannot be told");
    const auto left = std::chrono::duration_cast<milliseconds>(context.deadline - clock_.steady_now());
    const auto give_up = std::chrono::steady_clock::now() + std::clamp(left, milliseconds(0), max_lag_);
    for (milliseconds pause = kFirstLook;; pause = std::min(pause * 2, kSlowestLook)) {
        Result<StandbyFacts> facts = look_at_standby(standby, *moment);
        if (!facts || facts->state != StandbyState::behind) return facts;
        const auto now = std::chrono::steady_clock::now();
        if (now >= give_up || facts->paused) {
            return Error{.cls = ErrorClass::unavailable,
                         .message = facts->paused ? "its replay is paused, and it lacks what database.url has"
                                                  : fmt::format("it did not replay within {} ms (database.observe_max_lag) what "
                                                                "database.url had",
                                                                max_lag_.count()),
                         .origin = Origin::theirs,
                         .code = "StandbyBehind"};
        }
        const Lock lock(mutex_);
        if (!stopped_.wait_until(mutex_, context.stop, std::min(now + pause, give_up)))
            return cancelled("stopped while waiting for the standby");
    }
}

bool SweepStandby::read(std::int64_t uid, const std::string& pipeline, const Context& context,
                        const std::function<Status(Transaction&)>& read) {
    if (held_off(uid)) return false;
    const SteadyTime since = clock_.steady_now();
    bool reading = false;
    const Status done = guarded([&]() -> Status {
        Result<Pool::Lease> session = standby_.acquire(context);
        if (!session) return session.error();
        Result<StandbyFacts> facts = catch_up(**session, context);
        if (!facts) return facts.error();
        Transaction tx = (*session)->begin(TxMode::read_snapshot);
        if (const Status still = still_standby(tx, *facts); !still) return still;
        reading = true;
        return read(tx);
    });
    if (!done) {
        if (done.error().cls != ErrorClass::cancelled) failed(uid, pipeline, done.error(), reading, since);
        return false;
    }
    faults_.over(sufferer_of(uid), clock_.steady_now());
    return true;
}

void SweepStandby::failed(std::int64_t uid, const std::string& pipeline, const Error& error, bool reading, SteadyTime since) {
    const SteadyTime now = clock_.steady_now();
    // What is wrong with the source is wrong on the primary, too, and told from there.
    const bool of_source = reading && !about_link(error);
    if (of_source && conflicted(error)) {
        faults_.met(sufferer_of(uid), fmt::format("standby conflict {}", uid),
                    fmt::format("pipeline \"{}\": a query on the standby (database.observe_url) was cancelled for what had to be "
                                "replayed, and its slice is read from database.url: {}",
                                pipeline, error.message),
                    now);
        return;
    }
    if (of_source) {
        faults_.met(
            sufferer_of(uid), fmt::format("standby source {}", uid),
            fmt::format("pipeline \"{}\": sweeps read database.url for now, for on the standby (database.observe_url) they "
                        "cannot: {}",
                        pipeline, error.message),
            now);
        const Lock lock(mutex_);
        not_before_of_[uid] = now + kSourcePause;
        return;
    }
    faults_.met(sufferer_of(uid), "standby " + error.code,
                fmt::format("sweeps read database.url for now, and not the standby (database.observe_url): {}", error.message),
                now);
    const auto lost = std::chrono::duration_cast<milliseconds>(now - since);
    const Lock lock(mutex_);
    not_before_ = std::max(not_before_, now + std::clamp(lost * kPatience, kShortestPause, kLongestPause));
}

}  // namespace homeostat
