// Counters, gauges and histograms as every layer speaks them; spans are in core/span.hpp. No exporter lives here:
// controller/export walks a Registry for Prometheus; tests read it in memory.
//
// Instruments may be updated from any thread without a lock. A Registry hands out references that live as long as it does.
// Labels are few and bounded: never a document id, never text of a document.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/span.hpp"
#include "core/sync.hpp"

namespace homeostat {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
public:
    void add(double n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
    double value() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<double> value_{0};
};

class Gauge {
public:
    void set(double v) noexcept { value_.store(v, std::memory_order_relaxed); }
    void add(double n) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
    double value() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<double> value_{0};
};

// Cumulative buckets; bounds are upper limits in the unit of the metric, ascending.
class Histogram {
public:
    explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
    void observe(double v) noexcept;
    const std::vector<double>& bounds() const noexcept { return bounds_; }
    std::vector<std::uint64_t> counts() const;  // per bucket, not cumulative; the last one is +Inf
    double sum() const noexcept { return sum_.load(std::memory_order_relaxed); }

private:
    std::vector<double> bounds_;
    std::vector<std::atomic<std::uint64_t>> counts_;
    std::atomic<double> sum_{0};
};

enum class MetricKind : std::uint8_t { counter, gauge, histogram };

struct MetricFamily {
    std::string name;
    std::string help;
    MetricKind kind;
    struct Sample {
        Labels labels;
        double value = 0;                        // counter, gauge
        std::vector<double> bounds;              // histogram
        std::vector<std::uint64_t> bucket_counts;
        double sum = 0;
    };
    std::vector<Sample> samples;
};

class Registry {
public:
    // The same name and labels give the same instrument; a name keeps the kind it was first given.
    Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {}) EXCLUDES(mutex_);
    Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {}) EXCLUDES(mutex_);
    Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                         const Labels& labels = {}) EXCLUDES(mutex_);
    // Forgets all series of a name whose labels contain this pair (an object that is gone).
    void forget(std::string_view label, std::string_view value) EXCLUDES(mutex_);

    std::vector<MetricFamily> collect() const EXCLUDES(mutex_);

private:
    using Instrument = std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;
    struct Family {
        std::string help;
        MetricKind kind;
        std::map<Labels, Instrument> series;
        std::vector<Instrument> retired;  // forgotten, but somebody may still hold the reference
    };
    template <class T, class Make>
    T& series(std::string_view name, std::string_view help, MetricKind kind, const Labels& labels, Make make) EXCLUDES(mutex_);

    mutable Mutex mutex_;
    std::map<std::string, Family, std::less<>> families_ GUARDED_BY(mutex_);
};

// What a part needs to speak: passed down from the controller, never global.
struct Telemetry {
    Registry& metrics;
    const Tracer& tracer;
};

}  // namespace homeostat
