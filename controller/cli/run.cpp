// `homeostat run`: the controller itself, until stopped or, with --once, until nothing is left to do.
#include <fmt/format.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigwait and friends are POSIX
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "controller/cli/api/api.hpp"
#include "controller/cli/checks/doctor_checks.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/cli/watch.hpp"
#include "controller/controller.hpp"
#include "controller/export/export_traces.hpp"
#include "controller/log.hpp"
#include "core/log_fields.hpp"
#include "store/control/resources.hpp"
#include "store/pg/database_place.hpp"

namespace homeostat {

namespace {

struct Options {
    bool once = false;
    bool deep = false;
    bool migrate = false;
};

// Signals are taken by one thread that waits for them; blocked everywhere else, so that no call anywhere is interrupted. SIGHUP
// ends the process cleanly too: what supervises it starts it anew, with settings and credentials as they are by then. SIGPIPE
// says nothing that a write does not say: who reads our log may go.
class Signals {
public:
    Signals() {
        sigemptyset(&set_);
        for (const int signal : {SIGINT, SIGTERM}) sigaddset(&set_, signal);
        // Whoever was started by nohup is meant to outlive its terminal.
        struct sigaction now{};
        if (sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(&set_, SIGHUP);
        sigset_t blocked = set_;
        sigaddset(&blocked, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    }

    std::jthread forward(std::stop_source& stop, bool draws) {
        return std::jthread([this, &stop, draws](const std::stop_token& ended) {
            while (!ended.stop_requested()) {
                const timespec wait{0, 200'000'000};
                const int signal = sigtimedwait(&set_, nullptr, &wait);
                if (signal <= 0) continue;
                if (stop.stop_requested()) {
                    if (signal == SIGHUP) continue;  // a terminal that goes tells more than once
                    if (draws) leave_screen_at_once();
                    std::_Exit(kExitFailed);  // asked twice: do not wait for anything
                }
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

// The first line says what runs where, so that a log that was sent in can be read.
void introduce(const Config& config) {
    const DatabasePlace place = database_place(config.settings.database_url);
    const std::string profile = config.profile.empty() ? "none" : config.profile;
    const LogFields about{{"version", std::string(version_text())},
                          {"host", place.host},
                          {"port", place.port},
                          {"database", place.database},
                          {"profile", profile},
                          {"replica", config.settings.replica_name}};
    spdlog::info("homeostat {} on {}, profile {}, replica {}", version_text(), place.text(), profile,
                 config.settings.replica_name);
}

std::unique_ptr<TraceExporter> trace_exporter(Registry& metrics) {
    Result<std::unique_ptr<TraceExporter>> traces = make_trace_exporter(version_text(), metrics);
    if (traces) return *std::move(traces);
    // Traces are for who looks; embeddings are kept in step without them too.
    spdlog::warn("no traces are exported: {}", traces.error().message);
    return nullptr;
}

// What `doctor` looks at and this process depends on, said once. What is declared tells of itself by its conditions.
void warn_of_trouble(const Settings& settings) {
    const Result<std::unique_ptr<Session>> session = Session::connect(connect_options(settings));
    if (!session) return;
    for (const Check& c : check_start(**session, settings)) {
        if (c.health != CheckHealth::ok)
            spdlog::warn("at the start: {}: {}{}{}", c.subject, c.said, c.fix.empty() ? "" : "; ", c.fix);
    }
}

// As whoever sits at this machine types it.
std::string dashboard_address(const Settings& settings, std::uint16_t port) {
    std::string host = settings.http_listen.substr(0, settings.http_listen.rfind(':'));
    if (host == "0.0.0.0" || host == "[::]") host = "localhost";
    return fmt::format("http://{}:{}/", host, port);
}

// On a terminal progress is drawn until this ends; elsewhere it is said at once what begins, as the end may be far.
class Progressing {
public:
    Progressing(CliContext& context, bool draws) {
        const auto session = context.session();
        if (!session) return;  // that it cannot be reached is told by who needs it
        if (draws) {
            drawing_ = std::jthread(
                [&context, session = *session](const std::stop_token& ended) { draw_progress(context, *session, ended); });
            return;
        }
        const auto pipelines = list_pipelines(**session);
        if (!pipelines) return;
        const auto going =
            std::count_if(pipelines->begin(), pipelines->end(), [](const PipelineSpec& p) { return !p.suspend && !p.deleting; });
        if (going == 0) return;
        const std::string begun = fmt::format("{} looked at and healed; homeostat watch shows how far it is",
                                              counted(going, "pipeline") + (going == 1 ? " is" : " are"));
        if (context.settings().log_format == "json") {
            spdlog::info(begun);  // each line there is an object
        } else {
            context.streams.err << "homeostat: " << begun << '\n' << std::flush;
        }
    }

private:
    std::jthread drawing_;
};

int run_controller(CliContext& context, const Options& o) {
    bound_allocator();
    const bool draws = o.once && is_terminal(context.streams.out);
    Settings log = context.settings();
    if (draws && isatty(STDERR_FILENO) != 0) log.log_level = "error";  // it would be written over the picture
    set_up_log(log, wants_colour(isatty(STDERR_FILENO) != 0));
    Signals signals;
    introduce(context.config);
    for (const std::string& warning : context.config.warnings) spdlog::warn("settings: {}", warning);
    std::stop_source stop;
    const SystemClock clock;
    Registry metrics;
    const std::unique_ptr<TraceExporter> traces = trace_exporter(metrics);
    std::jthread exporter;
    if (traces) exporter = std::jthread([&](const std::stop_token& ended) { traces->run(ended); });

    Controller controller(context.settings(), {.once = o.once, .migrate = o.migrate, .deep = o.deep}, clock, metrics,
                          traces.get());
    // After the controller, so that it is gone before the executor that the server runs on.
    std::optional<Api> api;
    if (!o.once && !context.settings().http_listen.empty()) {
        api.emplace(context.config, metrics, version_text());
        controller.serve([&api](HttpServer& server, const Health& health) { api->add_routes(server, health); });
    }
    const std::jthread waiter = signals.forward(stop, draws);
    if (const Status started = controller.start(stop.get_token()); !started) {
        controller.stop();
        if (started.error().cls == ErrorClass::cancelled && o.once) {
            context.streams.err << "homeostat: stopped before anything was begun\n";
            return kExitDifferences;
        }
        if (started.error().cls == ErrorClass::cancelled) return kExitOk;
        return context.fail(started.error());
    }
    if (api) spdlog::info("the dashboard is at {}", dashboard_address(context.settings(), controller.http_port()));
    warn_of_trouble(context.settings());
    std::optional<Progressing> progress;
    if (o.once) progress.emplace(context, draws);
    Result<RunSummaryCounts> counts = controller.wait(stop.get_token());
    const bool stopped = stop.stop_requested();
    controller.stop();
    progress.reset();
    if (!counts) return context.fail(counts.error());
    // What had not ended by then was not counted: figures would say that there was nothing.
    if (o.once && stopped) {
        context.streams.err << fmt::format(
            "homeostat: stopped before all was done ({} converged until then); what is left is done by the next run\n",
            counts->converged);
        return kExitDifferences;
    }
    return o.once ? run_once_result(*counts, context) : kExitOk;
}

}  // namespace

VerbBody configure_run(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.flag("--once", o->once, "End when nothing is left to do: exit 0 converged, 1 drift left, 2 failed");
    command.flag("--deep", o->deep, "With --once: compare contents and vectors too, not only versions", "--once");
    command.flag("--migrate", o->migrate, "Bring a schema of an earlier version up to this program's first");
    return [&context, o] { return run_controller(context, *o); };
}

}  // namespace homeostat
