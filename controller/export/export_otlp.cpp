// Spans by OTLP over HTTP, through opentelemetry-cpp. Only its last steps are used (record, encode, send): the SDK's tracers make
// their own ids, and ours are in logs and tables; and its OtlpHttpExporter answers "success" whatever happened (1.19), so its
// client is called directly. Linked, not loaded: it adds 12 MB to an idle process, nearly all of it file pages, and an exporter
// of our own would cost the protobuf, the OTEL_* variables and the TLS options again.
#include <fmt/format.h>
#include <opentelemetry/common/key_value_iterable_view.h>
#include <opentelemetry/exporters/otlp/otlp_http_client.h>
#include <opentelemetry/exporters/otlp/otlp_http_exporter_options.h>
#include <opentelemetry/exporters/otlp/otlp_recordable.h>
#include <opentelemetry/exporters/otlp/otlp_recordable_utils.h>
#include <opentelemetry/proto/collector/trace/v1/trace_service.pb.h>
#include <opentelemetry/sdk/common/global_log_handler.h>
#include <opentelemetry/sdk/instrumentationscope/instrumentation_scope.h>
#include <opentelemetry/sdk/resource/resource.h>
#include <opentelemetry/trace/span_context.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <map>

#include "controller/export/export_traces.hpp"

namespace homeostat {

namespace {

namespace otel = opentelemetry;
namespace otlp = opentelemetry::exporter::otlp;

// The library prints to standard output otherwise. What matters of it comes back as a result and is logged by TraceExporter.
class QuietLog final : public otel::sdk::common::internal_log::LogHandler {
public:
    void Handle(otel::sdk::common::internal_log::LogLevel, const char*, int, const char* message,
                const otel::sdk::common::AttributeMap&) noexcept override {
        try {
            spdlog::debug("opentelemetry: {}", message == nullptr ? "" : message);
        } catch (...) {  // NOLINT(bugprone-empty-catch): a log line is not worth the process
        }
    }
};

otel::trace::SpanContext context_of(const SpanContext& c) {
    return {otel::trace::TraceId(c.trace.bytes), otel::trace::SpanId(c.span.bytes),
            otel::trace::TraceFlags(otel::trace::TraceFlags::kIsSampled), false};
}

otel::trace::SpanKind kind_of(SpanKind kind) {
    switch (kind) {
        case SpanKind::internal: return otel::trace::SpanKind::kInternal;
        case SpanKind::client: return otel::trace::SpanKind::kClient;
        case SpanKind::consumer: return otel::trace::SpanKind::kConsumer;
        case SpanKind::producer: return otel::trace::SpanKind::kProducer;
    }
    return otel::trace::SpanKind::kInternal;
}

void set(otel::sdk::trace::Recordable& out, const std::string& key, const AttributeValue& value) {
    std::visit(
        [&](const auto& v) {
            using Value = std::decay_t<decltype(v)>;
            if constexpr (std::is_same_v<Value, std::string>) {
                out.SetAttribute(key, otel::nostd::string_view(v.data(), v.size()));
            } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
                const std::vector<otel::nostd::string_view> list(v.begin(), v.end());
                out.SetAttribute(key, otel::nostd::span<const otel::nostd::string_view>(list.data(), list.size()));
            } else {
                out.SetAttribute(key, v);
            }
        },
        value);
}

void record(const SpanData& span, otel::sdk::trace::Recordable& out) {
    out.SetIdentity(context_of(span.context), otel::trace::SpanId(span.parent.bytes));
    out.SetTraceFlags(otel::trace::TraceFlags(otel::trace::TraceFlags::kIsSampled));
    out.SetName(span.name);
    out.SetSpanKind(kind_of(span.kind));
    out.SetStartTime(otel::common::SystemTimestamp(span.start));
    out.SetDuration(std::chrono::duration_cast<std::chrono::nanoseconds>(span.end - span.start));
    for (const auto& [key, value] : span.attributes) set(out, key, value);
    const std::map<std::string, std::string> none;
    for (const auto& link : span.links) {
        out.AddLink(context_of(link), otel::common::KeyValueIterableView<std::map<std::string, std::string>>(none));
    }
    if (!span.error.empty()) out.SetStatus(otel::trace::StatusCode::kError, span.error);
}

std::string_view environment(const char* name) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
    return value == nullptr ? std::string_view() : std::string_view(value);
}

// What the environment says about the service wins over us; in the library what is given here would win.
otel::sdk::resource::Resource resource_of(std::string_view version) {
    otel::sdk::resource::ResourceAttributes attributes;
    attributes.SetAttribute("service.version", otel::nostd::string_view(version.data(), version.size()));
    const auto name = environment("OTEL_SERVICE_NAME");
    if (!name.empty()) {
        attributes.SetAttribute("service.name", otel::nostd::string_view(name.data(), name.size()));
    } else if (environment("OTEL_RESOURCE_ATTRIBUTES").find("service.name=") == std::string_view::npos) {
        attributes.SetAttribute("service.name", "homeostat");
    }
    return otel::sdk::resource::Resource::Create(attributes);
}

// The variables were read by the constructor of `o`; this hands them on as the library's own exporter does.
otlp::OtlpHttpClientOptions client_options(const otlp::OtlpHttpExporterOptions& o) {
    return {o.url,
            o.ssl_insecure_skip_verify,
            o.ssl_ca_cert_path,
            o.ssl_ca_cert_string,
            o.ssl_client_key_path,
            o.ssl_client_key_string,
            o.ssl_client_cert_path,
            o.ssl_client_cert_string,
            o.ssl_min_tls,
            o.ssl_max_tls,
            o.ssl_cipher,
            o.ssl_cipher_suite,
            o.content_type,
            o.json_bytes_mapping,
            o.compression,
            o.use_json_name,
            o.console_debug,
            o.timeout,
            o.http_headers,
            o.retry_policy_max_attempts,
            o.retry_policy_initial_backoff,
            o.retry_policy_max_backoff,
            o.retry_policy_backoff_multiplier,
            nullptr};
}

class OtlpSender {
public:
    explicit OtlpSender(std::string_view version)
        : resource_(resource_of(version)),
          scope_(otel::sdk::instrumentationscope::InstrumentationScope::Create("homeostat", std::string(version))),
          client_(client_options(options_)) {}

    Status operator()(const std::vector<SpanData>& spans) {
        std::vector<std::unique_ptr<otel::sdk::trace::Recordable>> records;
        records.reserve(spans.size());
        for (const auto& span : spans) {
            records.push_back(std::make_unique<otlp::OtlpRecordable>());
            record(span, *records.back());
            records.back()->SetResource(resource_);
            records.back()->SetInstrumentationScope(*scope_);
        }
        otel::proto::collector::trace::v1::ExportTraceServiceRequest request;
        otlp::OtlpRecordableUtils::PopulateRequest({records.data(), records.size()}, &request);
        if (client_.Export(request) == otel::sdk::common::ExportResult::kSuccess) return {};
        return Error{.cls = ErrorClass::transient,
                     .message = fmt::format("the collector at {} did not take {} spans; check the address and that it is up",
                                            options_.url, spans.size()),
                     .origin = Origin::theirs};
    }

private:
    const otlp::OtlpHttpExporterOptions options_;
    const otel::sdk::resource::Resource resource_;
    const std::unique_ptr<otel::sdk::instrumentationscope::InstrumentationScope> scope_;
    otlp::OtlpHttpClient client_;
};

}  // namespace

Result<SendSpans> make_otlp_sender(std::string_view version) {
    using Handler = otel::sdk::common::internal_log::GlobalLogHandler;
    Handler::SetLogHandler(otel::nostd::shared_ptr<otel::sdk::common::internal_log::LogHandler>(new QuietLog));
    const auto sender = std::make_shared<OtlpSender>(version);
    return SendSpans([sender](const std::vector<SpanData>& spans) { return (*sender)(spans); });
}

}  // namespace homeostat
