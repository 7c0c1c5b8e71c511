#include "controller/reconcile_metrics.hpp"

#include <vector>

namespace homeostat {

namespace {

const std::vector<double> kSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

Counter& results(Registry& metrics, const std::string& controller, std::string_view result) {
    return metrics.counter("controller_runtime_reconcile_total", "Reconciles by result.",
                           {{"controller", controller}, {"result", std::string(result)}});
}

}  // namespace

ReconcileMetrics::ReconcileMetrics(Registry& metrics, const std::string& controller)
    : success_(results(metrics, controller, "success")),
      again_(results(metrics, controller, "requeue_after")),
      error_(results(metrics, controller, "error")),
      errors_(
          metrics.counter("controller_runtime_reconcile_errors_total", "Reconciles that failed.", {{"controller", controller}})),
      terminal_(metrics.counter("controller_runtime_terminal_reconcile_errors_total",
                                "Reconciles that failed for what no retry will mend.", {{"controller", controller}})),
      panics_(metrics.counter("controller_runtime_reconcile_panics_total", "Reconciles that threw past all edges.",
                              {{"controller", controller}})),
      timeouts_(metrics.counter("controller_runtime_reconcile_timeouts_total", "Reconciles that ran into their deadline.",
                                {{"controller", controller}})),
      time_(metrics.histogram("controller_runtime_reconcile_time_seconds", "Length of a reconcile.", kSeconds,
                              {{"controller", controller}})),
      workers_(
          metrics.gauge("controller_runtime_max_concurrent_reconciles", "Workers that take keys.", {{"controller", controller}})),
      active_(
          metrics.gauge("controller_runtime_active_workers", "Workers that reconcile just now.", {{"controller", controller}})) {
    results(metrics, controller, "requeue");  // upstream's; here whatever comes again does so after a time
}

void ReconcileMetrics::succeeded(bool again) noexcept { (again ? again_ : success_).add(); }

void ReconcileMetrics::failed(const Error& error) noexcept {
    error_.add();
    errors_.add();
    if (!error.retryable()) terminal_.add();
    if (error.cls == ErrorClass::timeout) timeouts_.add();
}

void ReconcileMetrics::ends(double seconds) noexcept {
    active_.add(-1);
    time_.observe(seconds);
}

}  // namespace homeostat
