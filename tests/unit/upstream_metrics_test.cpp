// Dashboards and alerts that were made for controllers on controller-runtime fit: every name that it and its work queue export is
// exported here, with its labels, and is there before anything has happened.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "controller/election.hpp"
#include "controller/reconcile_metrics.hpp"
#include "controller/workqueue.hpp"
#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

struct Upstream {
    const char* name;
    MetricKind kind;
    std::set<std::string> labels;
};

// From their sources: pkg/internal/controller/metrics/metrics.go, pkg/internal/metrics/workqueue.go,
// pkg/metrics/leaderelection.go of kubernetes-sigs/controller-runtime. What tells of Go itself and of REST clients is left out.
const Upstream kUpstream[] = {
    {"controller_runtime_reconcile_total", MetricKind::counter, {"controller", "result"}},
    {"controller_runtime_reconcile_errors_total", MetricKind::counter, {"controller"}},
    {"controller_runtime_terminal_reconcile_errors_total", MetricKind::counter, {"controller"}},
    {"controller_runtime_reconcile_panics_total", MetricKind::counter, {"controller"}},
    {"controller_runtime_reconcile_timeouts_total", MetricKind::counter, {"controller"}},
    {"controller_runtime_reconcile_time_seconds", MetricKind::histogram, {"controller"}},
    {"controller_runtime_max_concurrent_reconciles", MetricKind::gauge, {"controller"}},
    {"controller_runtime_active_workers", MetricKind::gauge, {"controller"}},
    {"workqueue_depth", MetricKind::gauge, {"name", "controller"}},
    {"workqueue_adds_total", MetricKind::counter, {"name", "controller"}},
    {"workqueue_queue_duration_seconds", MetricKind::histogram, {"name", "controller"}},
    {"workqueue_work_duration_seconds", MetricKind::histogram, {"name", "controller"}},
    {"workqueue_unfinished_work_seconds", MetricKind::gauge, {"name", "controller"}},
    {"workqueue_longest_running_processor_seconds", MetricKind::gauge, {"name", "controller"}},
    {"workqueue_retries_total", MetricKind::counter, {"name", "controller"}},
    {"leader_election_slowpath_total", MetricKind::counter, {"name"}},
};

const MetricFamily* find(const std::vector<MetricFamily>& families, const std::string& name) {
    const auto it = std::find_if(families.begin(), families.end(), [&](const MetricFamily& f) { return f.name == name; });
    return it == families.end() ? nullptr : &*it;
}

class UpstreamMetrics : public ::testing::Test {
protected:
    double value(const std::string& name, const Labels& labels = {}) {
        const std::vector<MetricFamily> families = metrics.collect();
        const MetricFamily* family = find(families, name);
        if (family == nullptr) return -1;
        for (const auto& sample : family->samples) {
            const bool all = std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
                return std::find(sample.labels.begin(), sample.labels.end(), label) != sample.labels.end();
            });
            if (all) return family->kind == MetricKind::histogram ? sample.sum : sample.value;
        }
        return -1;
    }

    kit::SimulatedClock clock;
    Registry metrics;
    WorkQueue queue{clock, metrics};
    ReconcileMetrics reconciles{metrics, "pipeline"};
};

TEST_F(UpstreamMetrics, AreThereFromTheStartByNameKindAndLabels) {
    const Election election({}, {}, clock, metrics);
    const std::vector<MetricFamily> families = metrics.collect();
    for (const Upstream& upstream : kUpstream) {
        const MetricFamily* family = find(families, upstream.name);
        ASSERT_NE(family, nullptr) << upstream.name;
        EXPECT_EQ(family->kind, upstream.kind) << upstream.name;
        ASSERT_FALSE(family->samples.empty()) << upstream.name;
        for (const auto& sample : family->samples) {
            std::set<std::string> labels;
            for (const auto& [name, value] : sample.labels) labels.insert(name);
            EXPECT_EQ(labels, upstream.labels) << upstream.name;
            EXPECT_EQ(sample.value, 0) << upstream.name;
        }
    }
    std::set<std::string> results;
    for (const auto& sample : find(families, "controller_runtime_reconcile_total")->samples) {
        for (const auto& [name, value] : sample.labels) {
            if (name == "result") results.insert(value);
        }
    }
    EXPECT_EQ(results, (std::set<std::string>{"success", "error", "requeue", "requeue_after"}));
}

TEST_F(UpstreamMetrics, CountWhatAReconcileDid) {
    reconciles.worker_comes();
    reconciles.worker_comes();
    reconciles.begins();
    EXPECT_EQ(value("controller_runtime_max_concurrent_reconciles"), 2);
    EXPECT_EQ(value("controller_runtime_active_workers"), 1);
    reconciles.ends(2.5);
    EXPECT_EQ(value("controller_runtime_active_workers"), 0);
    EXPECT_EQ(value("controller_runtime_reconcile_time_seconds"), 2.5);
    reconciles.succeeded(false);
    reconciles.succeeded(true);
    reconciles.failed({.cls = ErrorClass::timeout, .message = "late"});
    reconciles.failed({.cls = ErrorClass::invalid, .message = "wrong"});
    reconciles.panicked();
    EXPECT_EQ(value("controller_runtime_reconcile_total", {{"result", "success"}}), 1);
    EXPECT_EQ(value("controller_runtime_reconcile_total", {{"result", "requeue_after"}}), 1);
    EXPECT_EQ(value("controller_runtime_reconcile_total", {{"result", "error"}}), 2);
    EXPECT_EQ(value("controller_runtime_reconcile_errors_total"), 2);
    EXPECT_EQ(value("controller_runtime_terminal_reconcile_errors_total"), 1);
    EXPECT_EQ(value("controller_runtime_reconcile_timeouts_total"), 1);
    EXPECT_EQ(value("controller_runtime_reconcile_panics_total"), 1);
}

TEST_F(UpstreamMetrics, TellHowLongAKeyIsWorkedOn) {
    queue.add(1);
    queue.add(2);
    ASSERT_TRUE(queue.try_next(clock.steady_now()).item);
    clock.advance(3s);
    ASSERT_TRUE(queue.try_next(clock.steady_now()).item);
    clock.advance(2s);
    queue.tell_unfinished();
    EXPECT_EQ(value("workqueue_unfinished_work_seconds"), 7);
    EXPECT_EQ(value("workqueue_longest_running_processor_seconds"), 5);
    queue.done(1);
    queue.tell_unfinished();
    EXPECT_EQ(value("workqueue_work_duration_seconds"), 5);
    EXPECT_EQ(value("workqueue_longest_running_processor_seconds"), 2);
    queue.retry(1, kPriorityDrift, 1s);
    EXPECT_EQ(value("workqueue_retries_total"), 1);
    EXPECT_EQ(value("workqueue_adds_total"), 3);
    EXPECT_EQ(value("workqueue_depth"), 1);
}

}  // namespace
}  // namespace homeostat
