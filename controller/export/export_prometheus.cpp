#include "controller/export/export_prometheus.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <numeric>
#include <sstream>

namespace homeostat {

namespace {

prometheus::MetricType type_of(MetricKind kind) {
    switch (kind) {
        case MetricKind::counter: return prometheus::MetricType::Counter;
        case MetricKind::gauge: return prometheus::MetricType::Gauge;
        case MetricKind::histogram: return prometheus::MetricType::Histogram;
    }
    return prometheus::MetricType::Untyped;
}

// Ours are counts of each bucket, Prometheus wants them cumulative.
prometheus::ClientMetric::Histogram histogram_of(const MetricFamily::Sample& sample) {
    prometheus::ClientMetric::Histogram out;
    for (std::size_t i = 0; i < sample.bucket_counts.size(); ++i) {
        out.sample_count += sample.bucket_counts[i];
        const double bound = i < sample.bounds.size() ? sample.bounds[i] : std::numeric_limits<double>::infinity();
        out.bucket.push_back({.cumulative_count = out.sample_count, .upper_bound = bound});
    }
    out.sample_sum = sample.sum;
    return out;
}

prometheus::ClientMetric metric_of(MetricKind kind, const MetricFamily::Sample& sample) {
    prometheus::ClientMetric out;
    for (const auto& [name, value] : sample.labels) out.label.push_back({.name = name, .value = value});
    if (kind == MetricKind::counter) out.counter.value = sample.value;
    if (kind == MetricKind::gauge) out.gauge.value = sample.value;
    if (kind == MetricKind::histogram) out.histogram = histogram_of(sample);
    return out;
}

}  // namespace

std::string prometheus_text(const Registry& registry) {
    std::vector<prometheus::MetricFamily> families;
    for (const MetricFamily& family : registry.collect()) {
        if (family.samples.empty()) continue;
        prometheus::MetricFamily out{.name = family.name, .help = family.help, .type = type_of(family.kind), .metric = {}};
        for (const auto& sample : family.samples) out.metric.push_back(metric_of(family.kind, sample));
        families.push_back(std::move(out));
    }
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families);
    return std::move(text).str();
}

void add_metrics_route(HttpServer& server, const Registry& registry) {
    server.route("GET", "/metrics", [&registry](const HttpRequest&) {
        return HttpResponse{
            .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = prometheus_text(registry)};
    });
}

}  // namespace homeostat
