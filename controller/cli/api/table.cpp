#include "controller/cli/api/table.hpp"

#include <array>

#include "controller/cli/api/reads.hpp"

namespace homeostat {

namespace {

constexpr std::array kParameters{
    ApiParameter{"limit", "integer", "How many at most; 100 if not said"},
    ApiParameter{"cursor", "string", "Where the page before ended: its member next"},
    ApiParameter{"pipeline", "string", "Only what is about the object of this name"},
    ApiParameter{"reason", "string", "Only events of this reason"},
    ApiParameter{"urgency", "string", "Only pipelines of this urgency: failing, notReady, losing, working, paused or well"}};

std::vector<ApiRoute> make_routes() {  // NOLINT(readability-function-size): a row a route
    using enum ApiKind;
    const std::vector<std::string_view> page{"limit", "cursor", "pipeline"};
    return {
        {probe, "/api/v1/health/detailed", "health", "This process and those beside it, part by part", {}, read_health},
        {read,
         "/api/v1/pipelines",
         "listPipelines",
         "All pipelines, the most urgent first",
         {"limit", "cursor", "urgency"},
         read_pipelines},
        {read,
         "/api/v1/pipelines/{name}",
         "getPipeline",
         "One pipeline: spec, status, conditions, progress, revisions, index, cost, and what to do",
         {},
         read_one_pipeline},
        {read,
         "/api/v1/pipelines/{name}/trend",
         "getTrend",
         "What each of the last runs found adrift, oldest first",
         {"limit"},
         read_trend},
        {read, "/api/v1/runs", "listRuns", "Runs, newest first", page, read_list<ListingKind::run>, ListingKind::run},
        {read, "/api/v1/runs/{name}", "getRun", "One run, by its number", {}, read_one_run},
        {read, "/api/v1/batches", "listBatches", "Open batches, newest first", page, read_list<ListingKind::batch>,
         ListingKind::batch},
        {read,
         "/api/v1/events",
         "listEvents",
         "Events, newest first",
         {"limit", "cursor", "pipeline", "reason"},
         read_list<ListingKind::event>,
         ListingKind::event},
        {stream, "/api/v1/events/stream", "streamEvents",
         "Events and changes of pipelines as they come; goes on where Last-Event-ID says"},
        {read, "/api/v1/actions", "listActions", "What was asked for over HTTP and by whom, newest first", page, read_actions,
         ListingKind::event},
        {read, "/api/v1/dead-letters", "listDeadLetters", "Documents that were refused, newest first", page,
         read_list<ListingKind::dead_letter>, ListingKind::dead_letter},
        {read, "/api/v1/revisions", "listRevisions", "Revisions of all pipelines, newest first", page,
         read_list<ListingKind::revision>, ListingKind::revision},
        {read, "/api/v1/checkpoints", "listCheckpoints", "What can be rolled back to, newest first", page,
         read_list<ListingKind::checkpoint>, ListingKind::checkpoint},
        {read, "/api/v1/leases", "listLeases", "Which replica has which pipeline", page, read_list<ListingKind::lease>,
         ListingKind::lease},
        {read,
         "/api/v1/replicas",
         "listReplicas",
         "Replicas, the one that started last first",
         {"limit", "cursor"},
         read_list<ListingKind::replica>,
         ListingKind::replica},
        {read, "/api/v1/providers", "listProviders", "Providers, with their health and breakers", {}, read_providers},
        {read,
         "/api/v1/providers/{name}",
         "getProvider",
         "One provider: breakers, limits and last calls, by replica",
         {},
         read_one_provider},
        {read, "/api/v1/strategies", "listStrategies", "What is done about which event", {}, read_strategies},
        {read, "/api/v1/factory/capabilities", "getCapabilities", "What each replica can do now", {}, read_capabilities},
        {read, "/api/v1/factory/snapshots", "getSnapshots", "All that each replica last wrote of itself", {}, read_snapshots},
        {read,
         "/api/v1/factory/sync",
         "getSync",
         "Where what is declared and what the replicas have differ",
         {},
         read_differences},
        {read, "/api/v1/factory/advice", "getAdvice", "What to change, and why", {}, read_advice},
        {action, "/api/v1/pipelines/{name}/reconcile", "reconcile", "Ask for a pass now", {}, nullptr, {}, ActionKind::reconcile},
        {action,
         "/api/v1/pipelines/{name}/suspend",
         "suspend",
         "Heal nothing until it is resumed",
         {},
         nullptr,
         {},
         ActionKind::suspend},
        {action,
         "/api/v1/pipelines/{name}/resume",
         "resume",
         "Go on, and follow the declaration again",
         {},
         nullptr,
         {},
         ActionKind::resume},
        {action,
         "/api/v1/pipelines/{name}/approve",
         "approve",
         "Let a plan go on that waits for a person",
         {},
         nullptr,
         {},
         ActionKind::approve},
        {action,
         "/api/v1/pipelines/{name}/rollback",
         "rollback",
         "Take the vectors back to a checkpoint, and pin them there",
         {},
         nullptr,
         {},
         ActionKind::rollback},
        {action,
         "/api/v1/pipelines/{name}/retry-dead-letters",
         "retryDeadLetters",
         "Another try for documents that were refused",
         {},
         nullptr,
         {},
         ActionKind::retry_dead_letters},
    };
}

}  // namespace

const std::vector<ApiRoute>& api_routes() {
    static const std::vector<ApiRoute> routes = make_routes();
    return routes;
}

std::span<const ApiParameter> api_parameters() { return kParameters; }

}  // namespace homeostat
