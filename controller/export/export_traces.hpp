// Finished spans on their way out. Spans are queued without blocking and sent in batches by whoever runs run(): one thread, made
// by the controller. A collector that is away costs spans, counted in homeostat_trace_spans_total, and nothing else.
//
// The environment decides, by OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT or ..._TRACES_ENDPOINT switch it on,
// OTEL_SDK_DISABLED=true or OTEL_TRACES_EXPORTER=none off; ..._PROTOCOL (http/protobuf, http/json), ..._HEADERS, ..._TIMEOUT,
// ..._CERTIFICATE, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are honoured. Trace and span ids are ours, as logs and tables
// have them.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

// Sends one batch and says how that went. Called by one thread at a time; may block for the exporter's timeout.
using SendSpans = std::function<Status(const std::vector<SpanData>&)>;

class TraceExporter final : public SpanSink {
public:
    static constexpr std::size_t kQueue = 2048;
    static constexpr std::size_t kBatch = 512;
    static constexpr std::chrono::seconds kDelay{5};

    // `metrics` outlives the exporter.
    TraceExporter(SendSpans send, Registry& metrics);

    // Never blocks: what does not fit is dropped and counted.
    void finished(SpanData&& span) override EXCLUDES(mutex_);

    // Sends a batch as soon as it is full or kDelay old, until `stop`; then what is left, giving up at the first failure.
    void run(const std::stop_token& stop) EXCLUDES(mutex_);

private:
    std::vector<SpanData> wait_for_batch(const std::stop_token& stop) EXCLUDES(mutex_);
    bool send(const std::vector<SpanData>& batch);

    const SendSpans send_;
    Counter& sent_;
    Counter& failed_;
    Counter& dropped_;
    bool failing_ = false;  // of the thread in run()
    Mutex mutex_;
    CondVar full_;
    std::deque<SpanData> queue_ GUARDED_BY(mutex_);
};

// What the environment asks for: an exporter, nullptr where it asks for none, or an Error where it asks for what this build or we
// cannot do (gRPC, a build without OTLP). `version` goes into the resource.
Result<std::unique_ptr<TraceExporter>> make_trace_exporter(std::string_view version, Registry& metrics);

// Which traces are exported, by OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. Every trace begins here, so that one "based on
// its parent" is decided as its root is. A sampler that is not known is warned of, and then all are taken.
TraceSampler trace_sampler();

// Where spans go by OTLP over HTTP, read from the environment. Fails in a build without opentelemetry-cpp.
Result<SendSpans> make_otlp_sender(std::string_view version);

}  // namespace homeostat
