#include "controller/cli/text/timeline.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "controller/cli/text/figures.hpp"

namespace homeostat {

namespace {

using std::chrono::microseconds;

std::optional<std::int64_t> number(const KeptSpan& span, const std::string& attribute) {
    const auto found = span.attributes.find(attribute);
    if (found == span.attributes.end()) return std::nullopt;
    std::int64_t n = 0;
    const std::string& text = found->second;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), n);
    return problem == std::errc() ? std::optional<std::int64_t>(n) : std::nullopt;
}

class Way {
public:
    Way(const std::vector<KeptSpan>& spans, const DocumentBatch& batch) : spans_(spans), batch_(batch) {
        process_ = by_id(batch.span_id);
        if (process_ != nullptr) planner_ = by_id(process_->parent);
        below_.insert(batch.span_id);
        // They are in the order in which they began, and so each comes after its parent.
        for (const KeptSpan& s : spans) {
            if (below_.contains(s.parent)) below_.insert(s.id);
        }
    }

    std::vector<TimelineStep> steps(std::optional<WallTime> committed) const {
        std::vector<TimelineStep> out;
        const TimelineStep seen = noticed();
        out.push_back(edited(committed, seen));
        out.push_back(seen);
        out.push_back(planned());
        out.push_back(claimed());
        out.push_back(first_of("read", "read documents", "before the batch began"));
        out.push_back(embedded());
        out.push_back(written());
        const TimelineStep last = out.back();
        out.push_back(served(last));
        return out;
    }

private:
    const KeptSpan* by_id(const std::string& id) const {
        const auto found = std::ranges::find(spans_, id, &KeptSpan::id);
        return id.empty() || found == spans_.end() ? nullptr : &*found;
    }
    bool from_feed() const { return planner_ != nullptr && planner_->name == "drain"; }

    TimelineStep edited(std::optional<WallTime> committed, const TimelineStep& seen) const {
        TimelineStep step{.name = "edited", .at = {}, .took = {}, .note = "not known: a sweep found it"};
        if (committed && (!seen.at || *committed <= *seen.at)) {
            step.at = committed;
            step.note = "committed";
        } else if (from_feed()) {
            const auto age = number(*planner_, "homeostat.oldest_change_ms");
            const auto changes = number(*planner_, "homeostat.changes");
            if (age) step.at = planner_->start - std::chrono::milliseconds(*age);
            step.note = changes.value_or(1) > 1 ? fmt::format("the oldest of {} noticed together", counted(*changes, "change"))
                                                : "by the change feed's clock";
            if (committed) step.note += "; it was edited again since";
        } else if (committed) {
            step.note = "not known: it was edited again since";
        }
        return step;
    }

    TimelineStep noticed() const {
        TimelineStep step{.name = "noticed", .at = {}, .took = {}, .note = "not kept"};
        if (planner_ == nullptr) return step;
        if (from_feed()) {
            step.at = planner_->start;
            step.note = "by the change feed";
            return step;
        }
        for (const KeptSpan& s : spans_) {
            if (s.name != "observe" || s.parent != planner_->parent || s.start > planner_->start) continue;
            step.at = s.start;
            step.took = s.took;
            step.note = "by a sweep";
        }
        return step;
    }

    TimelineStep planned() const {
        TimelineStep step{.name = "planned", .at = {}, .took = {}, .note = "not kept"};
        if (planner_ == nullptr) return step;
        step.at = planner_->start;
        step.took = planner_->took;
        step.note = fmt::format("batch {}", batch_.batch_id);
        return step;
    }

    TimelineStep claimed() const {
        TimelineStep step{.name = "claimed", .at = {}, .took = {}, .note = "not kept, or under way"};
        if (process_ == nullptr) return step;
        step.at = process_->start;
        step.note = "by " + process_->replica;
        if (!process_->error.empty()) step.note += "; it failed: " + process_->error;
        return step;
    }

    // Below the batch; else below what planned it, which may read an edit at once.
    TimelineStep first_of(std::string step_name, std::string_view span_name, std::string_view otherwise) const {
        TimelineStep step{.name = std::move(step_name), .at = {}, .took = {}, .note = ""};
        const KeptSpan* early = nullptr;
        for (const KeptSpan& s : spans_) {
            if (s.name != span_name) continue;
            if (below_.contains(s.parent)) return step.at = s.start, step.took = s.took, step;
            if (planner_ != nullptr && s.parent == planner_->id) early = &s;
        }
        if (early == nullptr) return step.note = "not kept", step;
        step.at = early->start;
        step.took = early->took;
        step.note = otherwise;
        return step;
    }

    TimelineStep embedded() const {
        TimelineStep step{
            .name = "embedded", .at = {}, .took = {}, .note = "nothing was asked for: no new text, or kept vectors"};
        std::int64_t requests = 0;
        WallTime last{};
        for (const KeptSpan& s : spans_) {
            if (!s.name.starts_with("embeddings ") || !below_.contains(s.parent)) continue;
            if (!step.at) step.at = s.start;
            last = std::max(last, s.end());
            ++requests;
            const auto provider = s.attributes.find("gen_ai.provider.name");
            step.note = fmt::format("{} to {}", counted(requests, "request"),
                                    provider == s.attributes.end() ? "the provider" : provider->second);
        }
        if (step.at) step.took = std::chrono::duration_cast<microseconds>(last - *step.at);
        if (process_ == nullptr) step.note = "not kept";
        return step;
    }

    TimelineStep written() const {
        TimelineStep step{.name = "written", .at = {}, .took = {}, .note = "not kept, or under way"};
        for (const KeptSpan& s : spans_) {
            if ((s.name != "write vectors" && s.name != "move") || !below_.contains(s.parent)) continue;
            step.at = s.end();
            step.took = s.took;
            step.note = s.error.empty() ? "" : "it failed: " + s.error;
            if (!s.error.empty()) step.at.reset();
        }
        return step;
    }

    TimelineStep served(const TimelineStep& stored) const {
        TimelineStep step{
            .name = "served", .at = {}, .took = {}, .note = fmt::format("revision {} is not served yet", batch_.revision)};
        if (!batch_.served) return step;
        step.note = fmt::format("revision {}", batch_.revision);
        if (stored.at) step.at = std::max(*stored.at, *batch_.served);
        if (!stored.at) step.note = "not before it is written";
        return step;
    }

    const std::vector<KeptSpan>& spans_;
    const DocumentBatch& batch_;
    const KeptSpan* process_ = nullptr;
    const KeptSpan* planner_ = nullptr;
    std::set<std::string> below_;  // ids: the batch's span and all below it
};

}  // namespace

std::vector<TimelineStep> timeline_of(const std::vector<KeptSpan>& spans, const DocumentBatch& batch,
                                      std::optional<WallTime> committed) {
    return Way(spans, batch).steps(committed);
}

}  // namespace homeostat
