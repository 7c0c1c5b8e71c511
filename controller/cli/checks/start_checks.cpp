// What `run` looks at when it starts: what `doctor` looks at, but for what costs money or tells of itself by conditions.
#include <algorithm>
#include <iterator>

#include "controller/cli/checks/doctor_checks.hpp"
#include "reconcilers/embed/inprocess.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

bool uses_local_model(Session& session) {
    const Result<std::vector<ProviderSpec>> providers = list_providers(session);
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!providers || !pipelines) return false;
    return std::any_of(pipelines->begin(), pipelines->end(), [&](const PipelineSpec& pipeline) {
        return std::any_of(providers->begin(), providers->end(), [&](const ProviderSpec& provider) {
            return provider.kind == "local" && provider.name == pipeline.provider;
        });
    });
}

Checks check_start(Session& session, const Settings& settings) {
    Checks out = check_server(session, settings);
    const auto add = [&](Checks more) { std::move(more.begin(), more.end(), std::back_inserter(out)); };
    out.push_back(check_schema(session));
    if (out.back().health != CheckHealth::ok) return out;
    add(check_rights(session));
    add(check_sandbox(session));
    add(check_registered_chunkers(session, settings));
    const bool local = uses_local_model(session);
    out.push_back(check_memory(settings, local));
    if (!local) return out;
    if (const auto model = load_local_model(settings.embed_model_dir); !model) {
        out.push_back({CheckHealth::fail, "model", model.error().message,
                       "run scripts/bootstrap, which fetches and checks the weights, or set embed.model_dir"});
    }
    return out;
}

}  // namespace homeostat
