#include "controller/export/export_traces.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <system_error>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kSpans = "homeostat_trace_spans_total";
constexpr std::size_t kMostQuoted = 60;  // letters
constexpr std::string_view kSpansHelp = "Finished spans by what became of them.";

std::string_view environment(const char* name) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
    return value == nullptr ? std::string_view() : std::string_view(value);
}

// An empty variable counts as unset, as the specification says.
std::string_view first_set(const char* specific, const char* general) {
    const auto value = environment(specific);
    return value.empty() ? environment(general) : value;
}

}  // namespace

TraceExporter::TraceExporter(SendSpans send, Registry& metrics)
    : send_(std::move(send)),
      sent_(metrics.counter(kSpans, kSpansHelp, {{"outcome", "sent"}})),
      failed_(metrics.counter(kSpans, kSpansHelp, {{"outcome", "failed"}})),
      dropped_(metrics.counter(kSpans, kSpansHelp, {{"outcome", "dropped"}})) {}

void TraceExporter::finished(SpanData&& span) {
    const Lock lock(mutex_);
    if (queue_.size() == kQueue) {
        dropped_.add();
        return;
    }
    queue_.push_back(std::move(span));
    if (queue_.size() == kBatch) full_.notify_one();
}

void TraceExporter::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        if (const auto batch = wait_for_batch(stop); !batch.empty()) send(batch);
    }
    for (auto batch = wait_for_batch(stop); !batch.empty(); batch = wait_for_batch(stop)) {
        if (!send(batch)) break;
    }
}

std::vector<SpanData> TraceExporter::wait_for_batch(const std::stop_token& stop) {
    // Pacing only, so the clock of the condition variable will do.
    const auto deadline = std::chrono::steady_clock::now() + kDelay;
    const Lock lock(mutex_);
    while (queue_.size() < kBatch && std::chrono::steady_clock::now() < deadline) {
        if (!full_.wait_until(mutex_, stop, deadline)) break;
    }
    const auto n = std::min(queue_.size(), kBatch);
    std::vector<SpanData> batch(std::make_move_iterator(queue_.begin()),
                                std::make_move_iterator(queue_.begin() + static_cast<std::ptrdiff_t>(n)));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(n));
    return batch;
}

bool TraceExporter::send(const std::vector<SpanData>& batch) {
    const Status sent = send_(batch);
    (sent ? sent_ : failed_).add(static_cast<double>(batch.size()));
    // Told once when it breaks and once when it mends: a collector that is away for a day is not a day of lines.
    if (!sent && !failing_) spdlog::warn("traces cannot be exported and are dropped for now: {}", sent.error().message);
    if (sent && failing_) spdlog::info("traces are exported again");
    failing_ = !sent;
    return sent.ok();
}

TraceSampler trace_sampler() {
    std::string_view name = environment("OTEL_TRACES_SAMPLER");
    constexpr std::string_view parent = "parentbased_";
    if (name.starts_with(parent)) name.remove_prefix(parent.size());
    if (name.empty() || name == "always_on") return {};
    if (name == "always_off") return TraceSampler(0);
    if (name != "traceidratio") {
        spdlog::warn(
            "OTEL_TRACES_SAMPLER is \"{}\", which is none of always_on, always_off, traceidratio and parentbased_ with one "
            "of these; all traces are exported",
            outside_text(environment("OTEL_TRACES_SAMPLER"), kMostQuoted));
        return {};
    }
    const std::string argument(environment("OTEL_TRACES_SAMPLER_ARG"));
    if (argument.empty()) return {};
    double share = 1;
    const auto [end, problem] = std::from_chars(argument.data(), argument.data() + argument.size(), share);
    if (problem == std::errc() && end == argument.data() + argument.size() && share >= 0 && share <= 1)
        return TraceSampler(share);
    spdlog::warn("OTEL_TRACES_SAMPLER_ARG is \"{}\", and has to be a share from 0 to 1; all traces are exported",
                 outside_text(argument, kMostQuoted));
    return {};
}

Result<std::unique_ptr<TraceExporter>> make_trace_exporter(std::string_view version, Registry& metrics) {
    std::string disabled(environment("OTEL_SDK_DISABLED"));
    std::ranges::transform(disabled, disabled.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const bool wanted = !first_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT").empty();
    if (!wanted || disabled == "true" || environment("OTEL_TRACES_EXPORTER") == "none") return std::unique_ptr<TraceExporter>();
    const auto protocol = first_set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
    if (!protocol.empty() && protocol != "http/protobuf" && protocol != "http/json") {
        return invalid(
            fmt::format("OTEL_EXPORTER_OTLP_PROTOCOL is \"{}\"; traces can be exported by http/protobuf and http/json (port "
                        "4318 of most collectors)",
                        protocol));
    }
    auto sender = make_otlp_sender(version);
    if (!sender) return std::move(sender).error();
    return std::make_unique<TraceExporter>(*std::move(sender), metrics);
}

}  // namespace homeostat
