#include "controller/reporter.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "reconcilers/pipeline/pipeline_gauges.hpp"
#include "reconcilers/pipeline/report.hpp"
#include "store/control/our_locks.hpp"
#include "store/control/waiting.hpp"

namespace homeostat {

namespace {

constexpr Duration kFull = std::chrono::seconds(30);
constexpr std::size_t kAtOnce = 200;  // pipelines whose facts one statement reads
constexpr int kShare = 20;             // of the time, one part in so many is spent on looking
// However long a look took: it may have waited for a connection, and what it tells is old by then.
constexpr Duration kLongestPause = std::chrono::seconds(3);

// An age grows all the time; it is told again when it has grown by half, and how many there are when that is another number.
bool other_figures(const Waiting& now, std::int64_t documents, Millis oldest) {
    if (!now.behind || !now.oldest) return false;
    const auto many = [](std::int64_t a, std::int64_t b) { return a > b + b / 2 + 10; };
    return *now.oldest > oldest + oldest / 2 || many(now.documents(), documents) || many(documents, now.documents());
}

}  // namespace

Duration pause_after_look(Duration interval, Duration took) {
    return std::clamp(took * kShare, interval, std::max(interval, kLongestPause));
}

Reporter::Reporter(Election& election, FeedProgress& feeds, FaultLog& faults, Pool& reads, const Clock& clock,
                   Telemetry telemetry, std::chrono::milliseconds interval)
    : election_(election),
      feeds_(feeds),
      faults_(faults),
      reads_(reads),
      clock_(clock),
      telemetry_(telemetry),
      interval_(interval),
      factory_(clock),
      freshness_(clock, telemetry.metrics) {}

void Reporter::watch(const std::stop_token& stop) {
    std::mutex m;
    std::condition_variable_any cv;
    while (!stop.stop_requested()) {
        const SteadyTime started = clock_.steady_now();
        const Status looked = look();
        if (looked) {
            faults_.over("conditions", clock_.steady_now());
        } else {
            faults_.met("conditions", looked.error(),
                        "conditions cannot be kept true: " + looked.error().message + who_locks_ours(reads_, looked.error()),
                        clock_.steady_now());
        }
        std::unique_lock lock(m);
        cv.wait_for(lock, stop, pause_after_look(interval_, clock_.steady_now() - started), [] { return false; });
    }
}

Status Reporter::look() {
    const Owned owned = election_.owned();
    forget_lost(owned);
    Result<Pool::Lease> session = reads_.acquire(Context{});
    if (!session) return session.error();
    Result<std::set<std::int64_t>> due = this->due(**session, owned);
    if (!due) return due.error();
    if (const Status published = publish_statuses(**session, owned, *due); !published) return published;
    std::vector<std::int64_t> uids(due->begin(), due->end());
    for (std::size_t at = 0; at < uids.size(); at += kAtOnce) {
        const std::vector<std::int64_t> some(uids.begin() + static_cast<std::ptrdiff_t>(at),
                                             uids.begin() + static_cast<std::ptrdiff_t>(std::min(at + kAtOnce, uids.size())));
        Result<std::vector<ReportFacts>> facts = read_report_facts(**session, some);
        if (!facts) return facts.error();
        for (const ReportFacts& f : *facts) judge(**session, f, owned.at(f.uid));
    }
    if (const Status fresh = freshness_.look(**session, owned); !fresh) return fresh;
    return factory_.look(**session, owned);
}

// Whose lease is another's: it is the other's to tell and to publish.
void Reporter::forget_lost(const Owned& owned) {
    for (auto it = told_.begin(); it != told_.end();) {
        if (owned.contains(it->first)) {
            ++it;
            continue;
        }
        telemetry_.metrics.forget("pipeline", it->second.name);
        it = told_.erase(it);
    }
}

Result<std::set<std::int64_t>> Reporter::due(Session& session, const Owned& owned) {
    std::set<std::int64_t> due;
    const auto add = [&](std::int64_t uid) {
        if (owned.contains(uid)) due.insert(uid);
    };
    Result<std::vector<std::int64_t>> waiting = pipelines_that_wait(session);
    if (!waiting) return waiting.error();
    std::for_each(waiting->begin(), waiting->end(), add);
    for (const std::int64_t uid : feeds_.failing()) add(uid);
    for (const auto& [uid, told] : told_) {
        if (told.again) due.insert(uid);
    }
    Result<bool> changed = providers_changed(session);
    if (!changed) return changed.error();
    const SteadyTime now = clock_.steady_now();
    const bool all = *changed || now >= next_full_;
    if (all) next_full_ = now + kFull;
    bool fresh = false;
    for (const auto& [uid, epoch] : owned) {
        const bool known = told_.contains(uid);
        fresh = fresh || !known;
        if (all || !known) due.insert(uid);
    }
    if (fresh) since_.clear();  // all statuses are read again
    return due;
}

Result<bool> Reporter::providers_changed(Session& session) {
    Result<std::vector<ProviderWord>> words = list_provider_words(session);
    if (!words) return words.error();
    std::sort(words->begin(), words->end());
    const bool changed = *words != words_;
    words_ = *std::move(words);
    return changed;
}

Status Reporter::publish_statuses(Session& session, const Owned& owned, std::set<std::int64_t>& due) {
    Result<std::vector<StatusLine>> lines = list_statuses(session, since_);
    if (!lines) return lines.error();
    for (const StatusLine& line : *lines) {
        if (!owned.contains(line.uid)) continue;
        Told& told = told_[line.uid];
        if (told.updated == line.updated) continue;
        told.name = line.name;
        told.updated = line.updated;
        publish_gauges(telemetry_.metrics, line.name, line.status);
        due.insert(line.uid);
    }
    return {};
}

void Reporter::judge(Session& session, const ReportFacts& facts, std::int64_t epoch) {
    Told& told = told_[facts.uid];
    told.name = facts.name;
    publish_waiting(facts);
    const Waiting& w = facts.status.waiting;
    const bool figures = other_figures(w, told.documents, told.oldest);
    const std::vector<Condition> wanted = corrections(facts.status.conditions, seen_in(facts), figures);
    told.again = w.anything() || !wanted.empty();
    if (!w.behind) {
        told.documents = 0;
        told.oldest = Millis(0);
    }
    if (wanted.empty()) return;
    const std::string id = fmt::format("report-{}", facts.uid);
    const Result<bool> written = correct_conditions(session, facts.uid, epoch, facts.status.conditions, wanted, id);
    if (!written) {
        // The next look tries again.
        spdlog::debug("conditions of pipeline \"{}\": {}", facts.name, written.error().message);
    } else if (*written && w.behind) {
        told.documents = w.documents();
        told.oldest = w.oldest.value_or(Millis(0));
    }
}

void Reporter::publish_waiting(const ReportFacts& f) {
    const Waiting& w = f.status.waiting;
    Registry& m = telemetry_.metrics;
    m.gauge("homeostat_pending_documents", "Documents that wait to be healed, now: named by the feed, or in open batches.",
            {{"pipeline", f.name}})
        .set(static_cast<double>(w.documents()));
    m.gauge("homeostat_oldest_pending_age_seconds", "For how long the oldest of them has waited; 0 where none does.",
            {{"pipeline", f.name}})
        .set(w.oldest ? std::chrono::duration<double>(*w.oldest).count() : 0);
}

}  // namespace homeostat
