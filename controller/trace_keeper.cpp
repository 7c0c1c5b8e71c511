#include "controller/trace_keeper.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace homeostat {

namespace {

constexpr std::string_view kTotal = "homeostat_kept_trace_spans_total";
constexpr std::string_view kTotalHelp = "Finished spans that were to be kept in the database, by what became of them.";
// A trace of which nothing was heard for so long: whose it is is known no more where something comes all the same.
constexpr std::chrono::minutes kForgotten{10};
constexpr std::chrono::seconds kUnwanted{5};  // the same, of one that is not kept
constexpr std::size_t kBatches = 4'096;        // taken in and not written
constexpr std::size_t kMostAttribute = 200;    // letters

std::string text_of(const AttributeValue& value) {
    struct Visitor {
        std::string operator()(bool b) const { return b ? "true" : "false"; }
        std::string operator()(std::int64_t n) const { return std::to_string(n); }
        std::string operator()(double d) const { return fmt::format("{}", d); }
        std::string operator()(const std::string& s) const { return s; }
        std::string operator()(const std::vector<std::string>& list) const { return fmt::format("{}", fmt::join(list, ", ")); }
    };
    std::string text = std::visit(Visitor{}, value).substr(0, kMostAttribute);
    std::erase(text, '\0');  // which the database's JSON has no place for
    return text;
}

std::string_view name_of(SpanKind kind) {
    switch (kind) {
        case SpanKind::internal: return "internal";
        case SpanKind::client: return "client";
        case SpanKind::consumer: return "consumer";
        case SpanKind::producer: return "producer";
    }
    return "internal";
}

std::int64_t micros(WallTime::duration d) { return std::chrono::duration_cast<std::chrono::microseconds>(d).count(); }

nlohmann::json json_of(const SpanData& span) {
    nlohmann::json out{{"n", span.name},
                       {"k", name_of(span.kind)},
                       {"i", span.context.span.hex()},
                       {"s", micros(span.start.time_since_epoch())},
                       {"d", std::max<std::int64_t>(0, micros(span.end - span.start))}};
    if (span.parent.valid()) out["p"] = span.parent.hex();
    if (!span.error.empty()) out["e"] = span.error;
    nlohmann::json attributes = nlohmann::json::object();
    for (const auto& [name, value] : span.attributes) attributes[name] = text_of(value);
    if (!attributes.empty()) out["a"] = std::move(attributes);
    for (const SpanContext& link : span.links) out["l"].push_back(link.traceparent());
    return out;
}

std::int64_t number(const SpanData& span, std::string_view name) {
    const AttributeValue* value = span.find(name);
    const auto* n = value == nullptr ? nullptr : std::get_if<std::int64_t>(value);
    return n == nullptr ? 0 : *n;
}

// Of those that are kept when there are too many.
bool telling(const SpanData& span) { return !span.error.empty() || span.name == "reconcile"; }

}  // namespace

TraceKeeper::TraceKeeper(TraceKeeping settings, const Clock& clock, Registry& metrics)
    : settings_(std::move(settings)),
      clock_(clock),
      kept_(metrics.counter(kTotal, kTotalHelp, {{"outcome", "kept"}})),
      dropped_(metrics.counter(kTotal, kTotalHelp, {{"outcome", "dropped"}})),
      failed_(metrics.counter(kTotal, kTotalHelp, {{"outcome", "failed"}})) {}

void TraceKeeper::finished(SpanData&& span) {
    const Lock lock(mutex_);
    if (queue_.size() == kQueue) {
        dropped_.add();
        return;
    }
    queue_.push_back(std::move(span));
}

void TraceKeeper::begun(const Batch& batch, const SpanContext& span) {
    if (!keeps() || (batch.kind != BatchKind::heal && batch.kind != BatchKind::move)) return;
    TraceBatch noted{.uid = batch.uid,
                     .trace_id = span.trace.hex(),
                     .span_id = span.span.hex(),
                     .batch_id = batch.id,
                     .revision = batch.revision,
                     .at = clock_.now(),
                     .keys = batch.keys};
    const Lock lock(mutex_);
    if (batches_.size() < kBatches) batches_.push_back(std::move(noted));
}

void TraceKeeper::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        {
            const auto until = std::chrono::steady_clock::now() + kDelay;
            const Lock lock(mutex_);
            while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) stopped_.wait_until(mutex_, stop, until);
        }
        take_in();
        write();
        forget_old(clock_.steady_now());
    }
}

void TraceKeeper::take_in() {
    std::deque<SpanData> spans;
    std::deque<TraceBatch> batches;
    {
        const Lock lock(mutex_);
        spans.swap(queue_);
        batches.swap(batches_);
    }
    const SteadyTime now = clock_.steady_now();
    for (SpanData& span : spans) sort_in(std::move(span), now);
    for (TraceBatch& batch : batches) sort_in(std::move(batch), now);
}

void TraceKeeper::sort_in(SpanData&& span, SteadyTime now) {
    Open& open = open_[span.context.trace.hex()];
    open.touched = now;
    if (const std::int64_t uid = number(span, "homeostat.pipeline.uid"); uid > 0) open.uid = uid;
    if (const std::int64_t run = number(span, "homeostat.run.id"); run > 0) open.run_id = run;
    const bool edits = number(span, "homeostat.changes") > 0 || span.find("homeostat.fed") != nullptr;
    const bool wanted = open.run_id > 0 || edits;
    if (wanted && !open.wanted) {
        open.wanted = true;
        open.refused = open.run_id == 0 && ++edits_ > kEditsAtOnce;
        if (open.refused) {
            open.fresh.clear();
            open.batches.clear();
        }
    }
    const bool room = open.spans < kSpans || (open.spans < kSpansAtMost && telling(span));
    if (open.refused || !room) {
        ++open.dropped;
        dropped_.add();
        return;
    }
    ++open.spans;
    open.fresh.push_back(std::move(span));
}

void TraceKeeper::sort_in(TraceBatch&& batch, SteadyTime now) {
    Open& open = open_[batch.trace_id];
    open.touched = now;
    open.uid = batch.uid;
    if (open.refused || open.keys + batch.keys.size() > kKeys) return;
    open.keys += batch.keys.size();
    open.batches.push_back(std::move(batch));
}

TracePart TraceKeeper::part_of(const std::string& trace, Open& open) {
    TracePart part{.uid = open.uid,
                   .trace_id = trace,
                   .run_id = open.run_id,
                   .first = open.fresh.front().start,
                   .last = open.fresh.front().end,
                   .spans = static_cast<std::int32_t>(open.fresh.size()),
                   .dropped = std::exchange(open.dropped, 0),
                   .body = {}};
    nlohmann::json body = nlohmann::json::array();
    for (const SpanData& span : open.fresh) {
        part.first = std::min(part.first, span.start);
        part.last = std::max(part.last, span.end);
        body.push_back(json_of(span));
    }
    open.fresh.clear();
    part.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return part;
}

// What cannot be written is lost: it is no reason to hold memory, or to ask a database that is away again and again.
void TraceKeeper::write() {
    edits_ = 0;
    std::vector<TracePart> parts;
    std::vector<TraceBatch> batches;
    double spans = 0;
    for (auto& [trace, open] : open_) {
        if (!open.wanted || open.refused || open.uid == 0) continue;
        spans += static_cast<double>(open.fresh.size());
        if (!open.fresh.empty()) parts.push_back(part_of(trace, open));
        std::move(open.batches.begin(), open.batches.end(), std::back_inserter(batches));
        open.batches.clear();
    }
    if (parts.empty() && batches.empty()) return;
    Status written = [&]() -> Status {
        if (!session_ || !session_->alive()) {
            Result<std::unique_ptr<Session>> made = Session::connect(settings_.connection);
            if (!made) return made.error();
            session_ = *std::move(made);
        }
        return write_traces(*session_, settings_.replica, parts, batches, settings_.bounds);
    }();
    (written ? kept_ : failed_).add(spans);
    if (!written && !failing_) spdlog::debug("traces cannot be kept just now: {}", written.error().message);
    failing_ = !written;
}

void TraceKeeper::forget_old(SteadyTime now) {
    std::erase_if(open_, [&](const auto& entry) {
        const Open& open = entry.second;
        const bool kept = open.wanted && !open.refused;
        return now - open.touched > (kept ? Duration(kForgotten) : Duration(kUnwanted));
    });
}

void SpanFan::finished(SpanData&& span) {
    if (exported_ != nullptr && span.context.sampled) {
        if (kept_ == nullptr) return exported_->finished(std::move(span));
        exported_->finished(SpanData(span));
    }
    if (kept_ != nullptr) kept_->finished(std::move(span));
}

}  // namespace homeostat
