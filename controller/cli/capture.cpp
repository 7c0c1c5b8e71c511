// `capture`: the triggers of a pipeline's change feed, as SQL for whoever may make them.
#include "store/feed/capture.hpp"
#include "controller/cli/text/arguments.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/verbs.hpp"
#include "reconcilers/factory/targets.hpp"
#include "store/control/resources.hpp"
#include "store/data/revisions.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
};

Result<CapturePlan> plan_of(Session& session, const std::string& name) {
    Result<PipelineSpec> declared = find_pipeline(session, name);
    if (!declared) return declared.error();
    Result<std::vector<Revision>> revisions = read_revisions(session, declared->uid);
    if (!revisions) return revisions.error();
    PipelineSpec spec = *declared;
    if (!revisions->empty()) spec = spec_of_revision(*declared, revisions->back().settings);
    return guarded([&]() -> Result<CapturePlan> {
        Transaction tx = session.begin(TxMode::read_only);
        Result<SourceShape> source = inspect_source(tx, spec);
        if (!source) return source.error();
        Result<CapturePlan> plan = plan_capture(tx, spec, *source);
        if (!plan || !plan->relations.empty()) return plan;
        return invalid(fmt::format("pipeline \"{}\": {}", name, plan->none_because));
    });
}

int sql(CliContext& context, const Options& o) {
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const Result<CapturePlan> plan = plan_of(**session, o.pipeline);
    if (!plan) return context.fail(plan.error());
    auto& out = context.streams.out;
    out << fmt::format(
        "-- Triggers of the change feed of pipeline \"{}\". They need the TRIGGER right on each table, and USAGE on schema\n"
        "-- homeostat_data while they are made. Their functions are made by the controller; run it first.\n"
        "BEGIN;\nSET LOCAL lock_timeout = '5s';\n",
        o.pipeline);
    for (const CaptureTrigger& t : plan->triggers) out << t.ddl << ";\n";
    out << "COMMIT;\n";
    const bool may =
        std::all_of(plan->relations.begin(), plan->relations.end(), [](const CapturedRelation& r) { return r.may_trigger; });
    if (may) context.streams.err << "homeostat: this role may make them itself, and `run` does\n";
    return kExitOk;
}

}  // namespace

VerbBody configure_capture(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    Command print = command.subcommand("sql", "Print the triggers as SQL, for a role that may make them.");
    print.option(pipeline_word("The pipeline whose source is to be watched", true), o->pipeline);
    return [&context, o] { return sql(context, *o); };
}

}  // namespace homeostat
