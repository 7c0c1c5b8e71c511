#include "core/span.hpp"

#include <sys/random.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

namespace homeostat {

namespace {

thread_local const SpanScope* innermost = nullptr;

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

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Not the name of an errno, which has no digit.
bool is_sqlstate(std::string_view code) noexcept {
    return code.size() == 5 && std::ranges::any_of(code, is_digit) &&
           std::ranges::all_of(code, [](char c) { return is_digit(c) || (c >= 'A' && c <= 'Z'); });
}

}  // namespace

bool TraceId::valid() const noexcept { return any_set(bytes); }
std::string TraceId::hex() const { return to_hex(bytes); }
bool SpanId::valid() const noexcept { return any_set(bytes); }
std::string SpanId::hex() const { return to_hex(bytes); }

std::string SpanContext::traceparent() const {
    return valid() ? "00-" + trace.hex() + "-" + span.hex() + (sampled ? "-01" : "-00") : std::string();
}

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
    c.sampled = (flags[0] & 1U) != 0;
    return well_formed && c.valid() ? c : SpanContext{};
}

const AttributeValue* SpanData::find(std::string_view key) const noexcept {
    const auto at = std::ranges::find(attributes, key, [](const auto& a) { return std::string_view(a.first); });
    return at == attributes.end() ? nullptr : &at->second;
}

TraceSampler::TraceSampler(double share) noexcept {
    constexpr double all = 18446744073709551616.0;  // 2^64
    if (!(share > 0)) {
        below_ = 0;
    } else if (share < 1) {
        below_ = static_cast<std::uint64_t>(share * all);
    }
}

bool TraceSampler::takes(const TraceId& trace) const noexcept {
    std::uint64_t number = 0;
    for (std::size_t i = 8; i < trace.bytes.size(); ++i) number = number << 8U | trace.bytes[i];
    return below_ == UINT64_MAX || number < below_;
}

Span& Span::operator=(Span&& other) noexcept {
    if (this != &other) {
        end();
        tracer_ = other.tracer_;
        data_ = std::move(other.data_);
    }
    return *this;
}

void Span::call_it(std::string_view name) {
    if (data_ && !name.empty()) data_->name = name;
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

void Span::fail(const Error& error) {
    if (!data_) return;
    data_->error = to_string(error.cls);
    set("error.type", data_->error);
    if (is_sqlstate(error.code)) set("db.response.status_code", error.code);
}

void Span::join(const SpanContext& parent) {
    if (!data_ || !parent.valid()) return;
    data_->context.trace = parent.trace;
    data_->context.sampled = parent.sampled;
    data_->parent = parent.span;
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
        s.join(parent);
    } else {
        fill_random(s.data_->context.trace.bytes);
        s.data_->context.sampled = sampler_.takes(s.data_->context.trace);
    }
    fill_random(s.data_->context.span.bytes);
    return s;
}

SpanScope::SpanScope(const Tracer& tracer, const Span& span) noexcept
    : tracer_(tracer), context_(span.context()), outer_(innermost) {
    if (context_.valid()) innermost = this;
}

SpanScope::~SpanScope() {
    if (context_.valid()) innermost = outer_;
}

SpanContext SpanScope::here() noexcept { return innermost == nullptr ? SpanContext{} : innermost->context_; }

Span SpanScope::start(std::string_view name, SpanKind kind) {
    return innermost == nullptr ? Span() : innermost->tracer_.start(name, kind, innermost->context_);
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
