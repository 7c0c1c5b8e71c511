// `homeostat factory plan`: strategy, batches, time, tokens and money of healing, against a deadline and a budget.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "controller/cli/checks/factory_plan.hpp"
#include "controller/cli/checks/measured_time.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/config/config_values.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::ordered_json;

Result<std::vector<PipelineSpec>> wanted(Session& session, const std::string& name) {
    if (name.empty()) return list_pipelines(session);
    Result<PipelineSpec> one = find_pipeline(session, name);
    if (!one) return one.error();
    return std::vector{*std::move(one)};
}

struct Limits {
    std::optional<Millis> deadline;
    double budget = -1;
};

std::vector<std::string> broken(const PlanEstimate& e, const Limits& limits) {
    std::vector<std::string> out;
    if (limits.deadline && e.minutes * 60'000 > static_cast<double>(limits.deadline->count())) {
        out.push_back(fmt::format("takes about {}, longer than the deadline of {}", duration_text(e.minutes * 60),
                                  duration_text(static_cast<double>(limits.deadline->count()) / 1000)));
    }
    if (limits.budget >= 0 && e.price > limits.budget) {
        out.push_back(fmt::format("costs about {:.2f}, more than the budget of {:.2f}", e.price, limits.budget));
    }
    return out;
}

}  // namespace

int show_factory_plan(CliContext& context, Session& session, const std::string& name, const std::string& deadline, double budget,
                      bool json) {
    Limits limits{std::nullopt, budget};
    if (!deadline.empty()) {
        limits.deadline = parse_duration(deadline);
        if (!limits.deadline)
            return context.fail(invalid(fmt::format("--deadline {} is not a duration; write 30m or 2h", deadline)));
    }
    const auto pipelines = wanted(session, name);
    if (!pipelines) return context.fail(pipelines.error());
    TextTable table({"PIPELINE", "STRATEGY", "DOCUMENTS", "BATCHES", "REQUESTS", "TOKENS", "TIME", "PRICE", "WARNINGS"});
    Json list = Json::array();
    int code = kExitOk;
    for (const PipelineSpec& p : *pipelines) {
        if (p.deleting) continue;
        const Result<ProviderSpec> provider = find_provider(session, p.provider);
        if (!provider) return context.fail(provider.error());
        ObserveSettings settings;
        settings.slice = context.settings().sweep_slice;
        settings.prune_floor = context.settings().prune_floor;
        Result<Observation> found = observe_pipeline(session, p, *provider, settings);
        if (found) measure_time(context.settings(), *provider, *found);
        if (!found) {
            code = context.fail(found.error().with_prefix(fmt::format("pipeline \"{}\"", p.name)));
            continue;
        }
        const PlanEstimate& e = found->plan;
        EmbedderLimits of_provider;
        of_provider.max_batch = provider->max_batch;
        const std::uint32_t size = batch_documents(of_provider, context.settings().batch_documents);
        const std::int64_t batches = (e.documents + size - 1) / size;
        std::vector<std::string> warnings = e.warnings;
        for (std::string& w : broken(e, limits)) {
            warnings.push_back(std::move(w));
            if (code == kExitOk) code = kExitDifferences;
        }
        std::string text;
        for (const std::string& w : warnings) text += (text.empty() ? "" : "; ") + w;
        table.add({p.name, to_string(e.strategy), count_text(e.documents), count_text(batches), count_text(e.requests),
                   count_text(e.tokens), duration_text(e.minutes * 60), fmt::format("{:.2f}", e.price),
                   Cell(text, Tint::warning)});
        list.push_back({{"pipeline", p.name},
                        {"strategy", to_string(e.strategy)},
                        {"documents", e.documents},
                        {"batches", batches},
                        {"batchDocuments", size},
                        {"requests", e.requests},
                        {"tokens", e.tokens},
                        {"seconds", e.minutes * 60},
                        {"price", e.price},
                        {"warnings", warnings}});
    }
    if (json) {
        context.streams.out << list.dump(2) << '\n';
    } else {
        table.print(context.streams.out, context.streams.colour);
    }
    return code;
}

}  // namespace homeostat
