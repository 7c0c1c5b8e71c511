#include "core/telemetry.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

namespace homeostat {

namespace {

// Ids only have to be unlikely to meet, so the kernel is asked directly: no generator to seed, share or own.
void fill_random(std::span<std::uint8_t> bytes) noexcept {
    while (std::ranges::all_of(bytes, [](std::uint8_t b) { return b == 0; })) {  // all zero means "absent" to W3C
        while (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        }
    }
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const std::uint8_t b : bytes) {
        out += digits[b >> 4U];
        out += digits[b & 0xFU];
    }
    return out;
}

// W3C allows lower case only.
std::optional<unsigned> hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10U;
    return std::nullopt;
}

bool from_hex(std::string_view text, std::span<std::uint8_t> out) noexcept {
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto high = hex_digit(text[2 * i]);
        const auto low = hex_digit(text[2 * i + 1]);
        if (!high || !low) return false;
        out[i] = static_cast<std::uint8_t>(*high << 4U | *low);
    }
    return true;
}

bool any_set(std::span<const std::uint8_t> bytes) noexcept {
    return std::ranges::any_of(bytes, [](std::uint8_t b) { return b != 0; });
}

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

bool TraceId::valid() const noexcept { return any_set(bytes); }
std::string TraceId::hex() const { return to_hex(bytes); }
bool SpanId::valid() const noexcept { return any_set(bytes); }
std::string SpanId::hex() const { return to_hex(bytes); }

std::string SpanContext::traceparent() const { return valid() ? "00-" + trace.hex() + "-" + span.hex() + "-01" : std::string(); }

SpanContext SpanContext::from_traceparent(std::string_view text) noexcept {
    // version-trace-span-flags: 2, 32, 16 and 2 hex digits. A later version may append fields, version 00 may not.
    constexpr std::size_t length = 55;
    if (text.size() < length || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
    if (text.size() > length && (text.starts_with("00") || text[length] != '-')) return {};
    std::array<std::uint8_t, 1> version{};
    std::array<std::uint8_t, 1> flags{};
    SpanContext c;
    const bool well_formed = from_hex(text, version) && version[0] != 0xFF && from_hex(text.substr(3), c.trace.bytes) &&
                             from_hex(text.substr(36), c.span.bytes) && from_hex(text.substr(53), flags);
    return well_formed && c.valid() ? c : SpanContext{};
}

Span& Span::operator=(Span&& other) noexcept {
    if (this != &other) {
        end();
        tracer_ = other.tracer_;
        data_ = std::move(other.data_);
    }
    return *this;
}

void Span::set(std::string_view key, AttributeValue value) {
    if (!data_) return;
    const auto at = std::ranges::find(data_->attributes, key, [](const auto& a) { return std::string_view(a.first); });
    if (at != data_->attributes.end()) {
        at->second = std::move(value);
    } else {
        data_->attributes.emplace_back(key, std::move(value));
    }
}

void Span::link(const SpanContext& other) {
    if (data_ && other.valid()) data_->links.push_back(other);
}

void Span::fail(std::string_view error) {
    if (data_) data_->error = error.empty() ? "failed" : error;
}

void Span::end() {
    if (!data_) return;
    const auto finished = std::exchange(data_, nullptr);
    finished->end = tracer_->clock_.now();
    tracer_->sink_->finished(std::move(*finished));
}

Span Tracer::start(std::string_view name, SpanKind kind, const SpanContext& parent) const {
    Span s;
    if (sink_ == nullptr) return s;
    s.tracer_ = this;
    s.data_ = std::make_unique<SpanData>();
    s.data_->name = name;
    s.data_->kind = kind;
    s.data_->start = clock_.now();
    if (parent.valid()) {
        s.data_->context.trace = parent.trace;
        s.data_->parent = parent.span;
    } else {
        fill_random(s.data_->context.trace.bytes);
    }
    fill_random(s.data_->context.span.bytes);
    return s;
}

void SpanRecorder::finished(SpanData&& span) {
    const Lock lock(mutex_);
    spans_.push_back(std::move(span));
}

std::vector<SpanData> SpanRecorder::spans() const {
    const Lock lock(mutex_);
    return spans_;
}

}  // namespace homeostat
