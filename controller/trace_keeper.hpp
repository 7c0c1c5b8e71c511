// Keeps the last traces in the database, for people who have no collector: spans and the keys of batches are taken in without
// blocking, and written about once a second by one thread, over a connection of its own. Nothing waits for it: what it cannot
// take or write is counted and lost (homeostat_kept_trace_spans_total), and a crash loses what it had not written.
//
// Kept are traces of runs, and of edits that a change feed named: of these so many a second, where there are more. A pass that
// found nothing to do leaves nothing. Of one trace each replica keeps a bounded number of spans, the first ones; then only what
// failed, and the passes.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/span.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "store/control/batches.hpp"
#include "store/control/kept_traces.hpp"

namespace homeostat {

struct TraceKeeping {
    TraceBounds bounds;  // traces = 0: none is kept
    std::string replica;
    ConnectOptions connection;
};

class TraceKeeper final : public SpanSink {
public:
    static constexpr std::size_t kQueue = 16'384;         // spans taken in and not written
    static constexpr std::size_t kSpans = 2'000;          // of a trace, of this replica
    static constexpr std::size_t kSpansAtMost = 4'000;    // with those that failed
    static constexpr std::size_t kKeys = 20'000;          // of a trace, of this replica
    static constexpr std::size_t kEditsAtOnce = 16;       // traces of edits that begin between two times of writing
    static constexpr std::chrono::seconds kDelay{1};

    TraceKeeper(TraceKeeping settings, const Clock& clock, Registry& metrics);

    bool keeps() const noexcept { return settings_.bounds.traces > 0; }
    // From any thread; neither blocks.
    void finished(SpanData&& span) override EXCLUDES(mutex_);
    void begun(const Batch& batch, const SpanContext& span) EXCLUDES(mutex_);

    // Writes until `stop`, then what is left, once.
    void run(const std::stop_token& stop) EXCLUDES(mutex_);

private:
    struct Open {
        std::int64_t uid = 0;
        std::int64_t run_id = 0;
        bool wanted = false;   // a run's, or edits
        bool refused = false;  // one of too many
        std::size_t spans = 0;
        std::size_t keys = 0;
        std::int32_t dropped = 0;
        std::vector<SpanData> fresh;
        std::vector<TraceBatch> batches;
        SteadyTime touched{};
    };
    void take_in() EXCLUDES(mutex_);
    void sort_in(SpanData&& span, SteadyTime now);
    void sort_in(TraceBatch&& batch, SteadyTime now);
    void write();
    static TracePart part_of(const std::string& trace, Open& open);
    void forget_old(SteadyTime now);

    const TraceKeeping settings_;
    const Clock& clock_;
    Counter& kept_;
    Counter& dropped_;
    Counter& failed_;
    // Of the thread in run().
    std::map<std::string, Open> open_;
    std::size_t edits_ = 0;  // that have begun since it was last written
    std::unique_ptr<Session> session_;
    bool failing_ = false;

    Mutex mutex_;
    CondVar stopped_;
    std::deque<SpanData> queue_ GUARDED_BY(mutex_);
    std::deque<TraceBatch> batches_ GUARDED_BY(mutex_);
};

// Spans for whoever wants them: exported where their trace is sampled, kept in any case.
class SpanFan final : public SpanSink {
public:
    // Both may be null, and outlive this.
    SpanFan(SpanSink* exported, SpanSink* kept) : exported_(exported), kept_(kept) {}
    SpanSink* used() noexcept { return exported_ == nullptr && kept_ == nullptr ? nullptr : this; }
    void finished(SpanData&& span) override;

private:
    SpanSink* exported_;
    SpanSink* kept_;
};

}  // namespace homeostat
