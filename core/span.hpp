// Spans: units of work being timed, of which traces are made, as every layer speaks them. No exporter lives here: whoever owns
// the process gives a SpanSink; tests read a SpanRecorder in memory.
//
// What a span says is bounded and ours: never text of a document, never a key, never a message that may quote either. What
// failed is told by the class of its error and by codes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"

namespace homeostat {

struct TraceId {
    std::array<std::uint8_t, 16> bytes{};
    bool valid() const noexcept;
    std::string hex() const;
};
struct SpanId {
    std::array<std::uint8_t, 8> bytes{};
    bool valid() const noexcept;
    std::string hex() const;
};
struct SpanContext {
    TraceId trace;
    SpanId span;
    bool sampled = true;  // for whom spans are exported to; the whole trace alike
    bool valid() const noexcept { return trace.valid() && span.valid(); }
    std::string traceparent() const;                                        // W3C, "" where not valid
    static SpanContext from_traceparent(std::string_view text) noexcept;    // malformed = absent, never an error
};

enum class SpanKind : std::uint8_t { internal, client, consumer, producer };
using AttributeValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

struct SpanData {
    std::string name;
    SpanKind kind = SpanKind::internal;
    SpanContext context;
    SpanId parent;
    std::vector<SpanContext> links;
    WallTime start{};
    WallTime end{};
    std::vector<std::pair<std::string, AttributeValue>> attributes;
    std::string error;  // empty = ok; else a word

    const AttributeValue* find(std::string_view key) const noexcept;  // null where it has no such attribute
};

// Receives finished spans, from any thread; must not block.
class SpanSink {
public:
    virtual ~SpanSink() = default;
    virtual void finished(SpanData&& span) = 0;
};

// Which traces are exported: a share of them, decided by the trace's id alone, so that every process decides alike.
class TraceSampler {
public:
    TraceSampler() = default;  // all
    explicit TraceSampler(double share) noexcept;
    bool takes(const TraceId& trace) const noexcept;

private:
    std::uint64_t below_ = UINT64_MAX;  // of the last eight bytes of an id
};

class Tracer;

// A unit of work being timed. Ends when destroyed or by end(), whichever comes first. Belongs to one thread (or coroutine) at a
// time. An empty Span (default constructed, or of a tracer without sink) costs nothing and accepts every call.
class Span {
public:
    Span() = default;
    Span(Span&&) noexcept = default;
    Span& operator=(Span&& other) noexcept;
    ~Span() { end(); }

    void call_it(std::string_view name);
    void set(std::string_view key, AttributeValue value);
    void link(const SpanContext& other);
    // The class of the error, and its SQLSTATE where it has one.
    void fail(const Error& error);
    // Becomes part of another trace, below `parent`. Before anything was started below this span.
    void join(const SpanContext& parent);
    void end();
    SpanContext context() const noexcept { return data_ ? data_->context : SpanContext{}; }

private:
    friend class Tracer;
    const Tracer* tracer_ = nullptr;
    std::unique_ptr<SpanData> data_;
};

class Tracer {
public:
    // `sink` and `clock` outlive the tracer; a null sink makes every span empty. Spans of traces that are not sampled go to the
    // sink too.
    Tracer(SpanSink* sink, const Clock& clock, TraceSampler sampler = {}) : sink_(sink), clock_(clock), sampler_(sampler) {}
    Span start(std::string_view name, SpanKind kind = SpanKind::internal, const SpanContext& parent = {}) const;

private:
    friend class Span;
    SpanSink* sink_;
    const Clock& clock_;
    TraceSampler sampler_;
};

// While it lives, what its own thread does without being given a context (statements of the database, events) is part of this
// span; within those that surround it. It must not live across a suspension of a coroutine, which may go on in another thread.
// Of an empty span it does nothing.
class SpanScope {
public:
    SpanScope(const Tracer& tracer, const Span& span) noexcept;
    ~SpanScope();
    SpanScope(const SpanScope&) = delete;
    SpanScope& operator=(const SpanScope&) = delete;

    // Of this thread now; not valid where there is none.
    static SpanContext here() noexcept;
    // Below it; empty where there is none.
    static Span start(std::string_view name, SpanKind kind);

private:
    const Tracer& tracer_;
    const SpanContext context_;
    const SpanScope* const outer_;
};

// Keeps what it is told, for tests.
class SpanRecorder final : public SpanSink {
public:
    void finished(SpanData&& span) override EXCLUDES(mutex_);
    std::vector<SpanData> spans() const EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    std::vector<SpanData> spans_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
