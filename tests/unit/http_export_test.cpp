// What leaves the process: Prometheus text, judged by promtool; OTLP, decoded with the official schema.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "controller/export/export_prometheus.hpp"
#include "controller/export/export_traces.hpp"
#include "core/sync.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Runs a command with `input` as its standard input; what it printed, and its exit code.
std::pair<int, std::string> run(const std::string& command, const std::string& input) {
    const auto path = std::filesystem::temp_directory_path() / ("homeostat-export-" + std::to_string(::getpid()));
    std::ofstream(path, std::ios::binary) << input;
    std::FILE* pipe = ::popen((command + " 2>&1 <" + path.string()).c_str(), "r");
    std::string out;
    char buffer[4096];
    for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    const int code = ::pclose(pipe);
    std::filesystem::remove(path);
    return {code, out};
}

bool have(const std::string& program) { return run("command -v " + program, "").first == 0; }

TEST(Prometheus, TextHoldsEveryKindAndPromtoolHasNoComplaint) {
    Registry registry;
    registry.counter("homeostat_batches_total", "Batches by outcome.", {{"outcome", "a \"quoted\"\nline\\"}}).add(3);
    registry.counter("homeostat_batches_total", "Batches by outcome.", {{"outcome", "fine"}});
    registry.gauge("homeostat_leases_held", "Leases held by this replica.").set(-1.5);
    auto& h = registry.histogram("homeostat_batch_duration_seconds", "Duration of batches.", {0.1, 1}, {{"pipeline", "p"}});
    for (const double v : {0.05, 0.5, 0.6, 7.0}) h.observe(v);
    const std::string text = prometheus_text(registry);
    EXPECT_THAT(text, HasSubstr("# TYPE homeostat_batches_total counter\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batches_total{outcome=\"a \\\"quoted\\\"\\nline\\\\\"} 3\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batches_total{outcome=\"fine\"} 0\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_leases_held -1.5\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batch_duration_seconds_bucket{pipeline=\"p\",le=\"0.1\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batch_duration_seconds_bucket{pipeline=\"p\",le=\"1\"} 3\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batch_duration_seconds_bucket{pipeline=\"p\",le=\"+Inf\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("homeostat_batch_duration_seconds_count{pipeline=\"p\"} 4\n"));
    if (!have("promtool")) GTEST_SKIP() << "promtool is not installed";
    const auto [code, said] = run("promtool check metrics", text);
    EXPECT_EQ(code, 0) << said;
    // The judge is awake: a counter without _total must not pass.
    Registry bad;
    bad.counter("homeostat_batches", "Batches.").add();
    EXPECT_NE(run("promtool check metrics", prometheus_text(bad)).first, 0);
}

SpanData span_of(std::uint8_t id) {
    SpanData s;
    s.name = "embeddings m";
    s.kind = SpanKind::client;
    s.context.trace.bytes.fill(0xab);
    s.context.span.bytes.fill(id);
    s.parent.bytes.fill(0x33);
    SpanContext link;
    link.trace.bytes.fill(0x44);
    link.span.bytes.fill(0x55);
    s.links.push_back(link);
    s.start = WallTime(1'700'000'000s);
    s.end = s.start + 1500ms;
    s.attributes = {{"gen_ai.request.model", std::string("m")},
                    {"n", std::int64_t{7}},
                    {"ratio", 0.5},
                    {"yes", true},
                    {"formats", std::vector<std::string>{"base64", "float"}}};
    s.error = "it broke";
    return s;
}

TEST(TraceExporter, SendsFullBatchesAtOnceAndTheRestAtTheEnd) {
    Registry registry;
    std::vector<std::size_t> sizes;
    std::promise<void> first;
    TraceExporter exporter(
        [&](const std::vector<SpanData>& batch) -> Status {
            sizes.push_back(batch.size());
            if (sizes.size() == 1) first.set_value();
            return {};
        },
        registry);
    std::jthread runner([&](const std::stop_token& stop) { exporter.run(stop); });
    for (std::size_t i = 0; i < TraceExporter::kBatch; ++i) exporter.finished(span_of(1));
    ASSERT_EQ(first.get_future().wait_for(TraceExporter::kDelay / 2), std::future_status::ready);
    exporter.finished(span_of(2));
    runner.request_stop();
    runner.join();
    EXPECT_EQ(sizes, (std::vector<std::size_t>{TraceExporter::kBatch, 1}));
    EXPECT_EQ(registry.counter("homeostat_trace_spans_total", "", {{"outcome", "sent"}}).value(), TraceExporter::kBatch + 1);
}

TEST(TraceExporter, NeverBlocksAndCountsWhatItLoses) {
    Registry registry;
    TraceExporter exporter([](const std::vector<SpanData>&) -> Status { return internal_error("away"); }, registry);
    for (std::size_t i = 0; i < TraceExporter::kQueue + 10; ++i) exporter.finished(span_of(1));
    EXPECT_EQ(registry.counter("homeostat_trace_spans_total", "", {{"outcome", "dropped"}}).value(), 10);
    std::stop_source stop;
    stop.request_stop();
    exporter.run(stop.get_token());
    EXPECT_EQ(registry.counter("homeostat_trace_spans_total", "", {{"outcome", "failed"}}).value(), TraceExporter::kBatch)
        << "at the end it gives up at the first failure";
}

// A collector made of our own server.
class Collector {
public:
    explicit Collector(int status = 200) : server_(io_.executor(), {}) {
        server_.route("POST", "/v1/traces", [this, status](const HttpRequest& r) {
            const Lock lock(mutex_);
            bodies_.push_back(r.body);
            return HttpResponse{.status = status, .content_type = "application/json", .body = "{}"};
        });
        if (!server_.start()) throw std::runtime_error("the collector cannot listen");
    }
    ~Collector() { server_.stop(1s); }
    Collector(const Collector&) = delete;
    Collector& operator=(const Collector&) = delete;

    std::string url() const { return "http://127.0.0.1:" + std::to_string(server_.port()); }
    std::vector<std::string> bodies() const {
        const Lock lock(mutex_);
        return bodies_;
    }

private:
    kit::IoThread io_;
    mutable Mutex mutex_;
    std::vector<std::string> bodies_ GUARDED_BY(mutex_);
    HttpServer server_;
};

class Otlp : public ::testing::Test {
protected:
    void SetUp() override { clear(); }
    void TearDown() override { clear(); }
    static void clear() {
        for (const char* name :
             {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
              "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_RESOURCE_ATTRIBUTES",
              "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}) {
            ::unsetenv(name);
        }
    }
    static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
    std::unique_ptr<TraceExporter> made() {
        auto exporter = make_trace_exporter("1.2.3", registry);
        EXPECT_TRUE(exporter) << exporter.error().message;
        return exporter ? *std::move(exporter) : nullptr;
    }
    static void flush(TraceExporter& exporter) {
        std::stop_source stop;
        stop.request_stop();
        exporter.run(stop.get_token());
    }
    Registry registry;
};

TEST_F(Otlp, TheEnvironmentDecides) {
    EXPECT_EQ(made(), nullptr) << "nothing asked for, nothing made";
    set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    set("OTEL_SDK_DISABLED", "True");
    EXPECT_EQ(made(), nullptr);
    set("OTEL_SDK_DISABLED", "false");
    set("OTEL_TRACES_EXPORTER", "none");
    EXPECT_EQ(made(), nullptr);
    ::unsetenv("OTEL_TRACES_EXPORTER");
    set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    const auto refused = make_trace_exporter("1", registry);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("\"grpc\""));
}

TEST_F(Otlp, TheEnvironmentSamples) {
    TraceId low;
    TraceId high;
    high.bytes.fill(0xff);
    const auto takes = [&](const std::string& sampler, const std::string& argument) {
        set("OTEL_TRACES_SAMPLER", sampler);
        set("OTEL_TRACES_SAMPLER_ARG", argument);
        const TraceSampler made = trace_sampler();
        return std::string(made.takes(low) ? "low " : "") + (made.takes(high) ? "high" : "");
    };
    EXPECT_EQ(takes("", ""), "low high");
    EXPECT_EQ(takes("parentbased_always_on", "0"), "low high");
    EXPECT_EQ(takes("always_off", ""), "");
    EXPECT_EQ(takes("parentbased_always_off", ""), "");
    EXPECT_EQ(takes("traceidratio", "0.5"), "low ");
    EXPECT_EQ(takes("parentbased_traceidratio", "0"), "");
    EXPECT_EQ(takes("traceidratio", "1"), "low high");
    for (const char* odd : {"", "half", "-1", "2", "0.5x", "nan"}) EXPECT_EQ(takes("traceidratio", odd), "low high") << odd;
    EXPECT_EQ(takes("jaeger_remote", "0"), "low high");
}

#if HOMEOSTAT_OTLP
TEST_F(Otlp, JsonCarriesOurIds) {
    const Collector collector;
    set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
    const auto exporter = made();
    ASSERT_NE(exporter, nullptr);
    exporter->finished(span_of(0xcd));
    flush(*exporter);
    ASSERT_EQ(collector.bodies().size(), 1U);
    const auto body = nlohmann::json::parse(collector.bodies()[0]);
    const auto& resource = body["resourceSpans"][0];
    std::map<std::string, std::string> about;
    for (const auto& a : resource["resource"]["attributes"]) about[a["key"]] = a["value"].value("stringValue", "");
    EXPECT_EQ(about["service.name"], "homeostat");
    EXPECT_EQ(about["service.version"], "1.2.3");
    EXPECT_EQ(about["deployment.environment"], "test");
    const auto& span = resource["scopeSpans"][0]["spans"][0];
    EXPECT_EQ(span["traceId"], "abababababababababababababababab");
    EXPECT_EQ(span["spanId"], "cdcdcdcdcdcdcdcd");
    EXPECT_EQ(span["parentSpanId"], "3333333333333333");
    EXPECT_EQ(span["name"], "embeddings m");
    EXPECT_EQ(span["kind"], 3);
    EXPECT_EQ(span["startTimeUnixNano"], "1700000000000000000");
    EXPECT_EQ(span["endTimeUnixNano"], "1700000001500000000");
    EXPECT_EQ(span["links"][0]["spanId"], "5555555555555555");
    EXPECT_EQ(span["status"]["message"], "it broke");
    EXPECT_EQ(span["status"]["code"], 2);
    EXPECT_EQ(span["attributes"].size(), 5U);
    EXPECT_EQ(span["attributes"].back()["value"]["arrayValue"]["values"][1]["stringValue"], "float");
}

TEST_F(Otlp, ProtobufDecodesWithTheOfficialSchema) {
    if (!have("protoc") || !std::filesystem::exists("/usr/include/opentelemetry/proto/collector/trace/v1/trace_service.proto")) {
        GTEST_SKIP() << "protoc or opentelemetry-proto is not installed";
    }
    const Collector collector;
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url() + "/v1/traces");
    set("OTEL_SERVICE_NAME", "shop-search");
    const auto exporter = made();
    ASSERT_NE(exporter, nullptr);
    exporter->finished(span_of(0xcd));
    exporter->finished(span_of(0xce));
    flush(*exporter);
    ASSERT_EQ(collector.bodies().size(), 1U);
    const auto [code, text] =
        run("protoc -I/usr/include --decode=opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest "
            "opentelemetry/proto/collector/trace/v1/trace_service.proto",
            collector.bodies()[0]);
    ASSERT_EQ(code, 0) << text;
    EXPECT_THAT(text, HasSubstr("string_value: \"shop-search\""));
    EXPECT_THAT(text, HasSubstr(R"(trace_id: "\253\253\253\253)"));
    EXPECT_THAT(text, HasSubstr(R"(span_id: "\315\315\315\315)"));
    EXPECT_THAT(text, HasSubstr(R"(span_id: "\316\316\316\316)"));
    EXPECT_THAT(text, HasSubstr("kind: SPAN_KIND_CLIENT"));
    EXPECT_THAT(text, HasSubstr("int_value: 7"));
    EXPECT_THAT(text, HasSubstr("code: STATUS_CODE_ERROR"));
}

TEST_F(Otlp, ACollectorThatRefusesCostsSpansOnly) {
    const Collector collector(400);
    set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    const auto exporter = made();
    ASSERT_NE(exporter, nullptr);
    exporter->finished(span_of(1));
    flush(*exporter);
    EXPECT_EQ(collector.bodies().size(), 1U);
    EXPECT_EQ(registry.counter("homeostat_trace_spans_total", "", {{"outcome", "failed"}}).value(), 1);
}
#else
TEST_F(Otlp, ABuildWithoutItSaysSo) {
    set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    const auto refused = make_trace_exporter("1", registry);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("HOMEOSTAT_OTLP"));
}
#endif

}  // namespace
}  // namespace homeostat
