// `homeostat watch`: progress as it happens. On a terminal a block that is drawn again and again on the other screen, the worst
// first; else a line where something changed. Only reads; Ctrl-C ends it.
#include "controller/cli/watch.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <iostream>
#include <map>
#include <mutex>
#include <tuple>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/interruption.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/progress.hpp"
#include "controller/cli/text/screen.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_values.hpp"
#include "store/data/relation.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kOnTerminal{500};  // between looks

struct Options {
    std::string name;
    bool until_converged = false;
    std::string interval;
    std::string timeout;
};

double estimated_rows(Session& session, const PipelineSpec& pipeline) {
    const Result<SourceShape> source = guarded([&] {
        Transaction tx = session.begin(TxMode::read_only);
        tx.exec(kShortLock);
        return inspect_source(tx, pipeline);
    });
    return source ? source->estimated_rows : 0;
}

class Watch {
public:
    Watch(CliContext& context, Session& session, const Options& options)
        : context_(context),
          session_(session),
          options_(options),
          terminal_(is_terminal(context.streams.out)),
          screen_(context.streams.out) {}

    int run(milliseconds interval, std::optional<milliseconds> timeout) {
        const Interruption interruption;
        const SteadyTime started = clock_.steady_now();
        for (;;) {
            const Result<std::vector<Look>> looks = look();
            if (!looks) {
                screen_.leave();
                return context_.fail(looks.error());
            }
            show(*looks);
            const bool converged = !looks->empty() && std::all_of(looks->begin(), looks->end(), [](const Look& l) {
                return l.line.kstatus == "Current" && l.line.waiting == 0;
            });
            if (options_.until_converged && (converged || looks->empty())) return kExitOk;
            if (timeout && clock_.steady_now() - started >= *timeout) return timed_out();
            if (!interruption.pause(interval)) return options_.until_converged ? kExitDifferences : kExitOk;
        }
    }

    // One look; whether there could be one.
    bool glance() {
        const Result<std::vector<Look>> looks = look();
        if (looks) show(*looks);
        return looks.ok();
    }

private:
    // Of a pipeline, looked up when its first run is seen.
    struct Known {
        std::optional<std::int64_t> declared;
        double rows = 0;
        double price = 0;
        std::string currency;
    };
    struct Row {
        bool moving;
        double share;
        std::string text;
    };

    int timed_out() {
        screen_.leave();
        if (!options_.until_converged) return kExitOk;
        context_.streams.err << fmt::format("homeostat: not converged after {}\n", options_.timeout);
        return kExitDifferences;
    }

    Result<std::vector<Look>> look() {
        const Result<std::vector<PipelineLine>> lines = list_pipeline_lines(session_);
        if (!lines) return lines.error();
        std::vector<Look> out;
        for (const PipelineLine& line : *lines) {
            if (line.kstatus == "Terminating" || (!options_.name.empty() && line.name != options_.name)) continue;
            Result<Look> one = look_at(line);
            if (!one) return one.error();
            out.push_back(*std::move(one));
        }
        if (!options_.name.empty() && out.empty()) {
            // Says which name was meant.
            const Result<PipelineSpec> found = find_pipeline(session_, options_.name);
            if (!found) return found.error();
        }
        return out;
    }

    Result<Look> look_at(const PipelineLine& line) {
        Look l;
        l.line = line;
        Result<PipelineStatus> status = read_status(session_, line.uid);
        if (!status) return status.error();
        l.status = *std::move(status);
        Result<std::optional<Run>> run = read_run(session_, line.uid);
        if (!run) return run.error();
        l.run = *std::move(run);
        if (!l.run) return l;
        if (!estimates_.contains(line.uid)) {
            const Result<PipelineSpec> spec = read_pipeline(session_, line.uid);
            if (!spec) return spec.error();
            Known& known = estimates_[line.uid];
            known.declared = spec->documents;
            known.rows = l.status.source_documents ? 0 : estimated_rows(session_, *spec);
            if (const auto provider = find_provider(session_, spec->provider)) {
                known.price = provider->price_per_million_tokens;
                known.currency = provider->currency;
            }
        }
        const Known& known = estimates_[line.uid];
        l.declared = known.declared;
        l.estimated_rows = known.rows;
        l.price = known.price;
        l.currency = known.currency;
        Result<RunProgress> progress = read_progress(session_, l.run->id);
        if (!progress) return progress.error();
        l.progress = *progress;
        return l;
    }

    void show(const std::vector<Look>& looks) {
        if (looks.empty() && !said_none_) context_.streams.err << "homeostat: no pipelines are declared\n";
        said_none_ = looks.empty();
        const SteadyTime now = clock_.steady_now();
        // Where there is little room, figures come before the bar.
        const std::size_t columns = terminal_ ? screen_size().columns : 0;
        const std::size_t bar = columns >= 100 ? 24 : columns >= 70 ? 10 : 0;
        std::size_t width = 0;
        for (const Look& l : looks) width = std::max(width, l.line.name.size());
        std::vector<Row> rows;
        for (const Look& l : looks) {
            const Progress p = meters_[l.line.uid].update(l, now);
            if (terminal_) {
                rows.push_back({l.line.kstatus != "Failed", p.share,
                                printable(fmt::format("{:<{}}  {}{}", l.line.name, width,
                                                      bar > 0 ? bar_text(p.share, bar) + "  " : "", figures(l, p)))});
                continue;
            }
            const std::string text = fmt::format("{}: {}", l.line.name, figures(l, p));
            if (std::string& last = said_[l.line.uid]; last != text) {
                last = text;
                context_.streams.out << printable(text) << '\n' << std::flush;
            }
        }
        if (!terminal_ || rows.empty()) return;
        // The worst first: on a short screen the rest is what can be left out.
        std::sort(rows.begin(), rows.end(), [](const Row& x, const Row& y) {
            return std::tie(x.moving, x.share, x.text) < std::tie(y.moving, y.share, y.text);
        });
        std::vector<std::string> block;
        for (Row& row : rows) block.push_back(std::move(row.text));
        screen_.draw(block);
    }

    // For how long the oldest change that is known has waited.
    static std::string lag_text(const Look& l) {
        if (!l.line.lag || *l.line.lag < std::chrono::seconds(1)) return "";
        return fmt::format("; lag {}", duration_text(std::chrono::duration<double>(*l.line.lag).count()));
    }

    static std::string figures(const Look& l, const Progress& p) {
        std::string out = fmt::format("{:3.0f} %", std::floor(p.share * 100));
        if (l.run && l.run->phase == RunPhase::indexing) {
            return out +
                   fmt::format("  indexing {}; the vector index is being built{}", counted(p.total, "document"), lag_text(l));
        }
        if (l.run) {
            out += fmt::format("  {}{} {}{}", l.line.suspended ? "suspended while " : "", to_string(phase_of(*l.run)),
                               p.total_is_estimate ? "about " : "", counted(p.total, "document"));
            if (l.status.revision > 0 && l.run->revision != l.status.revision)
                out += fmt::format(" of revision {}, which takes over from {}", l.run->revision, l.status.revision);
            if (p.rate > 0) out += fmt::format(", {:.0f} docs/s", p.rate);
            if (p.seconds_left && *p.seconds_left >= 1) out += fmt::format(", {} left", duration_text(*p.seconds_left));
            if (p.done > 0) out += fmt::format(", {} done", count_text(p.done));
            if (const std::string paid = paid_text(l); !paid.empty()) out += ", " + paid;
            const std::string drift = drift_text(l.run->found);
            if (!drift.empty()) out += fmt::format("; found {}", drift);
            return out + lag_text(l);
        }
        out += fmt::format("  {}", l.line.suspended ? "suspended" : l.line.reason);
        if (l.status.source_documents) out += fmt::format(", {}", counted(*l.status.source_documents, "document"));
        const std::string drift = drift_text(l.status.drift);
        if (!drift.empty()) out += fmt::format("; {}", drift);
        if (l.line.waiting > 0) out += fmt::format("; waiting {}", count_text(l.line.waiting));
        out += lag_text(l);
        if (l.line.dead_letters > 0) out += fmt::format("; dead letters {}", count_text(l.line.dead_letters));
        if (l.line.kstatus == "Failed" || (l.line.kstatus != "Current" && !l.line.message.empty())) out += "; " + l.line.message;
        return out;
    }

    CliContext& context_;
    Session& session_;
    const Options& options_;
    const SystemClock clock_;
    const bool terminal_;
    bool said_none_ = false;
    Screen screen_;
    std::map<std::int64_t, ProgressMeter> meters_;
    std::map<std::int64_t, Known> estimates_;
    std::map<std::int64_t, std::string> said_;
};

int run(CliContext& context, const Options& o) {
    std::optional<milliseconds> interval;
    std::optional<milliseconds> timeout;
    if (!o.interval.empty()) {
        interval = parse_duration(o.interval);
        if (!interval || interval->count() < 10) {
            return context.fail(
                invalid(fmt::format("--interval {} is not a duration of at least 10ms; write 500ms or 2s", o.interval)));
        }
    }
    if (!o.timeout.empty()) {
        timeout = parse_duration(o.timeout);
        if (!timeout) return context.fail(invalid(fmt::format("--timeout {} is not a duration; write 30s or 10m", o.timeout)));
    }
    auto session = context.session();
    if (!session) return context.fail(session.error());
    return Watch(context, **session, o)
        .run(interval.value_or(is_terminal(context.streams.out) ? kOnTerminal : milliseconds(2'000)), timeout);
}

}  // namespace

bool is_terminal(const std::ostream& out) { return &out == &std::cout && isatty(STDOUT_FILENO) != 0; }

void draw_progress(CliContext& context, Session& session, const std::stop_token& stop) {
    const Options all;
    Watch watch(context, session, all);
    std::mutex mutex;
    std::condition_variable_any never;
    while (watch.glance() && !stop.stop_requested()) {
        std::unique_lock lock(mutex);
        never.wait_for(lock, stop, kOnTerminal, [] { return false; });
    }
}

void leave_screen_at_once() noexcept {
    constexpr std::string_view kBack = "\x1b[?25h\x1b[?1049l";
    [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, kBack.data(), kBack.size());
}

VerbBody configure_watch(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("One pipeline; without it, all of them"), o->name);
    command.flag("--until-converged", o->until_converged, "End when every pipeline watched is ready");
    command.option({.names = "--interval", .value = "DURATION", .help = "How often to look: 500ms on a terminal, else 2s"},
                   o->interval);
    command.option({.names = "--timeout", .value = "DURATION", .help = "End after this long"}, o->timeout);
    command.footer(
        "Example: homeostat watch articles --until-converged --timeout 10m\n"
        "Exit codes: 0 ended or converged, 1 stopped or timed out before it had converged, 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
