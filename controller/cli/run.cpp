// `homeostat run`: the controller itself, until stopped or, with --once, until nothing is left to do.
#include <fmt/format.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigwait and friends are POSIX
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "controller/cli/verbs.hpp"
#include "controller/controller.hpp"
#include "controller/export_traces.hpp"
#include "controller/log.hpp"

namespace homeostat {

namespace {

// Signals are taken by one thread that waits for them; blocked everywhere else, so that no call anywhere is interrupted.
class Signals {
public:
    Signals() {
        sigemptyset(&set_);
        sigaddset(&set_, SIGINT);
        sigaddset(&set_, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    }

    std::jthread forward(std::stop_source& stop) {
        return std::jthread([this, &stop](const std::stop_token& ended) {
            while (!ended.stop_requested()) {
                const timespec wait{0, 200'000'000};
                if (sigtimedwait(&set_, nullptr, &wait) <= 0) continue;
                if (stop.stop_requested()) std::_Exit(kExitFailed);  // asked twice: do not wait for anything
                spdlog::info("stopping: what is in flight is finished first");
                stop.request_stop();
            }
        });
    }

private:
    sigset_t set_{};
};

int run_once_result(const RunSummaryCounts& c, CliContext& context) {
    context.streams.out << fmt::format("{} converged, {} with drift left, {} failed\n", c.converged, c.drift_left, c.failed);
    if (c.failed > 0) return kExitFailed;
    return c.drift_left > 0 ? kExitDifferences : kExitOk;
}

int run_controller(CliContext& context, bool once, bool deep) {
    bound_allocator();
    set_up_log(context.settings());
    Signals signals;
    std::stop_source stop;
    const SystemClock clock;
    Registry metrics;
    Result<std::unique_ptr<TraceExporter>> traces = make_trace_exporter(version_text(), metrics);
    if (!traces) return context.fail(traces.error());
    std::jthread exporter;
    if (*traces) exporter = std::jthread([&](const std::stop_token& ended) { (*traces)->run(ended); });

    Controller controller(context.settings(), {.once = once, .deep = deep}, clock, metrics, traces->get());
    const std::jthread waiter = signals.forward(stop);
    if (const Status started = controller.start(stop.get_token()); !started) {
        controller.stop();
        if (started.error().cls == ErrorClass::cancelled) return once ? kExitFailed : kExitOk;
        return context.fail(started.error());
    }
    Result<RunSummaryCounts> counts = controller.wait(stop.get_token());
    controller.stop();
    if (!counts) return context.fail(counts.error());
    return once ? run_once_result(*counts, context) : kExitOk;
}

}  // namespace

VerbBody configure_run(CLI::App& app, CliContext& context) {
    auto once = std::make_shared<bool>(false);
    app.add_flag("--once", *once, "End when nothing is left to do: exit 0 converged, 1 drift left, 2 failed");
    auto deep = std::make_shared<bool>(false);
    app.add_flag("--deep", *deep, "With --once: compare contents and vectors too, not only versions")->needs("--once");
    return [&context, once, deep] { return run_controller(context, *once, *deep); };
}

}  // namespace homeostat
