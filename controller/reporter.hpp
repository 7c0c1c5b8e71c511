// Between passes the truth moves on: what the change feed named waits or is healed, documents are set aside, a provider fails or
// answers again. The reporter looks at that about once a second, for all pipelines whose lease is ours with a few statements,
// corrects the conditions that are not true any more, and publishes the gauges of all of them, idle ones too.
//
// What waits for long is looked for where something is known to wait: in open batches, in feeds that fail or have a gap, and
// where it waited at the last look. All pipelines are looked at when their lease becomes ours, and every half minute. One thread
// calls watch(), the body of that thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "controller/election.hpp"
#include "controller/factory_watch.hpp"
#include "controller/freshness_watch.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/feed_progress.hpp"
#include "reconcilers/gateway/fault_log.hpp"
#include "store/control/reports.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// From the end of a look that took so long to the next: looks take a small share of the time, and none waits for long.
Duration pause_after_look(Duration interval, Duration took);

class Reporter {
public:
    // All outlive the reporter.
    Reporter(Election& election, FeedProgress& feeds, FaultLog& faults, Pool& reads, const Clock& clock, Telemetry telemetry,
             std::chrono::milliseconds interval);

    void watch(const std::stop_token& stop);
    Status look();

private:
    struct Told {
        std::string name;
        std::string updated;             // status as it was published
        std::int64_t documents = 0;      // that wait, as the conditions say
        Millis oldest{0};                // likewise
        bool again = false;              // something waits, or a condition is not as it should be
    };
    using Owned = std::map<std::int64_t, std::int64_t>;  // epochs

    Result<std::set<std::int64_t>> due(Session& session, const Owned& owned);
    Status publish_statuses(Session& session, const Owned& owned, std::set<std::int64_t>& due);
    Result<bool> providers_changed(Session& session);
    void judge(Session& session, const ReportFacts& facts, std::int64_t epoch);
    void publish_waiting(const ReportFacts& facts);
    void forget_lost(const Owned& owned);

    Election& election_;
    FeedProgress& feeds_;
    FaultLog& faults_;
    Pool& reads_;
    const Clock& clock_;
    Telemetry telemetry_;
    const std::chrono::milliseconds interval_;
    std::map<std::int64_t, Told> told_;  // of what is ours
    std::string since_;                  // statuses were read up to here
    std::vector<ProviderWord> words_;
    SteadyTime next_full_{};
    FactoryWatch factory_;
    FreshnessWatch freshness_;
};

}  // namespace homeostat
