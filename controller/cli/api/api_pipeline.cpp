// One pipeline: all that `describe` and `revisions` show of it.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/cli/api/reads.hpp"
#include "controller/cli/api/shapes.hpp"
#include "controller/cli/api/urgency.hpp"
#include "controller/cli/text/object_text.hpp"
#include "controller/cli/text/remedy.hpp"
#include "controller/cli/text/truth.hpp"
#include "store/control/budgets.hpp"
#include "store/control/revision_lines.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/runs.hpp"
#include "store/control/suspension.hpp"
#include "store/data/revisions.hpp"
#include "store/data/vector_index.hpp"
#include "store/inspect/activity_tail.hpp"

namespace homeostat {

namespace {

constexpr int kRecentRuns = 10;

void add_time(ApiJson& to, const char* name, const std::optional<WallTime>& time) {
    if (time) to[name] = stamp_text(*time);
}

template <class T>
void add_value(ApiJson& to, const char* name, const std::optional<T>& value) {
    if (value) to[name] = *value;
}

ApiJson revision_json(const RevisionLine& r) {
    ApiJson out{{"revision", r.number},
                {"standing", to_string(r.standing)},
                {"model", r.settings.model},
                {"provider", r.settings.provider},
                {"dimensions", r.settings.dimensions},
                {"pinned", r.pinned},
                {"bytes", r.bytes},
                {"changed", r.why}};
    add_value(out, "documents", r.documents);
    add_value(out, "chunks", r.chunks);
    add_time(out, "createdAt", r.created);
    add_time(out, "servedAt", r.served);
    add_time(out, "retiredAt", r.retired);
    if (r.fill) {
        ApiJson fill{{"written", r.fill->written}, {"tokens", r.fill->tokens}, {"seconds", r.fill->seconds}};
        add_value(fill, "of", r.fill->of);
        add_value(fill, "secondsLeft", r.fill->seconds_left());
        out["fill"] = std::move(fill);
    }
    return out;
}

ApiJson suspension_json(const Suspension& s) {
    ApiJson out{{"by", s.by}, {"reason", s.reason}, {"pin", s.pin == Pin::rollback ? "rollback" : "none"}};
    add_time(out, "since", s.since);
    add_time(out, "until", s.until);
    return out;
}

std::string_view text_of(IndexState state) {
    switch (state) {
        case IndexState::absent: return "absent";
        case IndexState::invalid: return "invalid";
        case IndexState::other: return "otherThanDeclared";
        case IndexState::left_over: return "leftOver";
        case IndexState::unwanted: return "notDeclared";
        case IndexState::valid: break;
    }
    return "valid";
}

// The index of what is served; without a state where nothing is.
Status add_index(ApiJson& out, Session& session, const PipelineSpec& spec, std::int32_t served) {
    ApiJson index{{"method", spec.index_method}, {"type", spec.index_type}};
    const Result<std::vector<Revision>> revisions = read_revisions(session, spec.uid);
    if (!revisions) return revisions.error();
    for (const Revision& r : *revisions) {
        if (r.number != served) continue;
        // A declarer may not look into these tables; then the index has no state here.
        if (const auto state = index_state(session, spec, r)) index["state"] = text_of(*state);
    }
    out["index"] = std::move(index);
    return {};
}

// The run under way, by what its batches have done so far.
Status add_progress(ApiJson& out, Session& session, std::int64_t uid) {
    const auto run = read_run(session, uid);
    if (!run) return run.error();
    if (!*run) return {};
    const auto progress = read_progress(session, (*run)->id);
    if (!progress) return progress.error();
    out["progress"] = {{"run", (*run)->id},
                       {"phase", to_string(phase_of(**run))},
                       {"trigger", (*run)->trigger},
                       {"seen", (*run)->seen},
                       {"planned", (*run)->planned},
                       {"batches", progress->batches},
                       {"written", progress->written},
                       {"removed", progress->removed},
                       {"embedded", progress->embedded},
                       {"tokens", progress->tokens}};
    return {};
}

// What the last runs have paid, and what holds the pipeline back because of what it costs.
Status add_cost(ApiJson& out, Session& session, const PipelineSpec& spec) {
    const auto runs = read_runs(session, spec.uid, kRecentRuns);
    if (!runs) return runs.error();
    std::int64_t paid = 0;
    std::int64_t wasted = 0;
    std::int64_t saved = 0;
    for (const RunSummary& r : *runs) {
        paid += r.tokens;
        wasted += r.wasted_tokens;
        saved += r.saved_tokens;
    }
    ApiJson cost{{"runs", runs->size()}, {"tokens", paid}, {"wastedTokens", wasted}, {"savedTokens", saved}};
    if (const auto provider = find_provider(session, spec.provider)) {
        cost["pricePerMillionTokens"] = provider->price_per_million_tokens;
        cost["currency"] = provider->currency;
        cost["paid"] = static_cast<double>(paid) * provider->price_per_million_tokens / 1e6;
    }
    const auto budget = read_budget_hold(session, spec.uid);
    if (!budget) return budget.error();
    if (!budget->reason.empty())
        cost["held"] = {{"reason", budget->reason}, {"message", budget->message}, {"plan", budget->plan}};
    out["cost"] = std::move(cost);
    return {};
}

Status add_standing(ApiJson& out, Session& session, const PipelineSpec& spec) {
    const auto suspension = read_suspension(session, spec.uid);
    if (!suspension) return suspension.error();
    if (*suspension) out["suspension"] = suspension_json(**suspension);
    const auto pin = read_revision_pin(session, spec.uid);
    if (!pin) return pin.error();
    if (*pin) {
        out["revisionPin"] = {{"revision", (*pin)->revision}, {"by", (*pin)->by}, {"reason", (*pin)->reason}};
        add_time(out["revisionPin"], "since", (*pin)->since);
    }
    const auto revisions = list_revision_lines(session, spec.uid);
    if (!revisions) return revisions.error();
    out["revisions"] = ApiJson::array();
    for (const RevisionLine& r : *revisions) out["revisions"].push_back(revision_json(r));
    const auto limit = read_journal_limit(session, spec.uid);
    if (!limit) return limit.error();
    if (!limit->empty()) out["journalLimit"] = *limit;
    return {};
}

}  // namespace

Result<ApiJson> read_one_pipeline(ApiCall& call) {
    Session& session = call.session();
    const Result<std::vector<PipelineLine>> lines = list_pipeline_lines(session);
    if (!lines) return lines.error();
    const Result<PipelineSpec> spec = find_pipeline(session, call.name());
    if (!spec) return spec.error();
    const Result<PipelineStatus> status = read_true_status(session, *spec);
    if (!status) return status.error();
    const auto line = std::ranges::find_if(*lines, [&](const PipelineLine& l) { return l.uid == spec->uid; });
    ApiJson out = json_of(object_node(*spec, &*status));
    if (line != lines->end()) out["summary"] = line_json(*line);
    out["remedy"] = remedy_of(*spec, *status);
    for (const Status& good : {add_standing(out, session, *spec), add_progress(out, session, spec->uid),
                               add_index(out, session, *spec, status->revision), add_cost(out, session, *spec)}) {
        if (!good) return good.error();
    }
    return out;
}

Result<ApiJson> read_trend(ApiCall& call) {
    const Result<int> limit = call.limit(100, 500);
    if (!limit) return limit.error();
    const Result<PipelineSpec> spec = find_pipeline(call.session(), call.name());
    if (!spec) return spec.error();
    const auto trends = read_run_trends(call.session(), {spec->uid}, *limit);
    if (!trends) return trends.error();
    ApiJson items = ApiJson::array();
    for (const RunTrend& t : *trends) {
        for (const TrendPoint& p : t.points) items.push_back({{"at", stamp_text(p.at)}, {"drift", p.planned}});
    }
    return ApiJson{{"items", std::move(items)}};
}

}  // namespace homeostat
