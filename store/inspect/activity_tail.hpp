// What a page that stays open is shown: events as they come, and how much the last runs of pipelines had to do. Only reads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct TailEvent {
    std::int64_t id = 0;
    std::string object;  // pipeline/docs; "" where it is about nothing declared
    WallTime at{};
    std::string type;
    std::string reason;
    std::string message;
    std::string reconcile_id;
};
// Events with a greater number than `after` that are no older than `age`, in the order of their numbers. Numbers are given before
// a transaction commits: who follows asks from a little before the last one and leaves out what it has seen.
Result<std::vector<TailEvent>> read_event_tail(Session& session, std::int64_t after, std::chrono::seconds age, int limit);
// The greatest number there is, and the least that is kept; nothing where there are no events.
Result<std::optional<std::pair<std::int64_t, std::int64_t>>> event_numbers(Session& session);

struct TrendPoint {
    WallTime at{};  // when the run ended
    std::int64_t planned = 0;
};
struct RunTrend {
    std::int64_t uid = 0;
    std::vector<TrendPoint> points;  // oldest first
};
// Of the last `runs` runs of each of these; only those that have any.
Result<std::vector<RunTrend>> read_run_trends(Session& session, const std::vector<std::int64_t>& uids, int runs);

}  // namespace homeostat
