// All pipelines, the one to be looked at first in front.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/cli/api/reads.hpp"
#include "controller/cli/api/shapes.hpp"
#include "controller/cli/api/urgency.hpp"
#include "store/inspect/activity_tail.hpp"

namespace homeostat {

namespace {

constexpr int kTrendRuns = 24;

// Behind that pipeline, where it is still there.
Result<std::size_t> first_after(const std::vector<PipelineLine>& lines, std::string_view cursor) {
    const std::optional<std::string> name = text_of_hex(cursor);
    const auto at = std::ranges::find_if(lines, [&](const PipelineLine& l) { return name && l.name == *name; });
    if (at == lines.end())
        return Error{.cls = ErrorClass::conflict,
                     .message = "the pipeline that this cursor stands behind is gone; leave the cursor out to begin anew",
                     .origin = Origin::user};
    return static_cast<std::size_t>(at - lines.begin()) + 1;
}

ApiJson totals_of(const std::vector<PipelineLine>& lines) {
    ApiJson by_urgency = ApiJson::object();
    for (int u = 0; u <= static_cast<int>(Urgency::well); ++u) by_urgency[std::string(to_string(static_cast<Urgency>(u)))] = 0;
    std::int64_t documents = 0;
    std::int64_t drift = 0;
    std::int64_t letters = 0;
    for (const PipelineLine& l : lines) {
        auto& count = by_urgency[std::string(to_string(urgency_of(l)))];
        count = count.get<int>() + 1;
        documents += l.documents;
        drift += l.drift;
        letters += l.dead_letters;
    }
    return {{"pipelines", lines.size()},
            {"urgency", std::move(by_urgency)},
            {"documents", documents},
            {"drift", drift},
            {"deadLetters", letters}};
}

}  // namespace

ApiJson line_json(const PipelineLine& l) {
    ApiJson out{{"name", l.name},
                {"urgency", to_string(urgency_of(l))},
                {"cause", cause_of(l)},
                {"ready", l.ready},
                {"reason", l.reason},
                {"kstatus", l.kstatus},
                {"documents", l.documents},
                {"chunks", l.chunks},
                {"drift", l.drift},
                {"waiting", l.waiting},
                {"deadLetters", l.dead_letters},
                {"suspended", l.suspended},
                {"source", l.source},
                {"target", l.target},
                {"provider", l.provider},
                {"phase", l.phase}};
    if (l.source_documents) out["sourceDocuments"] = *l.source_documents;
    if (l.lag) out["lagSeconds"] = static_cast<double>(l.lag->count()) / 1000;
    if (l.last_converged) out["lastConverged"] = stamp_text(*l.last_converged);
    return out;
}

ApiJson json_of(const YamlNode& node) { return ApiJson::parse(write_json(node), nullptr, false); }

Result<ApiJson> read_pipelines(ApiCall& call) {
    const Result<int> limit = call.limit();
    if (!limit) return limit.error();
    Result<std::vector<PipelineLine>> lines = list_pipeline_lines(call.session());
    if (!lines) return lines.error();
    std::ranges::sort(*lines, more_urgent);
    const ApiJson totals = totals_of(*lines);
    if (const std::string_view urgency = call.asked("urgency"); !urgency.empty())
        std::erase_if(*lines, [&](const PipelineLine& l) { return to_string(urgency_of(l)) != urgency; });
    std::size_t from = 0;
    if (const std::string_view cursor = call.asked("cursor"); !cursor.empty()) {
        const Result<std::size_t> at = first_after(*lines, cursor);
        if (!at) return at.error();
        from = *at;
    }
    const std::size_t to = std::min(lines->size(), from + static_cast<std::size_t>(*limit));
    std::vector<std::int64_t> uids;
    for (std::size_t i = from; i < to; ++i) uids.push_back((*lines)[i].uid);
    const auto trends = read_run_trends(call.session(), uids, kTrendRuns);
    if (!trends) return trends.error();
    ApiJson items = ApiJson::array();
    for (std::size_t i = from; i < to; ++i) {
        ApiJson item = line_json((*lines)[i]);
        ApiJson trend = ApiJson::array();
        for (const RunTrend& t : *trends) {
            if (t.uid != (*lines)[i].uid) continue;
            for (const TrendPoint& p : t.points) trend.push_back(p.planned);
        }
        item["trend"] = std::move(trend);
        items.push_back(std::move(item));
    }
    ApiJson out{{"totals", totals}, {"items", std::move(items)}};
    if (to < lines->size() && to > 0) out["next"] = hex_of((*lines)[to - 1].name);
    return out;
}

}  // namespace homeostat
