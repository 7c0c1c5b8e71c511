// What controller-runtime exports of a controller, by its names and labels, so that dashboards and alerts made for it fit. All
// series are there from the start, at 0. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

class ReconcileMetrics {
public:
    ReconcileMetrics(Registry& metrics, const std::string& controller);

    // For as long as a thread takes keys.
    void worker_comes() noexcept { workers_.add(1); }
    void worker_goes() noexcept { workers_.add(-1); }

    void begins() noexcept { active_.add(1); }
    // How it ended: whether it comes again by itself, or the error. Not called for what was cancelled, which took no time of its
    // own.
    void succeeded(bool again) noexcept;
    void failed(const Error& error) noexcept;
    // Something was thrown past all edges; it has failed too.
    void panicked() noexcept { panics_.add(); }
    void ends(double seconds) noexcept;

private:
    Counter& success_;
    Counter& again_;
    Counter& error_;
    Counter& errors_;
    Counter& terminal_;
    Counter& panics_;
    Counter& timeouts_;
    Histogram& time_;
    Gauge& workers_;
    Gauge& active_;
};

}  // namespace homeostat
