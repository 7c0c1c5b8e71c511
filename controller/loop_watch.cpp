// The watch: what is declared, what rests, and the upkeep of histories.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "controller/loop.hpp"
#include "store/control/leases.hpp"
#include "store/control/waiting.hpp"
#include "store/data/source_fingerprint.hpp"
#include "store/feed/feed.hpp"
#include "store/feed/rest.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kRestingAtOnce = 200;
// Some databases are altered all the time, by temporary tables alone.
constexpr std::chrono::seconds kBetweenAiling{3};

// Of a key whose pipeline is not as it was.
int priority_of(const Declared& before, const Declared& now) {
    if (before.requested != now.requested) return kPriorityRequested;
    Declared refreshed = before;
    refreshed.source_mark = now.source_mark;
    return refreshed == now ? kPriorityDrift : kPrioritySpec;
}

}  // namespace

void Loop::watch(const std::stop_token& stop) {
    int failures = 0;
    while (!stop.stop_requested()) {
        health_.tick();
        health_.looks();
        const Status looked = look();
        health_.set_ready(looked);
        if (!looked) {
            ++failures;
            // A schema that is not ours is told of by itself.
            if (looked.error().cls != ErrorClass::invalid)
                tell("the watch", looked.error(), "the database cannot be read: " + looked.error().message);
            if (settings_.once && failures >= kOnceFailures) give_up(looked.error());
        } else {
            failures = 0;
            well("the watch");
        }
        const Lock lock(mutex_);
        changed_.wait_until(mutex_, stop, std::chrono::steady_clock::now() + settings_.poll);
    }
}

Status Loop::look() {
    {
        const Lock lock(mutex_);
        if (!views_listed_) return {};  // a pipeline must not settle before its row has been read
    }
    Result<Pool::Lease> session = reads_.acquire(Context{});
    if (!session) return session.error();
    if (const Status fits = fits_schema(**session); !fits) return fits;
    Result<std::vector<Declared>> declared = read_declared(**session);
    if (!declared) return declared.error();
    health_.set_ready({});
    upkeep(**session);
    look_at_resting(**session);
    look_at_full_feeds(**session);
    const Lock lock(mutex_);
    for (const Declared& d : *declared) {
        const auto it = seen_.find(d.uid);
        if (it == seen_.end()) {
            // At start everything is looked at, oldest sweep first, with low urgency; what is new since is a spec change.
            queue_.add(d.uid, listed_ ? kPrioritySpec : kPriorityDrift);
        } else if (!(it->second == d)) {
            queue_.add(d.uid, priority_of(it->second, d));
        }
        seen_[d.uid] = d;
    }
    std::set<std::int64_t> live;
    for (const Declared& d : *declared) live.insert(d.uid);
    std::erase_if(seen_, [&](const auto& entry) { return !live.contains(entry.first); });
    std::erase_if(ailing_, [&](std::int64_t uid) { return !live.contains(uid); });
    listed_ = true;
    changed_.notify_all();
    return {};
}

void Loop::settle_elsewhere(std::int64_t uid) {
    Result<Pool::Lease> session = reads_.acquire(Context{});
    if (!session) return;
    std::string since;
    {
        const Lock lock(mutex_);
        since = elsewhere_[uid];
    }
    if (since.empty())
        spdlog::info("{} is healed by another replica; this one waits until nothing of it waits", faults_.called(uid));
    const Result<Elsewhere> stands = look_elsewhere(**session, uid, since);
    if (!stands)
        return tell("pipelines elsewhere", stands.error(), fmt::format("{}: {}", faults_.called(uid), stands.error().message));
    {
        const Lock lock(mutex_);
        elsewhere_[uid] = since;
    }
    switch (*stands) {
        case Elsewhere::working: return;
        case Elsewhere::healed: return settle(uid, {.end = PassEnd::converged});
        case Elsewhere::left: return settle(uid, {.end = PassEnd::settled});
        case Elsewhere::failed: return settle(uid, {.end = PassEnd::failed});
    }
}

std::size_t Loop::settled_so_far() const {
    const Lock lock(mutex_);
    return settled_.size();
}

// Whom they wait for has ended and is not ready: each of them has looked again since the last that ended did. `ended_before` is
// how many had when the look of `uid` began.
bool Loop::only_dependents_left(std::int64_t uid, std::size_t ended_before) {
    const Lock lock(mutex_);
    dependent_[uid] = ended_before;
    for (const auto& [other, declared] : seen_) {
        if (settled_.contains(other)) continue;
        const auto it = dependent_.find(other);
        if (it == dependent_.end() || it->second != settled_.size()) return false;
    }
    return true;
}

// A schema that was migrated under a running program is left alone until it is this program's again.
Status Loop::fits_schema(Session& session) {
    const Status fits = settings_.check_schema ? settings_.check_schema(session) : Status();
    const bool known = fits || fits.error().cls == ErrorClass::invalid;
    const std::string why = fits ? std::string() : fits.error().message;
    const Lock lock(mutex_);
    if (!known || why == unusable_) return fits;
    if (fits) {
        spdlog::info("the schema is this program's again");
    } else {
        spdlog::error("{}; nothing is done until then", why);
    }
    unusable_ = why;
    return fits;
}

void Loop::upkeep(Session& session) {
    const SteadyTime now = clock_.steady_now();
    if (now < next_upkeep_) return;
    next_upkeep_ = now + std::chrono::hours(1);
    if (const Status kept = keep_histories(session, settings_.history_weeks); !kept)
        spdlog::warn("histories: {}", kept.error().message);
}

// A column that was put back, a right that was granted: nobody waits for the next try of what failed for the lack of it.
void Loop::look_at_ailing() {
    const SteadyTime now = clock_.steady_now();
    if (!catalog_changed_ || now < next_ailing_) return;
    catalog_changed_ = false;
    next_ailing_ = now + kBetweenAiling;
    const Lock lock(mutex_);
    for (const std::int64_t uid : ailing_) queue_.add(uid, kPriorityDrift);
}

// Whose feed sleeps is called by who fills it, unless that writer is undone.
void Loop::look_at_full_feeds(Session& session) {
    const Result<std::vector<std::int64_t>> full = full_feeds(session);
    if (!full) spdlog::debug("full feeds cannot be noticed at once: {}", full.error().message);
    const Lock lock(mutex_);
    for (const std::int64_t uid : full ? *full : std::vector<std::int64_t>()) {
        if (fed_.contains(uid)) feeds_.add(uid);
    }
}

void Loop::look_at_resting(Session& session) {
    const SteadyTime now = clock_.steady_now();
    if (!settings_.once) {
        Result<std::string> catalog = read_catalog_fingerprint(session);
        if (catalog) {
            well("the catalog");
        } else {
            tell("the catalog", catalog.error(), "changes of the catalog cannot be noticed at once: " + catalog.error().message);
        }
        if (catalog && *catalog != catalog_) {
            catalog_ = *std::move(catalog);
            resting_.look_again(now);
            catalog_changed_ = true;
        }
        look_at_ailing();
    }
    std::vector<std::int64_t> due = resting_.due(now);
    // A lease that was lost is the queue's to win back, or not.
    std::erase_if(due, [&](std::int64_t uid) {
        const Result<std::optional<std::int64_t>> epoch = election_.own(pipeline_lease(uid));
        if (epoch && *epoch) return false;
        resting_.remove(uid);
        queue_.add(uid, kPriorityDrift);
        return true;
    });
    for (std::size_t at = 0; at < due.size(); at += kRestingAtOnce) {
        const std::vector<std::int64_t> some(
            due.begin() + static_cast<std::ptrdiff_t>(at),
            due.begin() + static_cast<std::ptrdiff_t>(std::min(at + kRestingAtOnce, due.size())));
        Result<std::vector<std::string>> marks = read_rest_marks(session, some);
        // Where it cannot be told, passes find out.
        if (!marks) spdlog::debug("idle pipelines cannot be looked at together: {}", marks.error().message);
        const std::vector<std::int64_t> changed =
            resting_.settle(some, marks ? *marks : std::vector<std::string>(some.size()), now);
        for (const std::int64_t uid : changed) queue_.add(uid, kPriorityDrift);
        unchanged_.add(static_cast<double>(some.size() - changed.size()));
    }
}

}  // namespace homeostat
