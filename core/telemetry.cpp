#include "core/telemetry.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace homeostat {

namespace {

void read(const Counter& c, MetricFamily::Sample& s) { s.value = c.value(); }
void read(const Gauge& g, MetricFamily::Sample& s) { s.value = g.value(); }
void read(const Histogram& h, MetricFamily::Sample& s) {
    s.bounds = h.bounds();
    s.bucket_counts = h.counts();
    s.sum = h.sum();
}

}  // namespace

void Histogram::observe(double v) noexcept {
    if (std::isnan(v)) return;  // it would make the sum useless for ever
    const auto bucket = std::ranges::lower_bound(bounds_, v) - bounds_.begin();
    counts_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(v, std::memory_order_relaxed);
}

std::vector<std::uint64_t> Histogram::counts() const {
    std::vector<std::uint64_t> out;
    out.reserve(counts_.size());
    for (const auto& c : counts_) out.push_back(c.load(std::memory_order_relaxed));
    return out;
}

template <class T, class Make>
T& Registry::series(std::string_view name, std::string_view help, MetricKind kind, const Labels& labels, Make make) {
    const Lock lock(mutex_);
    auto at = families_.find(name);
    if (at == families_.end()) {
        at = families_.emplace(std::string(name), Family{.help = std::string(help), .kind = kind, .series = {}, .retired = {}})
                 .first;
    }
    Family& family = at->second;
    if (family.kind != kind) {
        // A slip of ours that must not take the process down: the caller gets an instrument that nobody reads.
        return *std::get<std::unique_ptr<T>>(family.retired.emplace_back(make()));
    }
    auto series = family.series.find(labels);
    if (series == family.series.end()) series = family.series.emplace(labels, make()).first;
    return *std::get<std::unique_ptr<T>>(series->second);
}

Counter& Registry::counter(std::string_view name, std::string_view help, const Labels& labels) {
    return series<Counter>(name, help, MetricKind::counter, labels, [] { return std::make_unique<Counter>(); });
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, const Labels& labels) {
    return series<Gauge>(name, help, MetricKind::gauge, labels, [] { return std::make_unique<Gauge>(); });
}

Histogram& Registry::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                               const Labels& labels) {
    return series<Histogram>(name, help, MetricKind::histogram, labels, [&] { return std::make_unique<Histogram>(bounds); });
}

void Registry::forget(std::string_view label, std::string_view value) {
    const auto names_it = [&](const auto& pair) { return pair.first == label && pair.second == value; };
    const Lock lock(mutex_);
    for (auto& [name, family] : families_) {
        for (auto s = family.series.begin(); s != family.series.end();) {
            if (std::ranges::none_of(s->first, names_it)) {
                ++s;
                continue;
            }
            family.retired.push_back(std::move(s->second));
            s = family.series.erase(s);
        }
    }
}

std::vector<MetricFamily> Registry::collect() const {
    const Lock lock(mutex_);
    std::vector<MetricFamily> out;
    out.reserve(families_.size());
    for (const auto& [name, family] : families_) {
        MetricFamily f{.name = name, .help = family.help, .kind = family.kind, .samples = {}};
        for (const auto& [labels, instrument] : family.series) {
            MetricFamily::Sample sample{.labels = labels};
            std::visit([&](const auto& i) { read(*i, sample); }, instrument);
            f.samples.push_back(std::move(sample));
        }
        out.push_back(std::move(f));
    }
    return out;
}

}  // namespace homeostat
